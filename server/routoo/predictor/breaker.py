"""A circuit breaker: whether a predictor that failed is asked again, and when to try it.

After Nygard, Release It! (2007): closed, open, half-open. Callers never pay for a trial: while the
circuit is open a probe beside the requests tries the predictor, at intervals that double and are
jittered, so that many replicas do not knock on a server's door together when it comes back.
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
    """CLOSED: asked. OPEN: not asked. HALF_OPEN: not asked, and a probe is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerTerms:
    """When a circuit opens, and how often it is probed.

    Attributes:
        failures: so many in a row open it.
        first_probe_s: from opening to the first probe.
        longest_probe_s: the interval doubles with each failed probe up to this. A circuit that
            opens again sooner than this after it was closed goes on where its interval was.
        jitter: each interval is drawn from (1 - jitter, 1 + jitter) times itself.
    """

    failures: int
    first_probe_s: float
    longest_probe_s: float
    jitter: float = 0.25


class Breaker:
    """One circuit. For any thread.

    Args:
        terms: when it opens and is probed.
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
        """As it is now."""
        return self._state

    @property
    def allows(self) -> bool:
        """Whether a request may go through."""
        return self._state is State.CLOSED

    def succeeded(self) -> None:
        """A request, or the probe, got its answer: the circuit is closed."""
        with self._lock:
            if self._state is State.OPEN:  # an answer from before it opened
                return
            self._failures = 0
            if self._state is State.HALF_OPEN:
                self._state = State.CLOSED
                self._closed_at_s = self._clock()

    def failed(self, *, at_once: bool = False) -> None:
        """A request, or the probe, got none. ``at_once``: open without waiting for more of it."""
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
        """Seconds until the next probe is due, 0.0 when it is; None: the circuit is not open."""
        with self._lock:
            if self._state is not State.OPEN:
                return None
            return max(0.0, self._probe_at_s - self._clock())

    def begin_probe(self) -> bool:
        """Half-opens the circuit when a probe is due; one caller gets True and has to probe."""
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
