"""Hostile streams to the external processor, as an attacker or a broken Envoy would send them.

They hold bytes that are no message, messages out of order, odd headers and bodies, replies that
break off, and streams that are abandoned. A stream's number is the seed that draws it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson

from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from routoo.api.llm.bodies.request_body import read_body, read_head
from routoo.errors import UnreadableBodyError
from support.artifacts.zstd import zstd
from support.processor_stream import METHOD
from support.watched import HANG_S

BAD = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)
# The details that grpc.aio's client gives to a stream that ended while it was writing.
ENDED_MEANWHILE = "Internal error from Core"
MOST_FINDINGS = 20
POOL = ("small", "medium", "large")
_PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"),
    "/v1/messages/count_tokens",
    *(
        "/v1/models",
        "",
        "?",
        "/chat/completions?x=1",
        "\0",
        "/" * 3000,
    ),
)
_NAMES = (
    *(":method", ":path", ":status", "content-length", "content-encoding", "content-type"),
    *("x-routoo-model", "x-routoo-max-cost-usd", "x-routoo-min-score", "x-routoo-tenant"),
    *("x-routoo-allowed-models", "x-routoo-policy", "x-routoo-expected-output-tokens"),
    *("x-routoo-", "x-routoo-nothing", "transfer-encoding", "accept-encoding", "x-request-id", ""),
)
_VALUES = (
    *(
        "",
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "1e999",
        "9" * 30,
        "gzip",
        "deflate",
        "zstd",
        "br",
        "identity",
        "chunked",
        "POST",
    ),
    *("200", "500", "999", "abc", "application/json", "text/event-stream", "auto", ",,,", "\xff"),
)
_KEYS = (
    *("model", "messages", "role", "content", "type", "text", "input", "instructions", "system"),
    *("prompt", "tools", "functions", "max_tokens", "stream", "response_format", "json_schema"),
    *("usage", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "message"),
    *("response", "image_url", "tool_calls", "output", "modalities", "model\\"),
)
_STRINGS = (
    *("auto", "", " ", "text", "image_url", "tool_result", "json_object", "hello there", "\u2028"),
    *('"model":"auto"', "\\", "}{][", "\ud800", "\U0001f600" * 40),
)
_BROKEN = (
    *(b"", b"{", b"[" * 2000, b'{"model":"auto"', b'{"model":"auto","x":NaN}', b"\xff\xfe{}"),
    *(b'\xef\xbb\xbf{"model":"auto"}', b"null", b"1e400", b'{"model":"auto","x":"\\ud800"}'),
    *(b'{"model":"auto","messages":' + b"[" * 900 + b"]" * 900 + b"}", b"\x1f\x8b\x08\x00"),
    b'{"model":"auto","messages":["x"],"tools":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    *(b'{"model":"auto","model":"x"}', b'{"n":1,"model":"auto","n":2}', b'{"model":"auto"}}'),
    *('{"model":"auto"}'.encode("utf-16"), b'{"model":"auto","x":"\xed\xa0\xbd"}'),
)


class Chance:
    """Draws messages; the same seed draws the same.

    Attributes:
        is_gateway: whether the stream is one of a gateway whose modes are fixed, which sends its
            messages without waiting for answers.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        self.is_gateway = self._random.random() < 0.4

    def stream(self) -> list[bytes]:
        """Draws the messages of one stream: first valid ones, then any."""
        honest = [
            lambda: self._headers("request_headers", self._honest_headers()),
            lambda: self._body("request_body", self._object(), end=True),
            lambda: self._headers("response_headers", {":status": "200", **self._kind()}),
            lambda: self._body("response_body", self._reply(), end=self._often()),
        ]
        if self.is_gateway:
            honest[1:2] = [self._piece] * self._random.randrange(5)
            honest += [lambda: self._trailers("response_trailers")]
        messages = [make() for make in honest[: self._random.randrange(len(honest) + 1)]]
        messages += [self._any() for _ in range(self._random.randrange(3))]
        return messages or [self._any()]

    def leaves(self) -> bool:
        """Draws whether the stream is abandoned before its end."""
        return self._random.random() < 0.2

    def _often(self) -> bool:
        return self._random.random() < 0.7

    def _any(self) -> bytes:
        kind = self._random.randrange(8)
        if kind == 0:
            return self._random.randbytes(self._random.randrange(40))
        if kind == 1:
            whole = bytearray(self._body("request_body", self._object(), end=True))
            for _ in range(3):
                whole[self._random.randrange(len(whole))] = self._random.randrange(256)
            return bytes(whole)
        if kind in (2, 3):
            name = self._pick(("request_headers", "response_headers"))
            count = self._random.randrange(8)
            return self._headers(
                name, {self._pick(_NAMES): self._pick(_VALUES) for _ in range(count)}
            )
        if kind in (4, 5):
            name = self._pick(("request_body", "response_body"))
            return self._body(name, self._pick(_BROKEN), end=self._often())
        if kind == 6:
            return self._body(
                self._pick(("request_body", "response_body")), self._object(), end=self._often()
            )
        return self._trailers(self._pick(("request_trailers", "response_trailers")))

    def _trailers(self, name: str) -> bytes:
        trailers = ext_proc.ProcessingRequest()
        getattr(trailers, name).SetInParent()
        return _bytes(trailers)

    def _piece(self) -> bytes:
        """Draws a piece of a body, or the rest of it in one of its codings."""
        body = self._object()
        kind = self._random.randrange(4)
        if kind == 0:
            return self._trailers("request_trailers")
        if kind == 1:
            body = self._pick((gzip.compress, zlib.compress, zstd.compress))(body)
        start = self._random.randrange(len(body) + 1)
        piece = self._pick((body, body[:start], body[start:]))
        return self._body("request_body", piece, end=not self._often())

    def _honest_headers(self) -> dict[str, str]:
        headers = {":method": "POST", ":path": self._pick(_PATHS[:5])}
        if self._random.random() < 0.3:
            headers[self._pick(_NAMES)] = self._pick(_VALUES)
        return headers

    def _kind(self) -> dict[str, str]:
        return {"content-type": self._pick(("application/json", "text/event-stream", "x"))}

    def _headers(self, name: str, headers: dict[str, str]) -> bytes:
        message = ext_proc.ProcessingRequest()
        part = getattr(message, name)
        part.end_of_stream = self._random.random() < 0.05
        if self.is_gateway and name == "request_headers":
            modes = message.protocol_config
            modes.request_body_mode = self._random.randrange(6)
            modes.response_body_mode = self._random.randrange(6)
            modes.send_body_without_waiting_for_header_response = self._often()
        for key, value in headers.items():
            part.headers.headers.add(key=key, raw_value=value.encode("latin-1", "replace"))
        return _bytes(message)

    def _body(self, name: str, body: bytes, *, end: bool) -> bytes:
        message = ext_proc.ProcessingRequest()
        getattr(message, name).body = body
        getattr(message, name).end_of_stream = end
        return _bytes(message)

    def _object(self) -> bytes:
        members = [self._member(3) for _ in range(self._random.randrange(6))]
        if self._often():
            members.insert(self._random.randrange(len(members) + 1), '"model":"auto"')
        if self._often():
            members.append('"messages":[{"role":"user","content":"hello"}]')
        return f"{{{','.join(members)}}}".encode("utf-8", "surrogatepass")

    def _member(self, depth: int) -> str:
        return f"{json.dumps(self._pick(_KEYS))} : {self._value(depth)}"

    def _value(self, depth: int) -> str:
        kind = self._random.randrange(6 if depth else 3)
        if kind == 0:
            return self._pick(
                ("null", "true", "-0", "1.50", "1e5", "123456789012345678901234567890")
            )
        if kind in (1, 2):
            return json.dumps(self._pick(_STRINGS), ensure_ascii=self._often())
        count = self._random.randrange(4)
        if kind == 3:
            return f"[{','.join(self._value(depth - 1) for _ in range(count))}]"
        return f"{{{','.join(self._member(depth - 1) for _ in range(count))}}}"

    def _reply(self) -> bytes:
        return b"data: " * (not self._often()) + self._object() + b"\n" * self._random.randrange(3)

    def _pick(self, choices: tuple[Any, ...]) -> Any:
        return self._random.choice(choices)


