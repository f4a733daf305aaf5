"""A real Triton server that can be killed, and is started again."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

from support.peers.real_triton import add_version, real_triton

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.real_triton import Triton


class TritonPeer:
    """A Triton server with the tiny predictor, for one run after another."""

    def __init__(self, folder: Path) -> None:
        """Makes a server that does not run yet.

        Args:
            folder: an empty folder for its repository.
        """
        self._repository = folder / "repository"
        add_version(self._repository, 1)
        self._held = ExitStack()
        self._one = asyncio.Lock()
        self._running: Triton | None = None

    @property
    def address(self) -> str:
        """HOST:PORT of its gRPC; of the last server, when none runs."""
        assert self._running is not None
        return self._running.url

    async def start(self) -> None:
        """Starts it, and waits until it serves."""
        await asyncio.to_thread(self._start)

    def kill(self) -> None:
        """Ends it at once."""
        if self._running is not None:
            try:
                self._running.send(signal.SIGKILL)
            except ProcessLookupError:
                return

    async def restart(self) -> None:
        """Starts it again after ``kill``."""
        async with self._one:
            await asyncio.to_thread(self._held.close)
            await self.start()

    async def close(self) -> None:
        """Ends it for good."""
        await asyncio.to_thread(self._held.close)

    def _start(self) -> None:
        self._running = self._held.enter_context(real_triton(self._repository))
