"""A TCP proxy whose connections can be cut, held or slowed down."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

_PIECE_BYTES = 1 << 16


class Proxy:
    """A proxy in front of one server.

    Bytes of one direction stay in order, whatever happens to them.

    Attributes:
        port: its own port on 127.0.0.1.
        delay_s: time by which every piece is late, in each direction.
    """

    def __init__(self, target: Open) -> None:
        """Makes a proxy that is not yet listening.

        Args:
            target: opens a connection to the server.
        """
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._cut = False
        self.port = 0
        self.delay_s = 0.0

    async def start(self) -> None:
        """Begins to listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Ends all connections, and the listening."""
        assert self._server is not None
        self._server.close()
        self._break_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Breaks all connections off, and refuses new ones until ``heal``."""
        self._cut = True
        self._break_all()

    def hang(self) -> None:
        """Accepts connections and bytes, and passes nothing on until ``heal``."""
        self._flows.clear()

    def heal(self) -> None:
        """Passes everything on again, at once, beginning with what was held."""
        self._cut = False
        self.delay_s = 0.0
        self._flows.set()

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if not self._cut:
                await self._join(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has gone, or the server is not there
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._target()
        self._writers.add(to_server)
        ways = [
            asyncio.create_task(self._pass(reader, to_server)),
            asyncio.create_task(self._pass(from_server, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(to_server)
            to_server.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(_PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
