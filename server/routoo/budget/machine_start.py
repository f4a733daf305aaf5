"""The start of this machine, from which the time that has passed is counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
since_start_ns: Final = partial(
    time.clock_gettime_ns, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Returns the nanoseconds since the machine's start. On Linux those in suspension count, too."""


@dataclass(frozen=True, slots=True)
class MachineStart:
    """The time at which this machine started, by the clock of the books.

    Attributes:
        boot_id: the kernel's id of that start; empty: it has none.
        since_1970_ns: the time of the start, in nanoseconds since 1970.
    """

    boot_id: str
    since_1970_ns: int


class StartKeeper(Protocol):
    """A clock that goes on over a restart of its process."""

    @property
    def start(self) -> MachineStart:
        """The time of the machine's start by this clock."""

    def go_on_from(self, start: MachineStart | None, last_ns: int) -> None:
        """Goes on as the clock of an earlier process, whose last reading was ``last_ns``."""


def kernels_boot_id() -> str:
    """Returns the kernel's id of the machine's start; empty where it tells none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
