"""A clock that never goes back, whatever the machine's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)
# A step back of at most this is waited out: time stands until the clock has caught up, so that no
# period gets longer or shorter. Behind a larger one, time goes on from the last reading instead of
# standing for hours; periods then keep their length, and start that much later.
WAITED_OUT_NS = 60 * 1_000_000_000


class ForwardClock:
    """Nanoseconds since 1970, never less than at the reading before. Not thread-safe."""

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
        """Goes on from a time that was read before, e.g. before a restart."""
        self._last_ns = max(self._last_ns, time_ns)
