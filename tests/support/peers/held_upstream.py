"""An upstream whose streamed replies stop in the middle, until the test lets them go on."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INPUT_TOKENS, OUTPUT_TOKENS = 1000, 2500
TEXT_BYTES = 8000


class HeldUpstream:
    """A provider of Anthropic's messages.

    Attributes:
        port: the provider's port.
        answers: whether a request gets the first half of its reply at once; otherwise it gets
            nothing before ``go_on`` is set.
        go_on: replies wait for it in the middle.
        served: replies that were sent to their ends.
        arrived: set when a request has come.
    """

    def __init__(self) -> None:
        self.port = 0
        self.answers = True
        self.go_on = asyncio.Event()
        self.arrived = asyncio.Event()
        self.served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
                self.arrived.set()
                await self._reply(writer)
        writer.close()

    async def _reply(self, writer: asyncio.StreamWriter) -> None:
        if not self.answers:
            await self.go_on.wait()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        start = {"model": "large", "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}}
        _chunk(writer, {"type": "message_start", "message": {**start, "stop_reason": None}})
        text = {"type": "text_delta", "text": "word" * (TEXT_BYTES // 4)}
        _chunk(writer, {"type": "content_block_delta", "index": 0, "delta": text})
        await writer.drain()
        await self.go_on.wait()
        end = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": OUTPUT_TOKENS}}
        _chunk(writer, {"type": "message_delta", **end})
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        self.served += 1


def _chunk(writer: asyncio.StreamWriter, event: dict[str, object]) -> None:
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


@asynccontextmanager
async def held_upstream() -> AsyncIterator[HeldUpstream]:
    """Starts a provider on a free port, in this process."""
    running = HeldUpstream()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        running.go_on.set()
        server.close()
        await server.wait_closed()
