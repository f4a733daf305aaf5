"""Replies are settled by Envoy's access log, and the processor does not read them."""

from __future__ import annotations

import asyncio
import random
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.extproc.envoy.ext_proc_pb2 import ProcessingMode
from routoo.api.extproc.exchange import Exchange
from routoo.api.security.caller import ROUTE
from routoo.api.security.tokens import append_token, new_token
from support.access_log import entry, log_stream, message, tell
from support.processor_stream import chat_body, headers_of, request_body, request_headers, stream
from support.tiny_processor import all_ended, grown, metric, replies, with_settings
from support.tiny_service import connected
from support.watched import HANG_S, watch_predictor

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

LOGGED = {"usage_from": "access_log"}
USAGE = '{"prompt_tokens": 1000, "completion_tokens": 500}'


async def decided(channel: grpc.aio.Channel, text: str = "hard", **headers: str) -> str:
    """Routes a request as Envoy does, and returns the decision's id."""
    async with stream(channel) as one:
        asked = await one.say(request_headers(headers))
        assert asked.mode_override.response_header_mode == ProcessingMode.SKIP
        answer = await one.say(request_body(chat_body(text)))
        told = headers_of(answer.request_body.response.header_mutation)
        assert await one.ended() == grpc.StatusCode.OK  # Envoy sends no more on this stream
    return told["x-routoo-decision-id"]


def cost_usd(running: Running) -> float:
    return metric(running, "routoo_reported_cost_usd_total", model="large")


@pytest.mark.parametrize(
    ("usages", "told", "result", "cost"),
    [
        ((USAGE,), {}, "read", 0.025),
        (
            ('{"input_tokens": 1000, "output_tokens": 1}', '{"output_tokens": 500}'),
            {},
            "read",
            0.025,
        ),
        ((USAGE,), {"left": True}, "read", 0.025),
        ((), {}, "estimated", None),
        (("{}",), {}, "estimated", None),
        (('{"prompt_tokens": ', "[]"), {}, "estimated", None),
        ((), {"left": True}, "gone", None),
        ((), {"status": 0}, "gone", None),
        ((USAGE,), {"status": 500}, "failed", 0.0),
    ],
)
async def test_how_replies_are_settled(
    tmp_path: Path, usages: tuple[str, ...], told: dict[str, Any], result: str, cost: float | None
) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        decision_id = await decided(running.channel)
        assert not replies(running)[result]
        await tell(running.channel, entry(decision_id, *usages, **told))
        assert await grown(running, dict.fromkeys(replies(running), 0.0)) == {result: 1}
        if cost is not None:
            assert cost_usd(running) == pytest.approx(cost)
        assert metric(running, "routoo_outcomes_total", result="refused") == 0


