"""The heartbeat of a worker, by whose silence the supervisor knows that it is frozen."""

from __future__ import annotations

import os
from asyncio import timeout
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, StreamReader

BEAT_S: Final = 0.5
_LOOK_S: Final = 1.0
_SILENT_LOOKS: Final = 4
"""A worker is frozen that has not beaten for so many looks. One look does not do: after the machine
itself has stood still, the first look comes before the beats of workers that are well."""


def beat(loop: AbstractEventLoop, descriptor: int) -> None:
    """Writes a byte to a pipe now and every ``BEAT_S``, for as long as the loop runs.

    Args:
        loop: the loop that serves.
        descriptor: the end of the pipe that is written to. It must not block: of a supervisor that
            does not read, the beats are left out.
    """
    with suppress(OSError):  # the pipe is full, or its reader has gone
        os.write(descriptor, b"\n")
    loop.call_later(BEAT_S, beat, loop, descriptor)


async def falls_silent(beats: StreamReader, look_s: float = _LOOK_S) -> bool:
    """Waits until a worker is frozen; to be cancelled when it has ended.

    Args:
        beats: the end of the pipe that is read.
        look_s: time between two looks, in seconds.

    Returns:
        True: the worker is frozen. False: it has closed the pipe.
    """
    silent = 0
    while silent < _SILENT_LOOKS:
        try:
            async with timeout(look_s):
                if not await beats.read(4096):
                    return False
            silent = 0
        except TimeoutError:
            silent += 1
    return True
