"""Faults that a benchmark causes during a load."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from harness.callers import GrpcCaller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

FAULTS: Final = ("none", "reload", "predictor", "redis", "vanish", "term")
VANISHING_CALLERS: Final = 16
_VANISH_EVERY_S: Final = 0.5
# After this time, some calls of a client that vanishes wait, some are decided, some answered.
_VANISH_AFTER_S: Final = 0.01


async def every(interval_s: float, happen: Callable[[], None]) -> None:
    """Calls ``happen`` at intervals, until it is cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        happen()


async def once(at_s: float, happen: Callable[[], None]) -> None:
    """Calls ``happen`` once, after ``at_s`` seconds."""
    await asyncio.sleep(at_s)
    happen()


async def vanish(address: str, prompts: Sequence[str], count: Callable[[], None]) -> None:
    """Makes clients lose their connection during calls, again and again, until it is cancelled.

    The clients go through a forwarder that resets its connections, as the death of a process
    does: no call is cancelled, no connection is closed in order.
    """
    host, _, port = address.rpartition(":")
    while True:
        await asyncio.sleep(_VANISH_EVERY_S)
        transports: list[asyncio.WriteTransport] = []

        async def forward(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            transports: list[asyncio.WriteTransport] = transports,
        ) -> None:
            there, back = await asyncio.open_connection(host, int(port))
            transports += [writer.transport, back.transport]
            with contextlib.suppress(OSError):
                await asyncio.gather(_copy(reader, back), _copy(there, writer))

        async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
            own = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = GrpcCaller(own, prompts, concurrency=VANISHING_CALLERS, timeout_s=5.0)
            await client.call(0)  # opens the connection
            calls = asyncio.gather(*map(client.call, range(VANISHING_CALLERS)))
            await asyncio.sleep(_VANISH_AFTER_S)
            for transport in transports:
                transport.abort()
            server.close()
            await calls
            await client.close()
        count()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def alongside(load: Awaitable[None], faults: Sequence[Awaitable[None]]) -> None:
    """Runs the load to its end, and the faults as long as it runs.

    Raises:
        Exception: a fault failed, which makes the run meaningless.
    """
    running = [asyncio.ensure_future(fault) for fault in faults]
    try:
        await load
    finally:
        for one in running:
            one.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
