"""A clock that never goes back, even if the clock of the machine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)
# After a step back of at most this, time stands still until the machine's clock has caught up, so
# that periods begin and end as before. After a larger step time would stand still for hours, so it
# goes on from the last reading: periods keep their length, and begin later by the size of the step.
WAITED_OUT_NS = 60 * 1_000_000_000


class ForwardClock:
    """Nanoseconds since 1970, never less than at the previous reading. Not thread-safe.

    Args:
        clock_ns: the machine's clock, nanoseconds since 1970.
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
