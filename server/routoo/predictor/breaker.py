"""A circuit breaker, which keeps requests from a server that failed, and times its probes.

After Nygard, Release It! (2007): closed, open, half-open. No request waits for a trial: while the
circuit is open, a probe beside the requests tries the server. Its intervals double and are
jittered, so that many replicas do not all probe a server at the moment when it comes back.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class State(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    """Requests go through."""
    OPEN = "open"
    """No request goes through."""
    HALF_OPEN = "half-open"
    """No request goes through, and a probe is in progress."""


@dataclass(frozen=True, slots=True)
class BreakerTerms:
    """The rules by which a circuit opens and is probed.

    Attributes:
        failures: so many failures in a row open it.
        first_probe_s: time from opening to the first probe.
        longest_probe_s: the interval doubles with each failed probe up to this. A circuit that
            opens again sooner than this after it was closed goes on with its last interval.
        jitter: each interval is multiplied by a random number from (1 - jitter, 1 + jitter).
    """

    failures: int
    first_probe_s: float
    longest_probe_s: float
    jitter: float = 0.25


class Breaker:
    """One circuit. Thread-safe.

    Args:
        terms: the rules by which it opens and is probed.
        clock: seconds, monotonic.
        rng: draws the jitter.
    """

    def __init__(self, terms: BreakerTerms, clock: Callable[[], float], rng: Random) -> None:
        self._terms = terms
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._failures = 0
        self._interval_s = terms.first_probe_s
        self._probe_at_s = 0.0
        self._closed_at_s = -float("inf")

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def allows(self) -> bool:
        """Returns whether a request may go through."""
        return self._state is State.CLOSED

    def succeeded(self) -> None:
        """Notes that a request, or the probe, was answered: after a probe the circuit closes."""
        with self._lock:
            if self._state is State.OPEN:  # a request that began before the circuit opened
                return
            self._failures = 0
            if self._state is State.HALF_OPEN:
                self._state = State.CLOSED
                self._closed_at_s = self._clock()

    def failed(self, *, at_once: bool = False) -> None:
        """Notes that a request, or the probe, was not answered.

        Args:
            at_once: opens the circuit at this failure, without waiting for further ones.
        """
        with self._lock:
            if self._state is State.HALF_OPEN:
                self._interval_s = min(2.0 * self._interval_s, self._terms.longest_probe_s)
                self._open()
            elif self._state is State.CLOSED:
                self._failures += 1
                if at_once or self._failures >= self._terms.failures:
                    quiet_s = self._clock() - self._closed_at_s
                    if quiet_s >= self._terms.longest_probe_s:
                        self._interval_s = self._terms.first_probe_s
                    self._open()

    def probe_in_s(self) -> float | None:
        """Returns the seconds until the next probe is due; None: the circuit is not open."""
        with self._lock:
            if self._state is not State.OPEN:
                return None
            return max(0.0, self._probe_at_s - self._clock())

    def begin_probe(self) -> bool:
        """Half-opens the circuit when a probe is due.

        Returns:
            True for the one caller that has to probe now.
        """
        with self._lock:
            if self._state is not State.OPEN or self._clock() < self._probe_at_s:
                return False
            self._state = State.HALF_OPEN
            return True

    def _open(self) -> None:
        spread = self._rng.uniform(1.0 - self._terms.jitter, 1.0 + self._terms.jitter)
        self._probe_at_s = self._clock() + spread * self._interval_s
        self._failures = 0
        self._state = State.OPEN
