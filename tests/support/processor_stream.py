"""Envoy's side of the external processing protocol, without an Envoy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import orjson
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHAT = "/v1/chat/completions"
UNTOUCHED = ext_proc.BodyResponse()


def headers_of(found: Any) -> dict[str, str]:
    """The headers that a mutation sets."""
    return {one.header.key: one.header.raw_value.decode() for one in found.set_headers}


def request_headers(
    headers: Mapping[str, str] | None = None,
    *,
    path: str = CHAT,
    method: str = "POST",
    end: bool = False,
) -> ext_proc.ProcessingRequest:
    """The first message of a stream."""
    message = ext_proc.ProcessingRequest()
    message.request_headers.end_of_stream = end
    every = {":method": method, ":path": path, **(headers or {})}
    _fill(message.request_headers.headers, every)
    return message


def request_body(body: bytes, *, end: bool = True) -> ext_proc.ProcessingRequest:
    """The request's body."""
    return ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=body, end_of_stream=end))


def reply_headers(
    status: int = 200, kind: str = "application/json", *, end: bool = False, **more: str
) -> ext_proc.ProcessingRequest:
    """The reply's headers."""
    message = ext_proc.ProcessingRequest()
    message.response_headers.end_of_stream = end
    every = {":status": str(status), "content-type": kind}
    every |= {name.replace("_", "-"): value for name, value in more.items()}
    _fill(message.response_headers.headers, every)
    return message


def reply_body(body: bytes, *, end: bool = True) -> ext_proc.ProcessingRequest:
    """A piece of the reply."""
    return ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=body, end_of_stream=end))


def chat_body(text: str = "easy", model: str = "auto", **fields: Any) -> bytes:
    """A chat of one message."""
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields})


def usage_body(read: int, written: int) -> bytes:
    """A reply that tells what it cost."""
    return orjson.dumps(
        {"choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}}
    )


def _fill(target: Any, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        target.headers.add(key=name, raw_value=value.encode())


@dataclass(frozen=True, slots=True)
class Stream:
    """One HTTP request's stream to the processor."""

    call: Any

    async def say(self, message: ext_proc.ProcessingRequest | bytes) -> Any:
        """Sends a message and returns the answer; None: the stream has ended."""
        if not isinstance(message, bytes):
            message = message.SerializeToString()
        await self.call.write(message)
        body = await self.call.read()
        return None if body is grpc.aio.EOF else ext_proc.ProcessingResponse.FromString(body)

    async def routed(
        self, body: bytes | None = None, headers: Mapping[str, str] | None = None, path: str = CHAT
    ) -> Any:
        """Headers and body; the answer to the body."""
        await self.say(request_headers(headers, path=path))
        return await self.say(request_body(chat_body() if body is None else body))

    async def ended(self) -> grpc.StatusCode:
        """The status, once the processor has ended the stream."""
        code: grpc.StatusCode = await self.call.code()
        return code


@asynccontextmanager
async def stream(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()
) -> AsyncIterator[Stream]:
    """Opens a stream; ends it as Envoy does when its HTTP request is over."""
    call = channel.stream_stream(METHOD)(timeout=3 * HANG_S, metadata=metadata)
    try:
        yield Stream(call)
    finally:
        call.cancel()
