"""A client of the external processing protocol, in the place of Envoy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import orjson

from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHAT = "/v1/chat/completions"
UNTOUCHED = ext_proc.BodyResponse()


def headers_of(found: Any) -> dict[str, str]:
    """Returns the headers that a mutation sets."""
    return {one.header.key: one.header.raw_value.decode() for one in found.set_headers}


def request_headers(
    headers: Mapping[str, str] | None = None,
    *,
    path: str = CHAT,
    method: str = "POST",
    end: bool = False,
    beside: str | None = None,
) -> ext_proc.ProcessingRequest:
    """Makes the message with the request's headers, the first of a stream.

    Args:
        headers: set beside those of every request.
        path: of the request.
        method: of the request.
        end: whether the request has no body.
        beside: the body that Envoy sends in its metadata, in base64; None: it sends none.
    """
    message = ext_proc.ProcessingRequest()
    if beside is not None:
        message.metadata_context.filter_metadata["routoo.request"]["body"] = beside
    message.request_headers.end_of_stream = end
    every = {":method": method, ":path": path, **(headers or {})}
    _fill(message.request_headers.headers, every)
    return message


def request_body(body: bytes, *, end: bool = True) -> ext_proc.ProcessingRequest:
    """Makes a message with the request's body."""
    return ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=body, end_of_stream=end))


def reply_headers(
    status: int = 200, kind: str = "application/json", *, end: bool = False, **more: str
) -> ext_proc.ProcessingRequest:
    """Makes the message with the reply's headers."""
    message = ext_proc.ProcessingRequest()
    message.response_headers.end_of_stream = end
    every = {":status": str(status), "content-type": kind}
    every |= {name.replace("_", "-"): value for name, value in more.items()}
    _fill(message.response_headers.headers, every)
    return message


def reply_body(body: bytes, *, end: bool = True) -> ext_proc.ProcessingRequest:
    """Makes a message with a piece of the reply's body."""
    return ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=body, end_of_stream=end))


def chat_body(text: str = "easy", model: str = "auto", **fields: Any) -> bytes:
    """Makes the body of a chat of one message."""
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields})


def usage_body(read: int, written: int) -> bytes:
    """Makes the body of a reply with its usage."""
    return orjson.dumps(
        {"choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}}
    )


def _fill(target: Any, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        target.headers.add(key=name, raw_value=value.encode())


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of one HTTP request to the processor."""

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
        """Sends headers and body, and returns the answer to the body."""
        body = chat_body() if body is None else body
        told = {"content-length": str(len(body)), **(headers or {})}
        await self.say(request_headers(told, path=path))
        return await self.say(request_body(body))

    async def ended(self) -> grpc.StatusCode:
        """Waits until the processor has ended the stream, and returns the status."""
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