async def test_many_replies_in_one_message_and_none_is_settled_twice(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        ids = [await decided(running.channel) for _ in range(3)]
        entries = [entry(one, USAGE) for one in (*ids, ids[0], "somebody-else-s", "")]
        await tell(running.channel, *entries)
        await tell(running.channel, *entries)
        await all_ended(running)
        assert replies(running)["read"] == 3
        assert metric(running, "routoo_outcomes_total", result="accepted") == 3


async def test_messages_may_be_compressed(tmp_path: Path) -> None:
    async with (
        with_settings(tmp_path, processor=LOGGED) as running,
        grpc.aio.insecure_channel(
            running.service.address, compression=grpc.Compression.Gzip
        ) as packed,
    ):
        ids = [await decided(packed, "hard " * 1000) for _ in range(3)]
        await tell(packed, *(entry(one, USAGE) for one in ids))
        await all_ended(running)
        assert replies(running)["read"] == 3


async def test_replies_that_the_processor_reads_are_not_settled_by_the_log(tmp_path: Path) -> None:
    async with with_settings(tmp_path) as running, stream(running.channel) as one:
        routed = await one.routed(chat_body("hard"))
        told = headers_of(routed.request_body.response.header_mutation)
        await tell(running.channel, entry(told["x-routoo-decision-id"], USAGE))
        assert sum(replies(running).values()) == 0


async def test_a_caller_that_leaves_before_the_decision_is_not_waited_for(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        watched = watch_predictor(running.service.engine)
        watched.hold()
        async with stream(running.channel) as one:
            await one.say(request_headers())
            await one.call.write(request_body(chat_body()).SerializeToString())
            await watched.calls.reached(1)
        await all_ended(running)
        watched.release()
        assert sum(replies(running).values()) == 0


async def test_a_stream_that_ends_as_it_is_answered_is_settled_by_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy that has the answer may end the stream before the service knows that it was sent."""
    handed = Exchange.handed
    ids: list[str] = []
    ended = asyncio.Event()

    def ends(exchange: Exchange) -> None:
        handed(exchange)
        if exchange.in_doubt:
            ids.append(exchange.in_doubt)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            ended.set()

    monkeypatch.setattr(Exchange, "handed", ends)
    async with with_settings(tmp_path, processor=LOGGED) as running:
        async with stream(running.channel) as one:
            await one.say(request_headers())
            await one.call.write(request_body(chat_body("hard")).SerializeToString())
            async with asyncio.timeout(HANG_S):
                await ended.wait()
        assert sum(replies(running).values()) == 0
        await tell(running.channel, entry(*ids, USAGE))
        await all_ended(running)
        assert replies(running)["read"] == 1
        assert cost_usd(running) == pytest.approx(0.025)


async def test_a_stop_waits_for_the_log_and_settles_the_rest(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED, shutdown_grace_s=4.0) as running:
        async with connected(running.service.address) as channel:
            told, untold = [await decided(channel) for _ in range(2)]
            call = log_stream(channel)
            stopping = asyncio.create_task(running.service.stop())
            await call.write(message(entry(told, USAGE)))
            assert await call == b""  # ended by the service, without an error
            assert await stopping
        assert untold
        counted = replies(running)
        assert (counted["read"], counted["gone"]) == (1, 1)
        assert metric(running, "routoo_outcomes_total", result="accepted") == 2


async def test_what_is_never_told_of_is_bounded(tmp_path: Path) -> None:
    outcomes = {"max_open_decisions": 2}
    async with with_settings(tmp_path, processor=LOGGED, outcomes=outcomes) as running:
        ids = [await decided(running.channel) for _ in range(4)]
        assert replies(running)["gone"] == 2
        await tell(running.channel, *(entry(one, USAGE) for one in ids))
        await all_ended(running)
        assert replies(running) == {"read": 2, "estimated": 0, "failed": 0, "gone": 2}


async def test_only_who_may_route_tells_and_only_of_its_own_tenant(tmp_path: Path) -> None:
    shown = {}
    for tenant in ("acme", "other"):
        text, stored = new_token(tenant, [ROUTE], time())
        append_token(tmp_path / "tokens.jsonl", stored)
        shown[tenant] = (("authorization", f"Bearer {text}"),)
    security = {"tokens": tmp_path / "tokens.jsonl"}
    async with with_settings(tmp_path, processor=LOGGED, security=security) as running:
        async with stream(running.channel, shown["acme"]) as one:
            routed = await one.routed(chat_body("hard"))
            assert await one.ended() == grpc.StatusCode.OK
        told = headers_of(routed.request_body.response.header_mutation)
        body = message(entry(told["x-routoo-decision-id"], USAGE))
        # It says nothing: grpc.aio calls a write INTERNAL that the refusal overtakes.
        stranger = log_stream(running.channel)
        assert await stranger.code() == grpc.StatusCode.UNAUTHENTICATED
        assert sum(replies(running).values()) == 0
        other = log_stream(running.channel, shown["other"])
        await other.write(body)
        await other.done_writing()
        await other
        assert sum(replies(running).values()) == 0
        own = log_stream(running.channel, shown["acme"])
        await own.write(body)
        await own.done_writing()
        await own
        await all_ended(running)
        assert replies(running)["read"] == 1


@pytest.mark.parametrize("seed", range(20))
async def test_garbage_is_refused_as_such(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same garbage in every run
    good = message(entry("1", USAGE, status=200))
    async with with_settings(tmp_path, processor=LOGGED) as running:
        for _ in range(50):
            body = bytearray(good)
            for _ in range(chance.randrange(1, 8)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            call = log_stream(running.channel)
            await call.write(bytes(body[: chance.randrange(len(body) + 1)]))
            await call.done_writing()
            assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
        await tell(running.channel, entry(await decided(running.channel), USAGE))
        await all_ended(running)
        assert replies(running)["read"] == 1
        assert not [line for line in running.logs if line["log_level"] == "error"]
