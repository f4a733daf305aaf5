"""The clocks of budgets: what a period and a lease last, however the time of day is set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)
# Linux' clock that goes on during a suspend; elsewhere the nearest there is.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# After a step back of at most this, time stands still until the machine's clock has caught up, so
# that periods begin and end as before. After a larger step time would stand still for hours, so it
# goes on from the last reading: periods keep their length, and begin later by the size of the step.
WAITED_OUT_NS = 60 * 1_000_000_000


def boot_clock_ns() -> int:
    """Returns nanoseconds since the machine started, its suspends included."""
    return time.clock_gettime_ns(_CLOCK)


class SteadyClock:
    """Nanoseconds since 1970, which go on evenly from the first reading.

    A clock of the machine that is put forward would otherwise begin a new period, with its whole
    limit. So periods keep their length, and begin earlier or later by the size of the step.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = boot_clock_ns,
    ) -> None:
        """Reads the time of day, once.

        Args:
            clock_ns: the machine's clock, nanoseconds since 1970.
            steady_ns: a clock that nobody sets, nanoseconds from any start.
        """
        self._clock_ns = clock_ns
        self._steady_ns = steady_ns
        self._ahead_ns = clock_ns() - steady_ns()
        self._told_ns = 0

    def __call__(self) -> int:
        now_ns = self._steady_ns() + self._ahead_ns
        step_ns = self._clock_ns() - now_ns
        if abs(step_ns - self._told_ns) > WAITED_OUT_NS:
            self._told_ns = step_ns
            _log.warning(
                "the clock was set: budgets go on without the step, until the next start",
                step_s=round(step_ns / 1e9, 3),
            )
        return now_ns


class ForwardClock:
    """Nanoseconds since 1970, never less than at the previous reading. Not thread-safe.

    Args:
        clock_ns: nanoseconds since 1970; may go back.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._ahead_ns = 0
        self._last_ns = 0

    def __call__(self) -> int:
        now_ns = self._clock_ns() + self._ahead_ns
        if now_ns >= self._last_ns:
            self._last_ns = now_ns
        elif self._last_ns - now_ns > WAITED_OUT_NS:
            back_ns = self._last_ns - now_ns
            self._ahead_ns += back_ns
            _log.warning(
                "the clock went back: budgets go on from its last reading",
                back_s=round(back_ns / 1e9, 3),
            )
        return self._last_ns

    def not_before(self, time_ns: int) -> None:
        """Sets the least time of the next reading, e.g. the last time before a restart."""
        self._last_ns = max(self._last_ns, time_ns)
