"""A stopping service answers accepted requests and refuses new ones, and no request hangs."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fuzz.http2 import call_of, send_raw
from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.processes.process import HELD, ROUTOO, exit_code, line_of, process, write_tiny_config
from support.tiny_service import PATIENT, connected, refusal, serving, tiny_settings
from support.watched import HANG_S, watch_accepted, watch_predictor

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def health(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    """Yields the service's health now, and after each change."""
    watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async for reply in watching:
        yield reply.status


def route(stub: Any, prompt: str) -> Any:
    return stub.Route(route_pb2.RouteRequest(prompt=prompt), timeout=HANG_S)


async def started(held: Process) -> str:
    return (await line_of(held, "ready ")).split()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_told_to_stop_finishes_what_it_has(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = write_tiny_config(tmp_path)
    async with process(*HELD, "serve", "--config", str(config)) as held:
        async with connected(await started(held)) as channel:
            stub = RouterServiceStub(channel)
            states = health(channel)
            assert await anext(states) == SERVING
            in_flight = route(stub, "hold easy")
            await line_of(held, "held")
            held.send_signal(number)
            assert await anext(states) == NOT_SERVING
            code, text = await refusal(route(stub, "easy"))
            assert code is UNAVAILABLE
            assert text == "the service is stopping; send to another replica"
            assert held.returncode is None
            assert held.stdin is not None
            held.stdin.write(b"\n")
            assert (await in_flight).model == "medium"
        assert await exit_code(held) == 0


async def test_an_idle_process_stops_at_once(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, shutdown_grace_s=3600)
    async with process(*ROUTOO, "serve", "--config", str(config)) as idle:
        await started(idle)
        idle.terminate()
        assert await exit_code(idle) == 0


async def test_a_process_whose_predictor_hangs_fails_its_callers_and_ends(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, shutdown_grace_s=0)
    async with process(*HELD, "serve", "--config", str(config)) as held:
        async with connected(await started(held)) as channel:
            in_flight = route(RouterServiceStub(channel), "hold")
            await line_of(held, "held")
            held.terminate()
            code, _ = await refusal(in_flight)
            assert code is UNAVAILABLE
        assert await exit_code(held) == 1


async def test_stop_answers_what_runs_and_what_waits(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as tiny:
        watched, accepted = watch_predictor(tiny.service.engine), watch_accepted(tiny.service)
        watched.hold()
        states = health(tiny.channel)
        assert await anext(states) == SERVING
        running = route(tiny.stub, "easy")
        await watched.calls.reached(1)
        stream = tiny.stub.RouteStream(timeout=HANG_S)
        await stream.write(route_pb2.RouteRequest(prompt="hard", request_id="streamed"))
        batch = asyncio.create_task(tiny.batch(["easy"] * 200, budget_usd=1.0))
        await accepted.reached(3)
        stopping = asyncio.create_task(tiny.service.stop())
        assert await anext(states) == NOT_SERVING
        code, _ = await refusal(route(tiny.stub, "easy"))
        assert code is UNAVAILABLE
        assert not stopping.done()
        watched.release()
        assert (await running).model == "small"
        assert (await stream.read()).request_id == "streamed"
        assert len((await batch).responses) == 200
        assert await stopping, "all was answered in time"
        code, _ = await refusal(route(tiny.stub, "easy"))
        assert code is UNAVAILABLE


async def test_stop_fails_what_a_hung_predictor_holds(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, shutdown_grace_s=0)) as tiny:
        watched, accepted = watch_predictor(tiny.service.engine), watch_accepted(tiny.service)
        watched.hold()
        running = route(tiny.stub, "easy")
        await watched.calls.reached(1)
        stream = tiny.stub.RouteStream(timeout=HANG_S)
        await stream.write(route_pb2.RouteRequest(prompt="hard", request_id="streamed"))
        batch = asyncio.create_task(tiny.batch(["easy"] * 200, budget_usd=1.0))
        await accepted.reached(3)
        stopping = asyncio.create_task(tiny.service.stop())
        assert await refusal(running) == (UNAVAILABLE, "the service stopped; send again")
        assert await refusal(batch) == (UNAVAILABLE, "the service stopped; send again")
        failed = await stream.read()
        assert failed.request_id == "streamed"
        assert failed.error.code == UNAVAILABLE.value[0]
        assert not await stopping
        watched.release()


async def test_the_log_says_where_a_failure_was_and_never_a_prompt(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path)
    async with process(*HELD, "serve", "--config", str(config)) as held:
        async with connected(await started(held)) as channel:
            stub = RouterServiceStub(channel)
            for prompt in ("fail: my private prompt", "my private prompt"):
                await asyncio.gather(route(stub, prompt), return_exceptions=True)
        held.terminate()
        _, logged = await held.communicate()
    assert b"private" not in logged
    lines = [orjson.loads(line) for line in logged.splitlines()]
    (failure,) = [line for line in lines if line["level"] == "error"]
    assert failure["event"] == "call failed"
    assert failure["rpc"] == "Route"
    assert failure["exception"].startswith("builtins.ValueError\n")
    assert " in held" in failure["exception"]
    assert b"the detail" not in logged


async def test_callers_who_do_not_cease_are_told_to_go_elsewhere(tmp_path: Path) -> None:
    """No call is cancelled, as gRPC would do with calls that it has not passed to a handler yet."""
    config = write_tiny_config(tmp_path, overload=PATIENT)
    codes: set[grpc.StatusCode] = set()
    async with process(*ROUTOO, "serve", "--config", str(config)) as busy:
        async with connected(await started(busy)) as channel:
            stub = RouterServiceStub(channel)

            async def call_until_it_is_gone() -> None:
                while True:
                    try:
                        await route(stub, "easy")
                    except grpc.aio.AioRpcError as error:
                        codes.add(error.code())
                        if "refused" in (error.details() or ""):
                            return

            callers = [asyncio.create_task(call_until_it_is_gone()) for _ in range(32)]
            await route(stub, "easy")
            busy.terminate()
            await asyncio.gather(*callers)
        assert await exit_code(busy) == 0
    assert codes == {UNAVAILABLE}


async def test_a_server_that_grpc_has_ended_is_no_process_that_serves_nobody(
    tmp_path: Path,
) -> None:
    """A method name that is not UTF-8 ends a server of grpc.aio; then the process ends, too.

    The decision log is closed before, so it holds all decisions.
    """
    log = tmp_path / "decisions.jsonl"
    config = write_tiny_config(tmp_path, decision_log={"path": str(log)})
    async with process(*ROUTOO, "serve", "--config", str(config)) as broken:
        address = await started(broken)
        async with connected(address) as channel:
            stub = RouterServiceStub(channel)
            decided = [(await route(stub, "easy")).decision_id for _ in range(20)]
        host, _, port = address.rpartition(":")
        await send_raw(host, int(port), call_of(b"/\xff"))
        assert await exit_code(broken) == 1
    logged = log.read_text(encoding="utf-8")
    assert all(f'"{decision_id}"' in logged for decision_id in decided)
