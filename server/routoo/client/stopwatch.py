"""A stopwatch for one answer: its times, as ``report`` takes them."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.client.messages import Outcome


class Stopwatch:
    """Runs from the moment it is made, which is to be that at which the request is sent.

    ::

        watch = Stopwatch()
        for chunk in provider.stream(...):
            watch.token()
        client.report(decision_id, output_tokens=812, **watch.times())

    Args:
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(self, clock_s: Callable[[], float] = perf_counter) -> None:
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._first_s: float | None = None

    def token(self) -> None:
        """Notes that a token, or a piece of the answer, has come; the first time counts."""
        if self._first_s is None:
            self._first_s = self._clock_s()

    def times(self) -> Outcome:
        """Returns the times of an answer that is complete now."""
        found: Outcome = {"latency_ms": self._since_ms(self._clock_s())}
        if self._first_s is not None:
            found["time_to_first_token_ms"] = self._since_ms(self._first_s)
        return found

    def timed_out(self) -> Outcome:
        """Returns a report that nobody waits for the answer any longer."""
        waited_ms = self._since_ms(self._clock_s())
        return {"latency_ms": waited_ms, "failure": "timeout"}

    def _since_ms(self, at_s: float) -> float:
        return (at_s - self._began_s) * 1e3
