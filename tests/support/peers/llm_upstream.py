"""An LLM provider's HTTP server for tests of a proxy: exact bytes in, canned replies out.

It speaks HTTP/1.1 without a library, so that a test sees the exact bytes of a request, and can
break off a reply anywhere.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.peers import tool_calls

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

INPUT_TOKENS, OUTPUT_TOKENS = 1000, 500
TEXT = "Paris"


@dataclass(frozen=True, slots=True)
class Received:
    """One request; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class Upstream:
    """A provider that runs.

    Attributes:
        port: the provider's port.
        received: all requests, oldest first.
        answered: the models of those that were answered, where they name one.
        status: the status of every reply.
        compressed: whether replies are gzip, whatever the request accepts.
        usage: whether replies have their usage.
        piece_bytes: size of the chunks of streamed replies; 0: one chunk per event.
        headers: further headers of every reply, each with its line end.
        failures: so many replies from now on have the status 503.
        calls: arguments, as JSON, of a call of the first tool, by which requests with tools are
            answered until they end with its result; empty: they are answered with text.
        breaks: whether connections end when a request has come, without a reply.
        silent: whether no request is answered; connections end with the block.
        models: the ids of the models that it lists.
        told: more that it tells of each of them.
        hold: streamed replies wait for it after their first event; set at the start.
        arrived: set when a request has come.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    status: int = 200
    compressed: bool = False
    usage: bool = True
    piece_bytes: int = 0
    headers: str = ""
    failures: int = 0
    calls: str = ""
    breaks: bool = False
    silent: bool = False
    models: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.received[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                self.arrived.set()
                if self.breaks:
                    return
                if not self.silent:
                    await self._reply(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the proxy closed the connection, as some tests want
        finally:
            writer.close()

    async def _reply(self, request: Received, writer: asyncio.StreamWriter) -> None:
        status = self.status
        if self.failures:
            self.failures -= 1
            status = 503
        if status != 200:
            error = json.dumps({"error": {"message": "upstream trouble", "type": "server_error"}})
            _write(writer, status, "application/json", error.encode(), self.headers)
            return
        try:
            asked = request.json if request.body else {}
        except ValueError:  # a body that is no JSON is answered, too
            asked = {}
        if isinstance(asked, dict) and isinstance(asked.get("model"), str):
            self.answered.append(asked["model"])
        if not isinstance(asked, dict) or not asked.get("stream"):
            body = json.dumps(self._whole(request.path, asked)).encode()
            extra = self.headers
            if self.compressed:
                body, extra = gzip.compress(body), f"{extra}content-encoding: gzip\r\n"
            _write(writer, 200, "application/json", body, extra)
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n%s\r\n" % self.headers.encode()
        )
        for number, event in enumerate(self._events(request.path, asked)):
            size = self.piece_bytes or len(event)
            for start in range(0, len(event), size):
                piece = event[start : start + size]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            if number == 0:
                await self.hold.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _whole(self, path: str, asked: Any) -> dict[str, Any]:
        if path.endswith("/models"):
            return {"object": "list", "data": [{"id": one, **self.told} for one in self.models]}
        model = asked.get("model") if isinstance(asked, dict) else None
        if self.calls and tool_calls.is_to_call(asked):
            return {**tool_calls.whole(path, asked, self.calls), "usage": _usage_of(path)}
        if path.startswith("/v1/messages"):
            reply: dict[str, Any] = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [{"type": "text", "text": TEXT}],
                "stop_reason": "end_turn",
            }
            usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
        elif path.startswith("/v1/responses"):
            reply = _response(model)
            usage = _response_usage()
        elif path.startswith("/v1/chat"):
            reply = {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": model,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": TEXT},
                    }
                ],
            }
            usage = _chat_usage()
        else:
            reply = {
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 1,
                "model": model,
                "choices": [{"index": 0, "finish_reason": "stop", "text": TEXT}],
            }
            usage = _chat_usage()
        return {**reply, "usage": usage} if self.usage else reply

    def _events(self, path: str, asked: dict[str, Any]) -> list[bytes]:
        model = asked.get("model")
        if self.calls and tool_calls.is_to_call(asked):
            events = tool_calls.events(path, asked, self.calls, _usage_of(path))
            if path.startswith("/v1/chat"):
                return [*map(_data, events), b"data: [DONE]\n\n"]
            return [_named(event.pop("type"), **event) for event in events]
        if path.startswith("/v1/messages"):
            return [
                _named(
                    "message_start",
                    message={
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "model": model,
                        "content": [],
                        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
                    },
                ),
                _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
                _named("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXT}),
                _named("content_block_stop", index=0),
                _named(
                    "message_delta",
                    delta={"stop_reason": "end_turn"},
                    usage={"output_tokens": OUTPUT_TOKENS},
                ),
                _named("message_stop"),
            ]
        if path.startswith("/v1/responses"):
            return [
                _named("response.created", response=_response(model)),
                _named(
                    "response.output_text.delta",
                    item_id="msg_1",
                    output_index=0,
                    content_index=0,
                    delta=TEXT,
                ),
                _named(
                    "response.completed",
                    response={**_response(model), "usage": _response_usage()},
                ),
            ]
        asks_usage = (asked.get("stream_options") or {}).get("include_usage")
        start: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
        }
        null: dict[str, Any] = {"usage": None} if asks_usage else {}
        events = [
            _data(
                {
                    **start,
                    "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}],
                    **null,
                }
            )
            for word in ("", *TEXT)
        ]
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        events.append(_data({**start, "choices": [stop], **null}))
        if asks_usage:
            events.append(_data({**start, "choices": [], "usage": _chat_usage()}))
        return [*events, b"data: [DONE]\n\n"]


def _response(model: Any) -> dict[str, Any]:
    content = {"type": "output_text", "text": TEXT, "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [content],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _response_usage() -> dict[str, Any]:
    return {
        "input_tokens": INPUT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }


def _usage_of(path: str) -> dict[str, Any]:
    if path.startswith("/v1/messages"):
        return {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    return _response_usage() if path.startswith("/v1/responses") else _chat_usage()


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _named(kind: str, **values: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **values})


def _write(
    writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, extra: str = ""
) -> None:
    head = f"HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    return Received(method, path, headers, body)


@asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """Starts a provider on a free port, in this process; with TLS if a context is given."""
    running = Upstream()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    running.hold.set()
    try:
        yield running
    finally:
        running.hold.set()
        server.close()
        await server.wait_closed()
