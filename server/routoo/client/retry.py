"""Retries of failed calls: which calls are tried again, when, and how often.

The rules are those of gRPC's own retries (proposal A6), except that RESOURCE_EXHAUSTED is tried
again only when the service asks for it: a spent budget has that code too, and a retry cannot help.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from routoo.client.errors import RouterError

CUT_OFF: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""Codes of calls that no service carried out, or whose connection broke. CANCELLED is one of them:
a server that shuts down cancels the calls that it has received and not yet handed on."""
# Callers that were refused at the same time do not come back at the same time.
_PUSHBACK_SPREAD: Final = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Settings of retries; a call is never tried again beyond its deadline.

    The pause before the n-th retry is drawn from 0 to ``first_pause_s`` * 2^(n - 1), at most
    ``longest_pause_s``: "full jitter", after Brooker, Exponential Backoff And Jitter (2015). Where
    the service asks for a pause, the pause is that one, and up to a fifth longer.

    Attributes:
        attempts: calls at most, the first one included; 1: none is repeated.
        first_pause_s: longest pause before the second attempt, in seconds.
        longest_pause_s: no drawn pause is longer, in seconds.
        most_failures: size of the retry budget that all calls of the client share. Each failure
            takes 1 from it, each success gives ``gain_per_success`` back, and at half of it or
            less nothing is tried again. So a service that is down is not asked several times.
        gain_per_success: what a success gives back to the retry budget.
    """

    attempts: int = 4
    first_pause_s: float = 0.05
    longest_pause_s: float = 2.0
    most_failures: float = 20.0
    gain_per_success: float = 0.1

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; the first call is one")


NO_RETRIES: Final = RetryPolicy(attempts=1)


class Retries:
    """The retries of one client; safe to use from any thread.

    Args:
        policy: the settings.
        clock: returns seconds, monotonic.
        rng: draws the pauses.
    """

    def __init__(self, policy: RetryPolicy, clock: Callable[[], float], rng: Random) -> None:
        self.policy = policy
        self.clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._left = policy.most_failures
        self._begun = 0

    @property
    def begun(self) -> int:
        """The number of retries so far."""
        return self._begun

    def succeeded(self) -> None:
        """Notes that an attempt was answered."""
        if self._left < self.policy.most_failures:
            with self._lock:
                gained = self._left + self.policy.gain_per_success
                self._left = min(gained, self.policy.most_failures)

    def failed(self) -> bool:
        """Notes a failure that may pass, and returns whether a retry is allowed now."""
        with self._lock:
            self._left = max(0.0, self._left - 1.0)
            return self._left > self.policy.most_failures / 2

    def pause_s(self, retry: int, asked_s: float | None) -> float:
        """Returns the pause before a retry, in seconds.

        Args:
            retry: its number; 1 is the first.
            asked_s: the pause that the service asked for, in seconds; None: it asked for none.
        """
        if asked_s is not None:
            return asked_s * self._rng.uniform(1.0, 1.0 + _PUSHBACK_SPREAD)
        policy = self.policy
        # Larger exponents would overflow; ``longest_pause_s`` has replaced the result by then.
        longest_s = min(policy.longest_pause_s, policy.first_pause_s * 2.0 ** min(retry - 1, 64))
        return self._rng.uniform(0.0, longest_s)

    def begin(self) -> None:
        """Counts a retry."""
        with self._lock:
            self._begun += 1


class Attempts:
    """The attempts of one call; its time begins when this is made.

    Args:
        retries: the client's retries.
        timeout_s: seconds that the call may take, pauses included.
        repeatable: whether a retry is allowed when it is unknown whether the call was carried out.
    """

    def __init__(self, retries: Retries, timeout_s: float, *, repeatable: bool) -> None:
        self._retries = retries
        self._until_s = retries.clock() + timeout_s
        self._repeatable = repeatable
        self._made = 1

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._until_s - self._retries.clock())

    def succeeded(self) -> None:
        """Notes that the call was answered."""
        self._retries.succeeded()

    def pause_s(self, error: RouterError, *, forbidden: bool) -> float | None:
        """Returns the pause before the next attempt, in seconds; None: give up."""
        if forbidden or not self._passes(error):
            return None
        allowed = self._retries.failed()
        if not allowed or self._made >= self._retries.policy.attempts:
            return None
        pause_s = self._retries.pause_s(self._made, error.retry_after_s)
        if pause_s >= self.left_s:
            return None
        self._made += 1
        self._retries.begin()
        return pause_s

    def _passes(self, error: RouterError) -> bool:
        if error.code in CUT_OFF:
            return self._repeatable or error.retry_after_s is not None
        return error.is_overload
