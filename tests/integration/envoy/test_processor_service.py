"""The external processor in a service: budgets, fallbacks, limits, reload, stop, overload."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING

import grpc
import orjson
import pytest

from routoo.api.overload import Overload
from routoo.api.security.caller import ROUTE
from routoo.api.security.tokens import append_token, new_token
from routoo.errors import QueueFullError
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
from support.tiny_service import connected, tiny_settings
from support.watched import HANG_S, watch_accepted, watch_predictor

if TYPE_CHECKING:
    from pathlib import Path


BUDGET = {"name": "all", "usd": 0.007, "per": "365d", "on_exhausted": "refuse"}


async def test_a_spent_budget_refuses_and_what_was_saved_is_spent_again(tmp_path: Path) -> None:
    async with with_settings(tmp_path, budgets=[BUDGET]) as running:
        expensive = {"x-routoo-allowed-models": "large"}
        async with stream(running.channel) as first:
            await first.routed(chat_body("hard"), expensive)
            async with stream(running.channel) as second:
                refused = (await second.routed(chat_body("hard"), expensive)).immediate_response
            assert refused.status.code == 402
            assert orjson.loads(refused.body)["error"]["code"] == "budget_spent"
            before = replies(running)
            await first.say(reply_headers())
            await first.say(reply_body(usage_body(10, 10)))
        assert await grown(running, before) == {"read": 1}
        async with stream(running.channel) as third:
            routed = await third.routed(chat_body("hard"), expensive)
            assert routed.HasField("request_body")


async def test_a_caller_that_leaves_before_the_decision_reserves_nothing(tmp_path: Path) -> None:
    async with with_settings(tmp_path, budgets=[BUDGET]) as running:
        watched = watch_predictor(running.service.engine)
        watched.hold()
        async with stream(running.channel) as one:
            await one.say(request_headers())
            await one.call.write(request_body(chat_body("hard")).SerializeToString())
            await watched.calls.reached(1)
        await all_ended(running)
        watched.release()
        async with stream(running.channel) as other:
            answer = await other.routed(chat_body("hard"), {"x-routoo-allowed-models": "large"})
            assert answer.HasField("request_body")
    assert replies(running)["gone"] == 1  # the second, whose reply never came


@pytest.mark.parametrize("fallback", ["", "large"])
async def test_a_fault_of_the_service_leaves_a_line_in_the_log(
    tmp_path: Path, fallback: str
) -> None:
    async with with_settings(tmp_path, processor={"fallback_model": fallback}) as running:
        watch_predictor(running.service.engine).fail.append(ZeroDivisionError("secret"))
        async with stream(running.channel) as one:
            answer = await one.routed()
            assert answer.HasField("request_body") == bool(fallback)
            if not fallback:
                assert answer.immediate_response.status.code == 500
                assert b"secret" not in answer.immediate_response.body
    (line,) = [line for line in running.logs if line["event"] == "call failed"]
    assert (line["log_level"], line["rpc"]) == ("error", "Process")
    assert isinstance(line["exc_info"], ZeroDivisionError)


FALLBACK = {"fallback_model": "large"}


async def test_a_fallback_takes_what_cannot_be_routed(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=FALLBACK) as running:
        async with stream(running.channel) as one:
            routed = (await one.routed(headers={"x-routoo-min-score": "1"})).request_body.response
            told = headers_of(routed.header_mutation)
            assert told.keys() == {"x-routoo-model", "content-length"}
            assert told["x-routoo-model"] == "large"
            answer = await one.say(reply_headers())
            assert not answer.HasField("mode_override")
            assert await one.ended() == grpc.StatusCode.OK
        async with stream(running.channel) as one:
            refused = await one.routed(headers={"x-routoo-min-score": "x"})
            assert refused.immediate_response.status.code == 400
        assert sum(replies(running).values()) == 0


async def test_a_broken_predictor_is_refused_as_internal(tmp_path: Path) -> None:
    async with with_settings(tmp_path) as running, stream(running.channel) as one:
        watch_predictor(running.service.engine).fail.append(RuntimeError("secret detail"))
        refused = (await one.routed()).immediate_response
    assert refused.status.code == 500
    assert b"secret" not in refused.body


async def test_models_are_kept_to_the_api_that_they_speak(tmp_path: Path) -> None:
    processor = {"messages_models": ["large"], "openai_models": ["small", "medium"]}
    async with with_settings(tmp_path, processor=processor) as running:
        for path, model in (("/v1/messages", "large"), (CHAT, "medium")):
            async with stream(running.channel) as one:
                routed = await one.routed(chat_body("hard"), path=path)
                told = headers_of(routed.request_body.response.header_mutation)
                assert told["x-routoo-model"] == model
        async with stream(running.channel) as one:
            refused = await one.routed(headers={"x-routoo-allowed-models": "large"})
            assert b"takes this kind of request" in refused.immediate_response.body


async def test_a_stop_ends_streams_that_wait_without_an_error(tmp_path: Path) -> None:
    async with with_settings(tmp_path, shutdown_grace_s=0.2) as running:
        async with connected(running.service.address) as channel, stream(channel) as one:
            await one.routed()
            await running.service.stop()
            assert await one.ended() == grpc.StatusCode.OK
        assert replies(running)["gone"] == 1


async def test_a_reload_takes_route_names_and_replies_under_way_are_settled(
    tmp_path: Path,
) -> None:
    async with with_settings(tmp_path) as running, stream(running.channel) as before:
        await before.routed()
        processor = {"enabled": True, "route_names": ["best"]}
        settings = tiny_settings(tmp_path, processor=processor, policy={"name": "cheapest"})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: settings) == "switched"
        async with stream(running.channel) as other:
            assert await other.routed() is None  # "auto" is no name of a route any more
        async with stream(running.channel) as other:
            assert (await other.routed(chat_body(model="best"))).HasField("request_body")
        await before.say(reply_headers())
        counts = replies(running)
        await before.say(reply_body(usage_body(5, 5)))
        assert (await grown(running, counts))["read"] == 1
        assert metric(running, "routoo_outcomes_total", result="refused") == 0


@pytest.fixture
def token(tmp_path: Path) -> str:
    text, stored = new_token("acme", [ROUTE], time())
    append_token(tmp_path / "tokens.jsonl", stored)
    return text


async def test_the_tenant_is_that_of_envoys_token(tmp_path: Path, token: str) -> None:
    security = {"tokens": tmp_path / "tokens.jsonl"}
    async with with_settings(tmp_path, security=security) as running:
        shown = (("authorization", f"Bearer {token}"),)
        for tenant, status in (("acme", 0), ("", 0), ("other", 403)):
            async with stream(running.channel, shown) as one:
                answer = await one.routed(headers={"x-routoo-tenant": tenant})
                assert answer.immediate_response.status.code == status
        async with stream(running.channel) as stranger:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stranger.say(request_headers())
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_too_many_requests_of_one_client(tmp_path: Path) -> None:
    limits = {"prompts_per_s": 1e-6, "burst_prompts": 1}
    async with with_settings(tmp_path, security={"per_client": limits}) as running:
        async with stream(running.channel) as one:
            assert (await one.routed()).HasField("request_body")
        async with stream(running.channel) as passing:  # a request that passes is not counted
            await passing.routed(chat_body(model="gpt-4o"))
        async with stream(running.channel) as other:
            refused = (await other.routed()).immediate_response
    assert refused.status.code == 429
    assert int(headers_of(refused.headers)["retry-after"]) >= 1
    assert orjson.loads(refused.body)["error"]["type"] == "rate_limit_error"


async def test_a_full_queue(tmp_path: Path) -> None:
    batching = {"max_batch": 1, "max_queue": 1}
    async with with_settings(tmp_path, batching=batching) as running:
        watched = watch_predictor(running.service.engine)
        accepted = watch_accepted(running.service)
        watched.hold()
        async with (
            stream(running.channel) as first,
            stream(running.channel) as second,
            stream(running.channel) as third,
        ):
            for number, one in enumerate((first, second), start=1):
                await one.say(request_headers())
                await one.call.write(request_body(chat_body()).SerializeToString())
                await accepted.reached(number)
                if number == 1:
                    await watched.calls.reached(1)
            refused = (await third.routed()).immediate_response
            assert refused.status.code == 503
            assert orjson.loads(refused.body)["error"]["code"] == "overloaded"
            watched.release()


async def test_overload_refuses_here_as_in_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = []

    def check(overload: Overload, _remaining_s: float | None = None) -> None:
        inside.append(overload.in_flight)
        if len(inside) > 1:
            error = QueueFullError("more requests come than can be answered")
            error.retry_after_s = 1.5
            raise error

    monkeypatch.setattr(Overload, "check", check)
    async with with_settings(tmp_path) as running:
        async with stream(running.channel) as first:
            assert (await first.routed()).HasField("request_body")
        async with stream(running.channel) as second:
            refused = (await second.routed()).immediate_response
    assert refused.status.code == 503
    assert headers_of(refused.headers)["retry-after"] == "2"
    # The first one has left.
    assert inside == [0, 0]
