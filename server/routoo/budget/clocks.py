"""The clocks of budgets: what a period and a lease last, however the time of day is set."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

import structlog

from routoo.budget.machine_start import MachineStart, kernels_boot_id, since_start_ns

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)
# After a step back of at most this, time stands still until the machine's clock has caught up, so
# that periods begin and end as before. After a larger step time would stand still for hours, so it
# goes on from the last reading: periods keep their length, and begin later by the size of the step.
WAITED_OUT_NS = 60 * 1_000_000_000


class SteadyClock:
    """Nanoseconds since 1970 as of its making, plus the time that has passed since. Thread-safe.

    A budget of $50 a day whose day ends because somebody has set the machine's clock forward would
    grant $100. So that clock is read once. The clock goes on over a restart of the service: the
    journal keeps the time of the machine's start, with the start's id.

    Args:
        wall_ns: the machine's clock, nanoseconds since 1970; it may be set.
        passed_ns: nanoseconds since the machine's start; None: the kernel's count.
        boot_id: the id of that start; None: the kernel's.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time_ns,
        passed_ns: Callable[[], int] | None = None,
        boot_id: str | None = None,
    ) -> None:
        self._wall_ns = wall_ns
        self._passed_ns = passed_ns or since_start_ns
        self._boot_id = kernels_boot_id() if boot_id is None else boot_id
        self._start_ns = wall_ns() - self._passed_ns()
        self._told_ns = 0

    def __call__(self) -> int:
        now_ns = self._start_ns + self._passed_ns()
        apart_ns = self._wall_ns() - now_ns
        if abs(apart_ns - self._told_ns) > WAITED_OUT_NS:
            self._told_ns = apart_ns
            _log.warning(
                "the machine's clock was set: periods of budgets go on by the time that passes",
                ahead_s=round(apart_ns / 1e9, 3),
            )
        return now_ns

    @property
    def start(self) -> MachineStart:
        """The time of the machine's start by this clock, for ``go_on_from``."""
        return MachineStart(self._boot_id, self._start_ns)

    def go_on_from(self, start: MachineStart | None, last_ns: int) -> None:
        """Goes on as the clock of an earlier process.

        Args:
            start: its start; it holds if the machine has not started since. None: not known.
            last_ns: its last reading, before which this one does not go.
        """
        if start is not None and self._boot_id and start.boot_id == self._boot_id:
            self._start_ns = start.since_1970_ns
        self._start_ns = max(self._start_ns, last_ns - self._passed_ns())


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
