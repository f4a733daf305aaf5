"""An LLM provider for chaos: it answers chats, counts the tokens it says, and has moods."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.records import Served
from chaos.site_files import PRICES

if TYPE_CHECKING:
    from collections.abc import Callable

MOODS = ("errors", "slow", "lies", "breaks")
_SLOW_S = 2.0
_MOST_INPUT, _MOST_OUTPUT = 400, 200
_LIES: tuple[Callable[[dict[str, int]], Any], ...] = (
    lambda _: {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    lambda _: {"prompt_tokens": 10**9, "completion_tokens": 10**9},
    lambda _: {"prompt_tokens": -5, "completion_tokens": "many"},
    lambda usage: {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]},
    lambda _: None,
)


class ScriptedUpstream:
    """A provider; the same seed says the same tokens to the same calls.

    Attributes:
        port: its port on 127.0.0.1.
        served: the requests that it has answered with a success, oldest first.
        mood: one of ``MOODS``, which spoils half of the replies; empty: none.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.served: list[Served] = []
        self.mood = ""

    async def start(self) -> None:
        """Begins to listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Ends all connections."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; returns whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = {}
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        asked = json.loads(await _body(reader, headers))
        call = int(headers.get("x-chaos-call", -1))
        model = str(asked.get("model"))
        chance = Random(f"upstream {self._seed} {call}")  # noqa: S311 - the same replies in every run
        usage = {
            "prompt_tokens": chance.randint(1, _MOST_INPUT),
            "completion_tokens": chance.randint(1, min(_MOST_OUTPUT, int(asked["max_tokens"]))),
        }
        mood = self.mood if chance.random() < 0.5 else ""
        if mood == "slow":
            await asyncio.sleep(_SLOW_S)
        if mood == "errors":
            self.served.append(Served(call, model, 0, truthful=False))
            error = json.dumps({"error": {"message": "trouble", "type": "server_error"}}).encode()
            _write(writer, chance.choice((500, 503, 429)), error)
            await writer.drain()
            return True
        told: Any = usage
        if mood == "lies":
            told = chance.choice(_LIES)(usage)
        truthful = mood not in {"lies", "breaks"}
        read_nano, written_nano = PRICES.get(model, (0, 0))
        cost = usage["prompt_tokens"] * read_nano + usage["completion_tokens"] * written_nano
        self.served.append(Served(call, model, cost, truthful=truthful))
        pieces = _stream(model, told) if asked.get("stream") else [_whole(model, told)]
        if mood == "breaks":
            pieces = [piece[: len(piece) // 2] for piece in pieces[:1]]
        if asked.get("stream"):
            await _write_stream(writer, pieces, whole=mood != "breaks")
        else:
            _write(writer, 200, pieces[0], length=len(pieces[0]) * (2 if mood == "breaks" else 1))
        await writer.drain()
        return mood != "breaks"


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


def _whole(model: str, usage: Any) -> bytes:
    message = {"role": "assistant", "content": "Paris"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    reply = {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    return json.dumps({"id": "chatcmpl-1", "created": 1, **reply}).encode()


def _stream(model: str, usage: Any) -> list[bytes]:
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    delta = {"role": "assistant", "content": "Paris"}
    events = [
        {**start, "choices": [{"index": 0, "delta": delta}]},
        {**start, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**start, "choices": [], "usage": usage},
    ]
    return [
        *(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events),
        b"data: [DONE]\n\n",
    ]


def _write(writer: asyncio.StreamWriter, status: int, body: bytes, length: int = -1) -> None:
    size = len(body) if length < 0 else length
    head = (
        f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    writer.write(head.encode() + body)


async def _write_stream(writer: asyncio.StreamWriter, pieces: list[bytes], *, whole: bool) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for piece in pieces:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(0)
    if whole:
        writer.write(b"0\r\n\r\n")
