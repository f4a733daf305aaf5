"""The fallback model answers while the service is away: marked, counted, without delay."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.client import (
    NO_RETRIES,
    AsyncRouterClient,
    BreakerTerms,
    Fallback,
    RouterClient,
    RouterError,
)
from support.client_time import Time
from support.peers.scripted_router import Fails, Hangs, scripted_router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.v1.route_pb2 import RouteResponse
    from support.peers.scripted_router import ScriptedRouter

AWAY = Fails(grpc.StatusCode.UNAVAILABLE, text="the service is stopping")
SHED = Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="250", text="the queue is full")
SPENT = Fails(grpc.StatusCode.RESOURCE_EXHAUSTED, text="the budget is spent")
TERMS = BreakerTerms(failures=2, first_probe_s=10.0, longest_probe_s=40.0, jitter=0.0)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections and that nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def options(time: Time, **more: Any) -> dict[str, Any]:
    return {
        "timeout_s": 30.0,
        "clock": time.clock,
        "rng": time.rng,
        "retry": NO_RETRIES,
        "fallback_model": "plain",
        "breaker": TERMS,
        **more,
    }


def client_of(router: ScriptedRouter, time: Time, **more: Any) -> RouterClient:
    return RouterClient(router.address, sleep=time.sleep, **options(time, **more))


def assert_stands_in(reply: RouteResponse) -> None:
    assert reply.model == "plain"
    assert reply.degraded
    assert reply.decision_id == ""
    assert reply.reason.text.startswith("the client's fallback model: no decision (")


def test_a_service_that_cannot_be_reached_is_stood_in_for(nobody: str) -> None:
    told: list[Fallback] = []
    time = Time()
    with RouterClient(nobody, **options(time, on_fallback=told.append)) as client:
        reply = client.route("x", request_id="r-1", denied_models=["other"])
        assert_stands_in(reply)
        assert reply.request_id == "r-1"
        assert client.fallbacks == 1
    (fallback,) = told
    assert (fallback.model, fallback.request_id, fallback.asked) == ("plain", "r-1", True)
    assert fallback.error.code is grpc.StatusCode.UNAVAILABLE
    assert fallback.error.message in reply.reason.text


@pytest.mark.parametrize("trouble", [AWAY, SHED])
def test_so_is_one_that_stops_or_sheds(trouble: Fails) -> None:
    with scripted_router(trouble) as router, client_of(router, Time()) as client:
        assert_stands_in(client.route("x"))
        assert client.route("x").model == "small"


def test_so_is_one_that_hangs() -> None:
    with scripted_router(Hangs()) as router, client_of(router, Time()) as client:
        assert_stands_in(client.route("x", timeout_s=0.05))


def test_the_retries_come_first() -> None:
    time = Time()
    with scripted_router(AWAY, SHED) as router:
        more = options(time)
        del more["retry"]
        with RouterClient(router.address, sleep=time.sleep, **more) as client:
            assert client.route("x").model == "small"
            assert (client.retries, client.fallbacks) == (2, 0)


@pytest.mark.parametrize(
    "refusal",
    [
        SPENT,
        Fails(grpc.StatusCode.FAILED_PRECONDITION),
        Fails(grpc.StatusCode.INVALID_ARGUMENT),
        Fails(grpc.StatusCode.UNAUTHENTICATED),
        Fails(grpc.StatusCode.INTERNAL),
    ],
)
def test_a_refusal_is_an_error_and_opens_no_circuit(refusal: Fails) -> None:
    with scripted_router(*[refusal] * 5) as router, client_of(router, Time()) as client:
        for _ in range(5):
            with pytest.raises(RouterError) as caught:
                client.route("x")
            assert caught.value.code is refusal.code
        assert client.route("x").model == "small"
        assert client.fallbacks == 0


@pytest.mark.parametrize(
    "ruled_out", [{"denied_models": ["plain"]}, {"allowed_models": ["small", "large"]}]
)
def test_a_model_that_the_request_rules_out_does_not_stand_in(
    ruled_out: dict[str, Any],
) -> None:
    with scripted_router(AWAY, AWAY) as router, client_of(router, Time()) as client:
        with pytest.raises(RouterError):
            client.route("x", **ruled_out)
        assert_stands_in(client.route("x", allowed_models=["small", "plain"]))


def test_a_dead_service_is_asked_now_and_then_only(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    told: list[Fallback] = []
    with (
        caplog.at_level(logging.WARNING, "routoo.client"),
        scripted_router(AWAY, AWAY, AWAY) as router,
        client_of(router, time, on_fallback=told.append) as client,
    ):
        for _ in range(2):
            assert_stands_in(client.route("x"))
        for _ in range(50):
            assert_stands_in(client.route("x"))
        assert len(router.calls) == 2
        time.now_s += 10.0
        for _ in range(50):
            assert_stands_in(client.route("x"))
        assert len(router.calls) == 3, "one probe, which failed"
        time.now_s += 19.9
        assert_stands_in(client.route("x"))
        time.now_s += 0.2
        assert client.route("x").model == "small"
        assert client.route("x").model == "small"
        assert client.fallbacks == len(told) == 103
    assert [one.asked for one in told].count(True) == 3
    assert "the service is stopping" in told[10].error.message
    ours = [record for record in caplog.records if record.name == "routoo.client"]
    assert [record.message.split(";")[0] for record in ours] == [
        "the routing service is away (UNAVAILABLE: the service is stopping)",
        "the routing service answers again",
    ]


def test_without_a_fallback_each_call_is_made() -> None:
    with (
        scripted_router(*[AWAY] * 10) as router,
        client_of(router, Time(), fallback_model=None) as client,
    ):
        for _ in range(10):
            with pytest.raises(RouterError):
                client.route("x")
        assert len(router.calls) == 10
        assert client.fallbacks == 0


async def test_the_async_client_stands_in_too(nobody: str) -> None:
    time = Time()
    async with AsyncRouterClient(nobody, sleep=time.sleep_async, **options(time)) as client:
        replies = await asyncio.gather(*(client.route("x") for _ in range(8)))
        for reply in replies:
            assert_stands_in(reply)
        assert client.fallbacks == 8


async def test_a_probe_that_is_cancelled_does_not_leave_the_circuit_half_open() -> None:
    time = Time()
    hangs = Hangs()
    with scripted_router(AWAY, AWAY, hangs) as router:
        async with AsyncRouterClient(
            router.address, sleep=time.sleep_async, **options(time)
        ) as client:
            for _ in range(2):
                assert_stands_in(await client.route("x"))
            time.now_s += 10.0
            probe = asyncio.create_task(client.route("x"))
            await asyncio.to_thread(hangs.begun.wait, 60)
            assert_stands_in(await client.route("x"))
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            time.now_s += 20.0
            assert (await client.route("x")).model == "small"
