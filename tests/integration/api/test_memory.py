"""Messages that would take too much memory are refused, with the number and what to set."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.client import AsyncRouterClient, RouterError
from routoo.v1 import batch_pb2, route_pb2
from support.tiny_service import ROUTE, batch_of, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BATCH = "/routoo.v1.RouterService/RouteBatch"
STREAM = "/routoo.v1.RouterService/RouteStream"
MIB = 1024 * 1024
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_compressed_calls_are_answered(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        route = running.channel.unary_unary(ROUTE)
        body = route_pb2.RouteRequest(prompt="hard " * 500).SerializeToString()
        plain = route_pb2.RouteResponse.FromString(await route(body))
        packed = await route(body, compression=grpc.Compression.Gzip)
        assert route_pb2.RouteResponse.FromString(packed).model == plain.model
        batch = batch_of(["easy", "hard"] * 300).SerializeToString()
        reply = await running.channel.unary_unary(BATCH)(batch, compression=grpc.Compression.Gzip)
        assert len(batch_pb2.RouteBatchResponse.FromString(reply).responses) == 600
        stream = running.channel.stream_stream(STREAM)
        calls = stream(iter([body]), compression=grpc.Compression.Gzip)
        replies = [route_pb2.RouteResponse.FromString(one) async for one in calls]
        assert [one.model for one in replies] == [plain.model]


async def test_a_bomb_is_refused_before_it_is_decompressed(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, limits={"max_message_bytes": 4 * MIB})
    async with serving(settings) as running:
        bomb = batch_of(["x" * 300] * 50_000).SerializeToString()
        assert len(gzip.compress(bomb)) < 120_000
        send = running.channel.unary_unary(BATCH)
        found = await asyncio.gather(
            *(refused(send(bomb, compression=grpc.Compression.Gzip)) for _ in range(8))
        )
        for code, text in found:
            assert code is EXHAUSTED
            assert f"decompresses to {len(bomb)} bytes" in text
            assert "limits.max_message_bytes" in text
        assert (await running.route("easy")).model == "small"


async def test_a_batch_above_the_bound_is_refused_with_the_number(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, limits={"max_in_flight_bytes": 4 * MIB})
    async with serving(settings) as running:
        code, text = await refused(running.batch(["easy"] * 5_000))
        assert code is EXHAUSTED
        assert "a batch of 5000 prompts needs some" in text
        assert "limits.max_in_flight_bytes: " in text
        assert len((await running.batch(["easy"] * 500)).responses) == 500
        explained = batch_of(["easy"] * 2_500)
        for request in explained.requests:
            request.explain = True
        code, text = await refused(running.stub.RouteBatch(explained))
        assert (code, "explaining 2500 prompts needs" in text) == (EXHAUSTED, True)
        metrics = running.service.metrics.registry
        assert metrics.get_sample_value("routoo_memory_refusals_total") == 2
        assert metrics.get_sample_value("routoo_in_flight_bytes") == 0


async def repeated(body: bytes) -> AsyncIterator[bytes]:
    for _ in range(400):
        yield body


async def test_streams_that_break_off_give_back_what_their_replies_took(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        body = route_pb2.RouteRequest(prompt="hard " * 50, explain=True).SerializeToString()
        for most in range(60):
            call = running.channel.stream_stream(STREAM)(repeated(body))
            read = 0
            async for _ in call:
                read += 1
                if read > most:
                    break
            call.cancel()
    metrics = running.service.metrics.registry
    assert metrics.get_sample_value("routoo_in_flight_bytes") == 0


async def test_a_stream_that_is_ended_for_its_memory_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        call = running.channel.stream_stream(STREAM)()
        await call.write(route_pb2.RouteRequest(prompt="easy").SerializeToString())
        await call.read()
        running.service._calls.relieve()  # as it happens to a process that is short of memory
        code, text = await refused(call.read())
        assert (code, "short of memory" in text) == (EXHAUSTED, True)
    assert "Traceback" not in caplog.text


async def test_a_batch_that_is_alone_is_decided_while_memory_is_short(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        batch = batch_of(["easy", "hard"])
        batch.requests[0].explain = True
        running.service._calls.in_flight.short = True
        assert len((await running.stub.RouteBatch(batch)).responses) == 2


async def test_messages_that_do_not_arrive_leave_room_for_those_that_do(tmp_path: Path) -> None:
    settings = tiny_settings(
        tmp_path, limits={"max_message_bytes": MIB, "max_in_flight_bytes": 8 * MIB}
    )
    async with serving(settings) as running:
        # A quarter of the memory holds two messages of the greatest length.
        slow = [running.channel.stream_unary(ROUTE)() for _ in range(20)]
        ends = asyncio.as_completed([refused(call) for call in slow])
        for _ in range(len(slow) - 2):
            code, text = await next(ends)
            assert code is EXHAUSTED
            assert "the messages of 2 calls are on their way" in text
        assert (await running.route("easy")).model == "small"
        for call in slow:
            call.cancel()
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError):
                await next(ends)


async def test_a_message_that_is_too_large_is_refused_with_what_to_do(tmp_path: Path) -> None:
    limits = {"max_message_bytes": 10_000}
    async with (
        serving(tiny_settings(tmp_path, limits=limits)) as running,
        AsyncRouterClient(running.service.address) as client,
    ):
        with pytest.raises(RouterError, match=r"\d+ vs\. \d+.*raise .*limits\.max_message_bytes"):
            await client.route("easy " * 4000)
        assert (await client.route("easy")).model == "small"


async def test_a_start_says_that_its_container_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routoo.server.service.container_bytes", lambda: 100 * MIB)
    async with serving(tiny_settings(tmp_path)) as running:
        (told,) = [one["reason"] for one in running.logs if "too little memory" in one["event"]]
    assert "the container has 100; give it more, or lower limits.max_in_flight_bytes" in told
