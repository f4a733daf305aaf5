"""Bodies in several messages, as gateways send them, and compressed ones."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import brotli
import grpc
import orjson
import pytest
import pytest_asyncio

from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from routoo.api.extproc.envoy.ext_proc_pb2 import ProcessingMode
from support.artifacts.zstd import zstd
from support.processor_stream import (
    CHAT,
    Stream,
    chat_body,
    headers_of,
    reply_body,
    reply_headers,
    request_body,
    request_headers,
    stream,
    usage_body,
)
from support.tiny_processor import all_ended, grown, metric, replies, with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.tiny_service import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMED, BUFFERED, DUPLEX = (
    ProcessingMode.STREAMED,
    ProcessingMode.BUFFERED,
    ProcessingMode.FULL_DUPLEX_STREAMED,
)
MOST_BYTES = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with with_settings(
        tmp_path_factory.mktemp("tiny"),
        processor={"max_body_bytes": MOST_BYTES},
        corrections={"learn": False},
    ) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _ends_every_stream(tiny: Running) -> AsyncIterator[None]:
    yield
    await all_ended(tiny)
    assert tiny.service._calls.in_flight.held_bytes == 0


def first(
    request: int,
    reply: int = 0,
    headers: dict[str, str] | None = None,
    *,
    early: bool = False,
    **of: Any,
) -> ext_proc.ProcessingRequest:
    """Makes the first message of a gateway whose modes are fixed."""
    message = request_headers(headers, **of)
    message.protocol_config.request_body_mode = request
    message.protocol_config.response_body_mode = reply
    message.protocol_config.send_body_without_waiting_for_header_response = early
    return message


def trailers(kind: str = "request_trailers") -> ext_proc.ProcessingRequest:
    message = ext_proc.ProcessingRequest()
    getattr(message, kind).SetInParent()
    return message


async def send(one: Stream, *messages: ext_proc.ProcessingRequest) -> None:
    for message in messages:
        await one.call.write(message.SerializeToString())


async def read(one: Stream) -> Any:
    body = await one.call.read()
    assert body is not grpc.aio.EOF
    return ext_proc.ProcessingResponse.FromString(body)


def split(body: bytes, size: int) -> list[ext_proc.ProcessingRequest]:
    starts = range(0, len(body), size)
    return [request_body(body[at : at + size], end=at + size >= len(body)) for at in starts]


async def gone_on(one: Stream) -> tuple[bytes, bool]:
    """Returns the body that goes on in full duplex, and whether its last piece ends it."""
    found = b""
    while True:
        piece = (await read(one)).request_body.response.body_mutation.streamed_response
        assert len(piece.body) <= 65536
        found += piece.body
        if piece.end_of_stream or len(piece.body) < 65536:
            return found, piece.end_of_stream


@pytest.mark.parametrize("size", [1, 40, 10**9])
async def test_full_duplex_waits_for_the_body_and_answers_headers_first(
    tiny: Running, size: int
) -> None:
    body = chat_body("hard")
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX, headers={"x-routoo-tenant": "a"}), *split(body, size))
        answer = await read(one)
        response = answer.request_headers.response
        told = headers_of(response.header_mutation)
        assert (told["x-routoo-model"], told["content-length"]) == ("large", str(len(body) + 1))
        assert list(response.header_mutation.remove_headers) == ["x-routoo-tenant"]
        assert response.clear_route_cache
        assert not answer.HasField("mode_override")
        assert await gone_on(one) == (body.replace(b'"auto"', b'"large"'), True)


async def test_a_long_body_goes_on_in_pieces(tiny: Running) -> None:
    body = chat_body("easy", metadata={"x": "y" * 200_000})
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX), *split(body, 30_000))
        assert (await read(one)).HasField("request_headers")
        found, ended = await gone_on(one)
    assert (found, ended) == (body.replace(b'"auto"', b'"small"'), True)


async def test_trailers_end_a_body_in_full_duplex(tiny: Running) -> None:
    body = chat_body("easy")
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX), request_body(body, end=False), trailers())
        told = headers_of((await read(one)).request_headers.response.header_mutation)
        assert "content-length" not in told
        assert await gone_on(one) == (body.replace(b'"auto"', b'"small"'), False)
        assert (await read(one)).HasField("request_trailers")


async def test_a_reply_in_full_duplex_is_read(tiny: Running) -> None:
    before = replies(tiny)
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX, DUPLEX), *split(chat_body("hard"), 50))
        await read(one)
        await gone_on(one)
        answer = await one.say(reply_headers())
        assert headers_of(answer.response_headers.response.header_mutation)["x-routoo-model"]
        assert not answer.HasField("mode_override")
        usage = usage_body(10, 20)
        for piece, end in ((usage[:9], False), (usage[9:], True)):
            passed = (await one.say(reply_body(piece, end=end))).response_body.response
            assert passed.body_mutation.streamed_response.body == piece
            assert passed.body_mutation.streamed_response.end_of_stream == end
        assert (await one.say(trailers("response_trailers"))).HasField("response_trailers")
        await one.call.done_writing()
        assert await one.ended() == grpc.StatusCode.OK
    assert await grown(tiny, before) == {"read": 1}


async def test_streamed_pieces_are_answered_one_by_one(tiny: Running) -> None:
    body = chat_body("hard")
    async with stream(tiny.channel) as one:
        asks = await one.say(first(STREAMED))
        assert asks.mode_override.request_body_mode == BUFFERED
        *pieces, last = split(body, 30)
        for piece in pieces:
            held = (await one.say(piece)).request_body.response.body_mutation
            assert (held.clear_body, held.body) == (True, b"")
        routed = (await one.say(last)).request_body.response
        assert routed.body_mutation.body == body.replace(b'"auto"', b'"large"')
        assert headers_of(routed.header_mutation)["x-routoo-model"] == "large"


async def test_streamed_pieces_with_headers_that_wait(tiny: Running) -> None:
    body = chat_body("hard")
    async with stream(tiny.channel) as one:
        pieces = split(body, 30)
        await send(one, first(STREAMED, early=True), *pieces)
        told = (await read(one)).request_headers.response
        assert headers_of(told.header_mutation)["x-routoo-model"] == "large"
        *held, last = [(await read(one)).request_body.response.body_mutation for _ in pieces]
        assert all(one.clear_body for one in held)
        assert last.body == body.replace(b'"auto"', b'"large"')


async def test_trailers_after_streamed_pieces_are_refused(tiny: Running) -> None:
    async with stream(tiny.channel) as one:
        await one.say(first(STREAMED))
        await one.say(request_body(chat_body(), end=False))
        refused = (await one.say(trailers())).immediate_response
    assert refused.status.code == 400
    assert "FULL_DUPLEX_STREAMED" in orjson.loads(refused.body)["error"]["message"]


PASSING = b'{"model":"gpt-4o","x":"%s"}' % (b"y" * 99)


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (first(DUPLEX, headers={"x-routoo-score": "1"}), 2),
        (first(STREAMED, early=True, headers={"x-routoo-score": "1"}), 5),
    ],
)
async def test_what_is_not_routed_goes_on_as_it_came(
    tiny: Running, message: Any, answers: int
) -> None:
    async with stream(tiny.channel) as one:
        await send(one, message, *split(PASSING, 40))
        headers, *bodies = [await read(one) for _ in range(answers)]
        mutation = headers.request_headers.response.header_mutation
        assert list(mutation.remove_headers) == ["x-routoo-score"]
        found = [body.request_body.response.body_mutation for body in bodies]
        assert b"".join(one.body or one.streamed_response.body for one in found) == PASSING
        # The reply goes on, too, without a look.
        answer = await one.say(reply_headers())
        assert not answer.response_headers.HasField("response")
        assert (await one.say(reply_body(b"x"))).HasField("response_body")


@pytest.mark.parametrize("mode", [DUPLEX, STREAMED, BUFFERED])
async def test_another_path_goes_on_piece_by_piece(tiny: Running, mode: int) -> None:
    async with stream(tiny.channel) as one:
        answer = await one.say(first(mode, path="/v1/embeddings"))
        assert answer.HasField("request_headers")
        for piece in split(PASSING, 40):
            passed = (await one.say(piece)).request_body.response.body_mutation
            body = piece.request_body.body
            assert passed.streamed_response.body == (body if mode == DUPLEX else b"")
            assert passed.streamed_response.end_of_stream == (
                mode == DUPLEX and piece.request_body.end_of_stream
            )


async def test_a_refusal_in_full_duplex(tiny: Running) -> None:
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX, headers={"x-routoo-min-score": "1"}), *split(chat_body(), 9))
        assert (await read(one)).immediate_response.status.code == 400
        assert await one.ended() == grpc.StatusCode.OK


async def test_a_body_that_is_too_long_is_held_no_longer(tiny: Running) -> None:
    body = b'{"x":"%s","model":"auto"}' % (b"y" * 3 * MOST_BYTES)
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX), *split(body, 300_000))
        assert (await read(one)).HasField("request_headers")
        found = b""
        while len(found) < len(body):
            part = (await read(one)).request_body.response.body_mutation.streamed_response
            found += part.body
    assert (found, part.end_of_stream) == (body, True)


@pytest.mark.parametrize("early", [False, True])
async def test_a_body_that_is_too_long_is_routed_by_its_head(tiny: Running, early: bool) -> None:  # noqa: FBT001
    url = f"data:image/png;base64,{'A' * 2 * MOST_BYTES}"
    said = [{"type": "text", "text": "hard"}, {"type": "image_url", "image_url": {"url": url}}]
    body = chat_body(said)
    message = first(STREAMED, early=True) if early else first(DUPLEX)
    async with stream(tiny.channel) as one:
        found = b""
        await send(one, message)
        for piece in split(body, 300_000):
            await send(one, piece)
        headers = (await read(one)).request_headers.response.header_mutation
        assert headers_of(headers)["x-routoo-model"] == "large"
        assert "content-length" not in headers_of(headers)
        while len(found) < len(body) + 1:
            mutation = (await read(one)).request_body.response.body_mutation
            if early and not mutation.ByteSize():  # a piece that goes on as it came
                break
            found += mutation.body or mutation.streamed_response.body
    expected = body.replace(b'"auto"', b'"large"')
    assert expected.startswith(found)
    assert len(found) > MOST_BYTES if early else found == expected


async def test_gathered_bodies_have_their_share_of_the_memory(tmp_path: Path) -> None:
    limits = {"max_in_flight_bytes": 2 * MOST_BYTES, "max_message_bytes": MOST_BYTES}
    async with (
        with_settings(tmp_path, limits=limits) as running,
        stream(running.channel) as one,
        stream(running.channel) as other,
    ):
        await send(one, first(DUPLEX), request_body(b"{" + b" " * 400_000, end=False))
        await send(other, first(DUPLEX), request_body(b"{" + b" " * 400_000, end=False))
        refused = (await read(other)).immediate_response
        assert refused.status.code == 503
        assert orjson.loads(refused.body)["error"]["code"] == "overloaded"
        one.call.cancel()
        await all_ended(running)
        assert running.service._calls.in_flight.held_bytes == 0


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda body: bytes(brotli.compress(gzip.compress(body))),
}


@pytest.mark.parametrize("coding", sorted(CODINGS))
async def test_a_compressed_body_is_routed_and_goes_on_plain(tiny: Running, coding: str) -> None:
    body = chat_body("hard", metadata={"x": "y" * 50_000})
    packed = CODINGS[coding](body)
    headers = {"content-encoding": coding, "content-length": str(len(packed))}
    async with stream(tiny.channel) as one:
        routed = (await one.routed(packed, headers)).request_body.response
        assert routed.body_mutation.body == body.replace(b'"auto"', b'"large"')
        assert list(routed.header_mutation.remove_headers) == ["content-encoding"]
        told = headers_of(routed.header_mutation)
        assert told["content-length"] == str(len(routed.body_mutation.body))
    async with stream(tiny.channel) as one:  # one that names its model keeps its form
        named = CODINGS[coding](chat_body(model="gpt-4o"))
        assert await one.routed(named, headers) is None


@pytest.mark.parametrize(
    ("packed", "status", "passes"),
    [
        (gzip.compress(b'{"model":"auto","x":"%s"}' % (b"y" * 5 * MOST_BYTES)), 413, True),
        (gzip.compress(chat_body())[:-9], 400, True),
        (b'{"model":"gpt-4o"}', 400, True),
        (chat_body(), 400, False),
        (gzip.compress(b'{"model":"auto"'), 400, False),
    ],
    ids=["bomb", "cut off", "plain", "plain, ours", "no JSON, ours"],
)
async def test_a_body_that_cannot_be_decompressed(
    tmp_path: Path,
    packed: bytes,
    status: int,
    passes: bool,  # noqa: FBT001
) -> None:
    for rule in ("refuse", "pass"):
        processor = {"on_too_large": rule, "on_unreadable": rule, "max_body_bytes": MOST_BYTES}
        async with (
            with_settings(tmp_path, processor=processor) as running,
            stream(running.channel) as one,
        ):
            answer = await one.routed(packed, {"content-encoding": "gzip"})
            assert (answer is None) == (rule == "pass" and passes)
            if answer is not None:
                assert answer.immediate_response.status.code == status
                code = "body_too_large" if status == 413 else "unreadable_body"
                assert orjson.loads(answer.immediate_response.body)["error"]["code"] == code


async def test_an_empty_body_of_a_gateway_is_passed(tiny: Running) -> None:
    before = metric(tiny, "routoo_http_requests_total", result="passed")
    async with stream(tiny.channel) as one:
        await send(one, first(DUPLEX, path=CHAT), request_body(b""))
        assert (await read(one)).HasField("request_headers")
        assert await gone_on(one) == (b"", True)
    assert metric(tiny, "routoo_http_requests_total", result="passed") == before + 1
