"""A service that is slow to take a connection is reached, without a retry."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from routoo.client.aio import AsyncRouterClient
from routoo.client.retry import NO_RETRIES

if TYPE_CHECKING:
    from support.peers.fake_router import FakeRouter

LATE_S = 0.5
"""Far longer than the first pause between two attempts, as on a busy machine or from far away."""


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # at the end
        while part := await source.read(65536):
            to.write(part)
            await to.drain()
    to.close()
    with suppress(ConnectionError):
        await to.wait_closed()


async def test_a_connection_that_takes_its_time_is_waited_for(router: FakeRouter) -> None:
    host, _, port = router.address.rpartition(":")
    handling: list[asyncio.Task[None] | None] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        await asyncio.sleep(LATE_S)
        its_reader, its_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(reader, its_writer), _pass_on(its_reader, writer))

    async with await asyncio.start_server(late, "127.0.0.1", 0) as door:
        address = "{}:{}".format(*door.sockets[0].getsockname())
        async with AsyncRouterClient(address, retry=NO_RETRIES, timeout_s=60) as client:
            assert (await client.route("easy")).model
        await asyncio.wait([task for task in handling if task is not None])
