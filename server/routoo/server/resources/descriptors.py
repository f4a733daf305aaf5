"""File descriptors: whether the process has any left, and what to say when it has none."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

COMPONENT: Final = "descriptors"
"""The name of the component for the health service."""
_log = structlog.get_logger("routoo.descriptors")
_LOOK_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0
_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})


def none_left() -> str:
    """Returns why no file can be opened, with the remedy; empty: one can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return reason(error)
    return ""


def reason(error: OSError) -> str:
    """Returns what an error says of file descriptors, with the remedy; empty: nothing."""
    if error.errno not in _NONE_LEFT:
        return ""
    if error.errno == errno.ENFILE:
        return "the machine has no file descriptor left; raise fs.file-max"
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"all {most} file descriptors of the process are in use; raise its limit (ulimit -n)"


class DescriptorWatch:
    """Notices that the process has no file descriptor left. Lives on the event loop that serves.

    gRPC goes on to serve the connections that it has, tries again every second to accept others,
    and says nothing.

    Attributes:
        short: whether there was none left at the last look.
        shortages: how often the process has run out of them.

    Args:
        changed: told whether there are some, when that changes.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self.short = False
        self.shortages = 0
        self._changed = changed
        self._said_s = -_SAY_AGAIN_S
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks now, and every ``_LOOK_S`` from then on."""
        loop = asyncio.get_running_loop()
        self.look(loop.time())
        self._timer = loop.call_later(_LOOK_S, self.start)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self, now_s: float) -> None:
        """Tries to open a file.

        Args:
            now_s: seconds on a clock that never goes back; the log says the same once a minute.
        """
        why = none_left()
        if bool(why) == self.short:
            return
        self.short = bool(why)
        self.shortages += self.short
        self._changed(not self.short)
        if now_s - self._said_s < _SAY_AGAIN_S and self.short:
            return
        if self.short:
            self._said_s = now_s
            _log.error("no new connection is accepted", reason=why)
        else:
            _log.info("there are file descriptors again")
