"""Work on large messages, beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from routoo.engine.shared import in_short_turns

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

LARGE_BYTES: Final = 16 * 1024
"""Messages above this size are read beside the loop. To read a smaller one takes a few milliseconds
at most, whatever it holds, and a tenth of one as a rule, which is what two changes of threads
take."""


class Aside:
    """One thread for the messages that are too large for the event loop.

    It is one, so that however many large messages come, the loop shares the interpreter with one of
    them at a time.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "routoo-aside")

    async def run(self, call: Callable[..., Result], *arguments: object) -> Result:
        """Returns the result of a call in the thread.

        Raises:
            RuntimeError: ``close`` was called.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, in_short_turns, call, *arguments)

    async def run_if_large(
        self, size_bytes: int, call: Callable[..., Result], *arguments: object
    ) -> Result:
        """Returns the result of a call that reads a message, in the thread if that is large.

        Raises:
            RuntimeError: ``close`` was called.
        """
        if size_bytes > LARGE_BYTES:
            return await self.run(call, *arguments)
        return call(*arguments)

    def close(self) -> None:
        """Drops the calls that have not begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)
