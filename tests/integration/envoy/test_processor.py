"""The external processor routes, refuses, passes and settles requests as Envoy sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import orjson
import pytest
import pytest_asyncio
from prometheus_client import generate_latest

from support.processor_stream import (
    CHAT,
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
from support.tiny_service import Running, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


pytestmark = pytest.mark.asyncio(loop_scope="module")

BUFFERED, BUFFERED_PARTIAL, STREAMED, NONE = 2, 3, 1, 0
SEND, SKIP = 1, 2
# The prices of the tiny pool's model large, for input and output tokens.
LARGE_USD_PER_TOKEN = (10e-6, 30e-6)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    settings = tiny_settings(
        tmp_path_factory.mktemp("tiny"),
        processor={"enabled": True},
        policy={"offered": ["cheapest"]},
        corrections={"learn": False},  # the tests come in any order
    )
    async with serving(settings) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _ends_every_stream(tiny: Running) -> AsyncIterator[None]:
    """Checks after each test that its exchange has ended, so that the next is not disturbed."""
    yield
    await all_ended(tiny)


async def test_a_routed_request(tiny: Running) -> None:
    async with stream(tiny.channel) as one:
        asks = await one.say(request_headers({"content-length": "62"}))
        assert asks.mode_override.request_body_mode == BUFFERED
        assert asks.mode_override.response_header_mode == SEND
        assert not asks.request_headers.response.HasField("header_mutation")
        body = b'{"temperature": 1.50, "model" : "auto", "messages":[{"content":"hard"}]}'
        routed = (await one.say(request_body(body))).request_body.response
        assert routed.body_mutation.body == body.replace(b'"auto"', b'"large"')
        assert routed.clear_route_cache
        told = headers_of(routed.header_mutation)
        assert told.pop("x-routoo-decision-id")
        assert told == {
            "x-routoo-model": "large",
            "x-routoo-score": "0.8750",
            "x-routoo-cost-usd": "0.00601",
            "content-length": str(len(body) + 1),
            "x-routoo-fallback-model": "medium",
        }
        answer = await one.say(reply_headers())
        told = headers_of(answer.response_headers.response.header_mutation)
        assert told["x-routoo-model"] == "large"
        assert answer.mode_override.response_body_mode == STREAMED
        before = replies(tiny)
        cost = metric(tiny, "routoo_reported_cost_usd_total", model="large")
        assert await one.say(reply_body(usage_body(1000, 500))) is None
        assert await one.ended() == grpc.StatusCode.OK
    assert await grown(tiny, before) == {"read": 1}
    settled = metric(tiny, "routoo_reported_cost_usd_total", model="large") - cost
    read, written = LARGE_USD_PER_TOKEN
    assert settled == pytest.approx(1000 * read + 500 * written)
    assert metric(tiny, "routoo_reported_latency_ms_total", model="large") > 0


@pytest.mark.parametrize(
    "message",
    [
        request_headers(method="GET"),
        request_headers(path="/v1/models"),
        request_headers(path="/v1/embeddings"),
        request_headers(end=True),
        request_headers({"content-encoding": "compress"}),
        request_headers({"content-length": str(10**9)}),
    ],
)
async def test_headers_that_end_it(tiny: Running, message: Any) -> None:
    async with stream(tiny.channel) as one:
        assert await one.say(message) is None
        assert await one.ended() == grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        (CHAT, {}, "max_completion_tokens"),
        (CHAT, {"max_completion_tokens": None}, "max_completion_tokens"),
        ("/v1/messages", {}, "max_tokens"),
    ],
)
async def test_answers_are_capped_where_the_settings_say_so(
    tmp_path: Path, path: str, asked: dict[str, Any], field: str
) -> None:
    limit = {"x-routoo-max-cost-usd": "0.001", "x-routoo-allowed-models": "medium"}
    sent = {}
    for cap in (True, False):
        async with (
            with_settings(tmp_path, processor={"cap_answers": cap}) as running,
            stream(running.channel) as one,
        ):
            routed = await one.routed(chat_body(**asked), limit, path)
            sent[cap] = orjson.loads(routed.request_body.response.body_mutation.body)
            assert len(sent[cap]["messages"]) == 1
    # $0.001 at $2 per million, without what the input may cost.
    assert 400 < sent[True][field] < 500
    assert sent[False].get(field) is None


async def test_a_cap_of_the_caller_s_stays(tmp_path: Path) -> None:
    limit = {"x-routoo-max-cost-usd": "0.001"}
    async with (
        with_settings(tmp_path, processor={"cap_answers": True}) as running,
        stream(running.channel) as one,
    ):
        routed = await one.routed(chat_body(max_tokens=7), limit)
        body = orjson.loads(routed.request_body.response.body_mutation.body)
    assert (body["max_tokens"], "max_completion_tokens" in body) == (7, False)


@pytest.mark.parametrize(
    "body",
    [
        chat_body(model="gpt-4o"),
        b'{"model":["auto"]}',
        b'{"model":"AUTO"}',
        b'{"messages":[{"model":"auto"}]}',
        b'["auto"]',
        b'"auto"',
        b"{}",
        b"",
        b"not JSON",
        b'{"model":"gpt-4o"',
        b'{"model":"gpt-4o","x":NaN}',
        b"[" * 100_000,
    ],
)
async def test_bodies_that_pass_untouched(tiny: Running, body: bytes) -> None:
    async with stream(tiny.channel) as one:
        await one.say(request_headers())
        assert await one.say(request_body(body)) is None
        assert await one.ended() == grpc.StatusCode.OK


DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"auto","model":"gpt-4o","n":1,"n":1}', "invalid_argument"),
        (b'{"model":"auto","messages":[],"n":8,"n":1}', "invalid_argument"),
        (b'{"model":"auto","messages":[%b]}' % b",".join([b"{}"] * 500_000), "invalid_argument"),
        (b'{"model":"auto"', "unreadable_body"),
        (b'{"model":"auto","x":NaN}', "unreadable_body"),
        (b'{"model":"auto","x":"\xff"}', "unreadable_body"),
        (b'{"model":"auto","x":' + DEEP, "unreadable_body"),
        ('{"model":"auto"}'.encode("utf-16"), "unreadable_body"),
    ],
    ids=lambda value: value[:40],
)
async def test_odd_bodies_of_ours_are_refused_even_with_a_fallback(
    tmp_path: Path, body: bytes, code: str
) -> None:
    reasons = ["no_eligible_model", "budget_spent", "overloaded", "unavailable", "internal"]
    fallback = {"fallback_model": "large", "fallback_on": reasons}
    async with (
        with_settings(tmp_path, processor=fallback) as running,
        stream(running.channel) as one,
    ):
        await one.say(request_headers())
        refused = (await one.say(request_body(body))).immediate_response
        assert refused.status.code == 400
        assert orjson.loads(refused.body)["error"]["code"] == code
        assert metric(running, "routoo_http_requests_total", result="refused") == 1


@pytest.mark.parametrize(
    ("body", "most_usd"),
    [
        (b'{"model":"auto","messages":[{"content":"hard"}],"tools":[%b]}' % DEEP, 1e-2),
        (b'{"model":"auto","messages":[{"content":"hard \\ud83d"}],"max_tokens":9}', 1e-7),
        (b'\xef\xbb\xbf{"model":"auto","messages":[{"content":"hard"}],"max_tokens":9}', 1e-7),
        (b'{"model":"auto","messages":[{"content":"hard"}],"model":"auto"}', 1e-7),
    ],
    ids=["deep", "surrogate", "mark", "twice"],
)
async def test_odd_bodies_are_routed_within_their_limits(
    tmp_path: Path, body: bytes, most_usd: float
) -> None:
    limit = {"x-routoo-max-cost-usd": str(most_usd)}
    async with with_settings(tmp_path) as running:
        async with stream(running.channel) as one:
            routed = (await one.routed(body)).request_body.response
            model = headers_of(routed.header_mutation)["x-routoo-model"]
            assert routed.body_mutation.body == body.replace(b'"auto"', b'"%b"' % model.encode())
        async with stream(running.channel) as one:
            refused = (await one.routed(body, limit)).immediate_response
    assert orjson.loads(refused.body)["error"]["code"] == "no_eligible_model"


async def test_what_does_not_fit_in_envoys_buffer_passes(tiny: Running) -> None:
    async with stream(tiny.channel) as one:
        asks = await one.say(request_headers({"transfer-encoding": "chunked"}))
        assert asks.mode_override.request_body_mode == BUFFERED_PARTIAL
        assert await one.say(request_body(chat_body()[:20], end=False)) is None


RESULT = {"type": "function_call_output", "call_id": "c", "output": ""}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": ""}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/responses", {"previous_response_id": "resp_1", "input": [RESULT]}),
        ("/v1/responses", {"previous_response_id": "resp_1", "input": []}),
        ("/v1/responses", {"previous_response_id": "resp_1"}),
        ("/v1/responses", {"conversation": {"id": "conv_1"}, "input": ""}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "x"}]}),
        (CHAT, {"messages": [{"role": "tool", "tool_call_id": "a", "content": ""}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [TOOL_RESULT]}]}),
        ("/v1/completions", {"prompt": [151644, 8948, 198]}),
        ("/v1/completions", {"prompt": [[151644, 8948], [1]]}),
    ],
)
async def test_what_goes_on_without_a_text_is_routed(
    tiny: Running, path: str, fields: dict[str, Any]
) -> None:
    async with stream(tiny.channel) as one:
        answer = await one.routed(orjson.dumps({"model": "auto", **fields}), path=path)
        assert headers_of(answer.request_body.response.header_mutation)["x-routoo-model"]


@pytest.mark.parametrize("kind", ["video_url", "audio_url", "input_audio", "hologram"])
async def test_what_no_model_can_take_is_refused(tiny: Running, kind: str) -> None:
    part = {"type": kind, kind: {"url": "https://example.com/a"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "easy"}, part]}]
    async with stream(tiny.channel) as one:
        refused = (
            await one.routed(
                orjson.dumps({"model": "auto", "messages": said}),
                {"x-routoo-allowed-models": "small"},
            )
        ).immediate_response
    assert (refused.status.code, orjson.loads(refused.body)["error"]["code"]) == (
        400,
        "no_eligible_model",
    )


FORGED = {"x-routoo-model": "large", "x-routoo-cost-usd": "0"}


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_forged_headers_are_taken_away(tiny: Running, path: str) -> None:
    async with stream(tiny.channel) as one:
        answer = await one.say(request_headers(FORGED, path=path))
        response = answer.request_headers.response
        assert sorted(response.header_mutation.remove_headers) == sorted(FORGED)
        modes = answer.mode_override
        if path != CHAT:
            assert (modes.request_body_mode, modes.response_header_mode) == (NONE, SKIP)
        assert response.clear_route_cache


async def test_our_own_headers_and_accept_encoding_go_no_further(tiny: Running) -> None:
    headers = {"x-routoo-tenant": "acme", "x-routoo-min-score": "0.1", "accept-encoding": "gzip"}
    async with stream(tiny.channel) as one:
        routed = (await one.routed(headers=headers)).request_body.response
    assert list(routed.header_mutation.remove_headers) == sorted(headers)


CONSTRAINED: list[tuple[dict[str, str], bytes, str]] = [
    ({}, chat_body("easy"), "small"),
    ({}, chat_body("hard"), "large"),
    ({"x-routoo-max-cost-usd": "0.001"}, chat_body("hard"), "medium"),
    ({"x-routoo-max-latency-ms": "600"}, chat_body("hard"), "small"),
    ({"x-routoo-allowed-models": "medium"}, chat_body("hard"), "medium"),
    ({"x-routoo-denied-models": "large"}, chat_body("hard"), "medium"),
    ({"x-routoo-policy": "cheapest"}, chat_body("hard"), "small"),
    ({"x-routoo-required-capabilities": "vision"}, chat_body("easy"), "large"),
    ({"x-routoo-min-score": "0.6"}, chat_body("hard"), "large"),
    ({}, chat_body("easy", tools=[{"type": "function"}]), "medium"),
    (
        {},
        orjson.dumps(
            {
                "model": "auto",
                "messages": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            }
        ),
        "large",
    ),
    # The small model takes 4,096 tokens at most.
    ({}, chat_body("easy", tools=[{"x": "y" * 20_000}]), "medium"),
    ({"x-routoo-expected-output-tokens": "5000"}, chat_body("easy"), "medium"),
    ({"x-routoo-expected-output-tokens": "5000"}, chat_body("easy", max_tokens=100), "small"),
]


@pytest.mark.parametrize(("headers", "body", "model"), CONSTRAINED)
async def test_constraints(
    tiny: Running, headers: Mapping[str, str], body: bytes, model: str
) -> None:
    async with stream(tiny.channel) as one:
        routed = await one.routed(body, headers)
        assert headers_of(routed.request_body.response.header_mutation)["x-routoo-model"] == model


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "words"),
    [
        ({"x-routoo-max-cost": "1"}, chat_body(), 400, "invalid_argument", "no such header"),
        ({"x-routoo-min-score": "x"}, chat_body(), 400, "invalid_argument", "is not a number"),
        (
            {"x-routoo-allowed-models": "nobody"},
            chat_body(),
            400,
            "invalid_argument",
            "unknown model 'nobody'",
        ),
        (
            {"x-routoo-min-score": "1"},
            chat_body(),
            400,
            "no_eligible_model",
            "min_score",
        ),
        (
            {},
            chat_body(response_format={"type": "json_object"}),
            400,
            "no_eligible_model",
            "capability 'json'",
        ),
        (
            {"x-routoo-max-cost-usd": "1e-9"},
            rb'{"model":"auto","messages":[{"role":"user","content":"cut \ud83d"}]}',
            400,
            "no_eligible_model",
            "max_cost_usd",
        ),
        ({}, b'{"model":"auto","messages":[]}', 400, "invalid_argument", "no text"),
        ({}, b'{"model":"auto"}', 400, "invalid_argument", "no text"),
    ],
)
async def test_refusals(
    tiny: Running, headers: Mapping[str, str], body: bytes, status: int, code: str, words: str
) -> None:
    async with stream(tiny.channel) as one:
        refused = (await one.routed(body, headers)).immediate_response
        assert await one.ended() == grpc.StatusCode.OK
    assert refused.status.code == status
    assert headers_of(refused.headers) == {"content-type": "application/json"}
    error = orjson.loads(refused.body)["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_a_refusal_in_the_words_of_the_messages_api(tiny: Running) -> None:
    async with stream(tiny.channel) as one:
        answer = await one.routed(headers={"x-routoo-min-score": "1"}, path="/v1/messages")
    error = orjson.loads(answer.immediate_response.body)
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("message", "body", "status"),
    [
        (request_headers({"content-encoding": "br, compress"}), None, 415),
        (request_headers({"content-length": "5000"}), None, 413),
        (request_headers(), b"x" * 5000, 413),
        (request_headers(), b"not JSON", 400),
    ],
)
async def test_what_cannot_be_read_is_refused_where_the_settings_say_so(
    tmp_path: Path, message: Any, body: bytes | None, status: int
) -> None:
    processor = {"on_too_large": "refuse", "on_unreadable": "refuse", "max_body_bytes": 4096}
    async with (
        with_settings(tmp_path, processor=processor) as running,
        stream(running.channel) as one,
    ):
        answer = await one.say(message)
        if body is not None:
            assert answer.mode_override.request_body_mode == BUFFERED
            answer = await one.say(request_body(body))
    assert answer.immediate_response.status.code == status


@pytest.mark.parametrize(
    ("messages", "result"),
    [
        ([reply_headers(500)], "failed"),
        ([reply_headers(429, end=True)], "failed"),
        ([reply_headers(200, end=True)], "estimated"),
        ([reply_headers(content_encoding="gzip")], "estimated"),
        ([reply_headers(kind="audio/wav")], "estimated"),
        ([reply_headers(), reply_body(b'{"no":"usage"}')], "estimated"),
        ([reply_headers(), reply_body(b"{", end=False)], "gone"),
        ([reply_headers(), reply_body(usage_body(1, 2), end=False)], "read"),
        ([], "gone"),
    ],
)
async def test_how_replies_are_settled(tiny: Running, messages: list[Any], result: str) -> None:
    before = replies(tiny)
    cost = metric(tiny, "routoo_reported_cost_usd_total", model="large")
    async with stream(tiny.channel) as one:
        routed = await one.routed(chat_body("hard"))
        told = headers_of(routed.request_body.response.header_mutation)
        for message in messages:
            await one.say(message)
    assert await grown(tiny, before) == {result: 1}
    settled = metric(tiny, "routoo_reported_cost_usd_total", model="large") - cost
    expected = {"failed": 0.0, "read": 1 * 10e-6 + 2 * 30e-6}
    assert settled == pytest.approx(expected.get(result, float(told["x-routoo-cost-usd"])))
    failed = metric(tiny, "routoo_outcomes_total", result="failed")
    assert (failed > 0) or result != "failed"


async def test_a_streamed_reply_is_read_piece_by_piece(tiny: Running) -> None:
    before = replies(tiny)
    async with stream(tiny.channel) as one:
        await one.routed(chat_body(stream=True))
        asks = await one.say(reply_headers(kind="text/event-stream; charset=utf-8"))
        assert asks.mode_override.response_body_mode == STREAMED
        for piece in (b'data: {"choices":', b"[]}\n\n", b"data: " + usage_body(7, 8) + b"\n\n"):
            answer = await one.say(reply_body(piece, end=False))
            assert not answer.response_body.HasField("response")
        await one.say(reply_body(b"data: [DONE]\n\n"))
        assert await one.ended() == grpc.StatusCode.OK
    assert await grown(tiny, before) == {"read": 1}


@pytest.mark.parametrize(
    "messages",
    [
        [b""],
        [b"\xff\xff"],
        [request_body(b"{}")],
        [reply_headers()],
        [reply_body(b"")],
        [request_headers(), request_headers()],
        [request_headers(), reply_headers()],
    ],
)
async def test_messages_out_of_place(tiny: Running, messages: list[Any]) -> None:
    async with stream(tiny.channel) as one:
        *first, last = messages
        for message in first:
            await one.say(message)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one.say(last)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_metrics_have_help(tiny: Running) -> None:
    page = generate_latest(tiny.service.metrics.registry).decode()
    assert 'routoo_http_requests_total{result="routed"}' in page


async def test_a_request_that_is_alone_is_routed_while_memory_is_short(tmp_path: Path) -> None:
    async with with_settings(tmp_path) as running:
        running.service._calls.in_flight.short = True
        async with stream(running.channel) as one:
            assert (await one.routed(chat_body("easy"))).HasField("request_body")
        await all_ended(running)
