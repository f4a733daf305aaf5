"""The proxy cuts, holds and delays, and never mixes up bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from chaos.proxy import Proxy
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """Runs a server that sends every byte back, behind a proxy."""
    served: set[asyncio.Task[None] | None] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with suppress(ConnectionError):
            while piece := await reader.read(1000):
                writer.write(piece)
                await writer.drain()
        await closed(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", port))
    await proxy.start()
    try:
        async with asyncio.timeout(HANG_S):
            yield proxy
    finally:
        await proxy.close()
        await asyncio.gather(*filter(None, served))
        server.close()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Ends]:
    """Connects to the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, also one that the other side has broken off."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Returns whether the connection ends; one that goes on fails the test by its time limit."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_bytes_pass_in_order() -> None:
    async with echoing() as proxy, connected(proxy) as (reader, writer):
        proxy.delay_s = 0.001
        sent = bytes(range(256)) * 1000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent


async def test_a_cut_breaks_connections_and_refuses_new_ones_until_healed() -> None:
    async with echoing() as proxy:
        async with connected(proxy) as (reader, writer):
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            proxy.cut()
            assert await ended(reader)
        async with connected(proxy) as (reader, _):
            assert await ended(reader)
        proxy.heal()
        async with connected(proxy) as (reader, writer):
            writer.write(b"two")
            assert await reader.readexactly(3) == b"two"


async def test_what_was_held_comes_when_healed() -> None:
    async with echoing() as proxy, connected(proxy) as (reader, writer):
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        proxy.hang()
        writer.write(b"held")
        async with connected(proxy) as (other, late):
            late.write(b"late")
            reading = [asyncio.create_task(one.readexactly(4)) for one in (reader, other)]
            assert not any(one.done() for one in reading)
            proxy.heal()
            assert await asyncio.gather(*reading) == [b"held", b"late"]
