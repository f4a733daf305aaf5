"""Looks at the memory of the process, and has calls refused while it is short of it.

What calls take is reserved before (``routoo.api.memory``). This is for what nothing can count
before: messages that are partly there, connections, and heap that cannot be used again. It looks
every ``_LOOK_S``. From a share of the most memory on, a call is refused while others are in
progress; from all of it on, streams that wait for their callers are ended, too.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from routoo.server.resources.heap import trim_heap

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.memory.in_flight import InFlight

_log = structlog.get_logger("routoo.memory")
_LOOK_S: Final = 0.05
_SHORT_SHARE: Final = 0.94
_PLENTY_SHARE: Final = 0.90
# After calls have held so much, their freed memory is given back to the system.
_WORTH_TRIMMING_BYTES: Final = 16 * 1024 * 1024
# While there is little memory, it is done so often, as calls go on to free some.
_TRIM_LOOKS: Final = 10
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Sets ``InFlight.short`` while there is little memory. Lives on the event loop that serves.

    Args:
        in_flight: the memory of calls in progress.
        most_bytes: tells the most memory that the process is to have; a reload may change it.
        relieve: ends what waits for its callers.
        resident_bytes: tells the memory of the process.
    """

    def __init__(
        self,
        in_flight: InFlight,
        most_bytes: Callable[[], int],
        relieve: Callable[[], None],
        resident_bytes: Callable[[], int],
    ) -> None:
        self._most_bytes = most_bytes
        self._in_flight = in_flight
        self._relieve = relieve
        self._resident_bytes = resident_bytes
        self._high_bytes = 0
        self._trimming: asyncio.Future[None] | None = None
        self._short_looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks now, and every ``_LOOK_S`` from then on."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self.start)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Compares the memory that the process has with the most that it is to have."""
        held_bytes = self._in_flight.held_bytes
        self._high_bytes = max(self._high_bytes, held_bytes)
        resident_bytes, most_bytes = self._resident_bytes(), self._most_bytes()
        if resident_bytes < most_bytes * _PLENTY_SHARE:
            self._short_looks = 0
            if self._in_flight.short:
                self._in_flight.short = False
                _log.info("there is enough memory again", resident_bytes=resident_bytes)
        elif resident_bytes > most_bytes * _SHORT_SHARE and not self._in_flight.short:
            self._in_flight.short = True
            _log.warning(
                "short of memory: calls are refused while others are in progress; lower"
                " limits.max_in_flight_bytes or outcomes.max_open_decisions, or give more memory",
                resident_bytes=resident_bytes,
                most_bytes=most_bytes,
            )
        if self._in_flight.short:
            if self._short_looks % _TRIM_LOOKS == 0:
                self._trim()
            self._short_looks += 1
        elif self._high_bytes > _WORTH_TRIMMING_BYTES and held_bytes < self._high_bytes // 4:
            self._high_bytes = held_bytes
            self._trim()
        if resident_bytes > most_bytes:
            self._relieve()

    def _trim(self) -> None:
        if self._trimming is None or self._trimming.done():
            self._trimming = asyncio.get_running_loop().run_in_executor(None, trim_heap)


def resident_bytes() -> int:
    """Returns the memory that this process has, pages of files included."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