@dataclass(slots=True)
class Found:
    """The results of the streams."""

    streams: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


async def attack(
    channel: grpc.aio.Channel, first: int, streams: int, *, at_once: int = 32
) -> Found:
    """Sends streams by number; ``findings`` names each that broke a rule.

    A stream has to end within ``HANG_S``, and not with INTERNAL or UNKNOWN. An answer has to be a
    message, a routed body has to be JSON, and a refusal is never a 500.
    """
    found = Found()
    numbers = iter(range(first, first + streams))
    method = channel.stream_stream(METHOD)

    async def work() -> None:
        for number in numbers:
            await _send(method, Chance(number), number, found)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return found


async def _send(method: Any, chance: Chance, number: int, found: Found) -> None:
    call = method(timeout=HANG_S)
    try:
        await _talk(call, chance, found)
    except (asyncio.InvalidStateError, asyncio.CancelledError, grpc.aio.AioRpcError):
        pass  # the stream ended; its code is checked below
    except (ValueError, AssertionError) as error:
        found.findings.append(f"stream {number}: an answer that is none: {error}")
    code, details = await call.code(), await call.details()
    found.streams += 1
    if code is grpc.StatusCode.INTERNAL and details == ENDED_MEANWHILE:
        return  # only the service's own metrics have the status
    found.statuses[code.name] += 1
    if code in BAD and len(found.findings) < MOST_FINDINGS:
        found.findings.append(f"stream {number}: {code.name}: {details}")


async def _talk(call: Any, chance: Chance, found: Found) -> None:
    if chance.is_gateway:
        await _pour(call, chance, found)
        return
    for message in chance.stream():
        await call.write(message)
        answer = await call.read()
        if answer is grpc.aio.EOF:
            return
        found.answers[_check(answer)] += 1
    if chance.leaves():
        call.cancel()
        return
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass


async def _pour(call: Any, chance: Chance, found: Found) -> None:
    """Sends all messages of a gateway, and reads the answers meanwhile."""

    async def read() -> None:
        while (answer := await call.read()) is not grpc.aio.EOF:
            found.answers[_check(answer)] += 1

    reading = asyncio.ensure_future(read())
    try:
        for message in chance.stream():
            await call.write(message)
        if chance.leaves():
            call.cancel()
        else:
            await call.done_writing()
    finally:
        await reading


def _check(answer: bytes) -> str:
    message = ext_proc.ProcessingResponse.FromString(answer)
    kind = message.WhichOneof("response")
    assert kind is not None, "an empty answer"
    if kind == "immediate_response":
        orjson.loads(message.immediate_response.body)
        assert message.immediate_response.status.code != 500, "status 500"
        return f"refused {message.immediate_response.status.code}"
    mutation = message.request_body.response.body_mutation
    if mutation.streamed_response.body:
        return "piece"
    if mutation.body and message.request_body.response.header_mutation.set_headers:
        try:
            body = read_body(mutation.body, POOL)
        except UnreadableBodyError:  # the head of a body
            body = read_head(mutation.body, POOL)
        assert body is not None, "another model"
        return "routed"
    if message.request_headers.response.header_mutation.set_headers:
        return "routed headers"
    return str(kind)


def _bytes(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized
