"""A provider that sends exact bytes, for replies that are no HTTP or end where none may end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[["RawUpstream", asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class RawUpstream:
    """A provider that runs; it answers each connection once.

    Attributes:
        port: the provider's port.
        requests: the number of requests that came.
        came: set when one has come.
        closed: set when the other side has closed a connection.
        go: a script may wait for it.
    """

    port: int = 0
    requests: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def raw_upstream(script: Script) -> AsyncIterator[RawUpstream]:
    """Starts a provider on a free port.

    Args:
        script: writes the reply to a request.
    """
    running = RawUpstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            running.requests += 1
            running.came.set()
            watching = asyncio.create_task(_watch(reader))
            await script(running, writer)
            watching.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            running.closed.set()  # perhaps before a request has come
        finally:
            writer.close()

    async def _watch(reader: asyncio.StreamReader) -> None:
        while await reader.read(65536):
            pass
        running.closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        running.go.set()
        server.close()


async def silent(upstream: RawUpstream, _: asyncio.StreamWriter) -> None:
    """Never answers."""
    await upstream.closed.wait()


def sends(reply: bytes) -> Script:
    """Returns a script that sends bytes and closes the connection."""

    async def script(_: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    return script
