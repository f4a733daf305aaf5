"""Large bodies and calls are read beside the event loop, which answers others meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.aside import LARGE_BYTES
from routoo.api.convert import messages as convert
from routoo.api.llm import intake, router
from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.processor_stream import chat_body, request_body, request_headers, stream
from support.tiny_processor import metric, with_settings
from support.tiny_service import connected, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = "easy " * LARGE_BYTES


class Held:
    """Wraps a function: notes the threads that call it, and holds those that are not the test's."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._free = threading.Event()
        self.entered = asyncio.Event()
        self.aside = 0
        self.on_loop = 0

    def __call__(self, *arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            self.on_loop += 1
        else:
            self.aside += 1
            self._loop.call_soon_threadsafe(self.entered.set)
            assert self._free.wait(HANG_S)
        return self._call(*arguments)

    def release(self) -> None:
        self._free.set()


@pytest.mark.parametrize(("module", "name"), [(intake, "read_body"), (router, "asked_by")])
async def test_others_are_answered_while_a_large_body_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    held = Held(getattr(module, name))
    monkeypatch.setattr(module, name, held)
    async with (
        with_settings(tmp_path) as running,
        asyncio.timeout(HANG_S),
        stream(running.channel) as large,
        stream(running.channel) as small,
    ):
        await large.say(request_headers())
        waiting = asyncio.create_task(large.say(request_body(chat_body(LARGE))))
        await held.entered.wait()
        assert (await small.routed()).HasField("request_body")
        assert (await running.route()).model
        assert not waiting.done()
        held.release()
        assert (await waiting).HasField("request_body")
    assert (held.aside, held.on_loop) == (1, 1)


async def test_others_are_answered_while_large_calls_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(convert.prompt_request)
    monkeypatch.setattr(convert, "prompt_request", held)
    async with serving(tiny_settings(tmp_path)) as running, asyncio.timeout(HANG_S):
        routed = asyncio.create_task(running.route(LARGE))
        batch = asyncio.create_task(running.batch(["easy"] * 3))
        streamed = running.stub.RouteStream()
        await streamed.write(route_pb2.RouteRequest(prompt=LARGE, request_id="large"))
        await held.entered.wait()
        await streamed.write(route_pb2.RouteRequest(prompt="easy", request_id="small"))
        assert (await streamed.read()).request_id == "small"
        assert (await running.route()).model
        assert not routed.done()
        assert not batch.done()
        held.release()
        await routed
        await batch
        assert (await streamed.read()).request_id == "large"
    assert (held.aside, held.on_loop) == (5, 2)


async def test_a_stop_waits_for_a_large_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(convert.prompt_request)
    monkeypatch.setattr(convert, "prompt_request", held)
    async with serving(tiny_settings(tmp_path)) as running, asyncio.timeout(HANG_S):
        waiting = asyncio.create_task(running.route(LARGE))
        await held.entered.wait()
        stopping = asyncio.create_task(running.service.stop())
        held.release()
        answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
        await stopping
    if isinstance(answer, grpc.aio.AioRpcError):  # the engine closed first
        assert answer.code() is grpc.StatusCode.UNAVAILABLE
    else:
        assert answer.model


async def test_streams_that_nobody_reads_leave_others_alone(tmp_path: Path) -> None:
    limits = {"max_stream_in_flight": 8}
    async with (
        serving(tiny_settings(tmp_path, limits=limits)) as running,
        connected(running.service.address) as channel,
    ):
        calls = [RouterServiceStub(channel).RouteStream() for _ in range(4)]

        async def write(call: Any) -> None:
            while True:  # gRPC takes in thousands of replies by itself
                await call.write(route_pb2.RouteRequest(prompt="easy", explain=True))

        writing = [asyncio.create_task(write(call)) for call in calls]
        async with asyncio.timeout(5 * HANG_S):
            for _ in range(200):
                assert (await running.route()).model
        assert metric(running, "routoo_requests_total", rpc="RouteStream", code="OK") > 0
        assert not any(one.done() for one in writing)
        for one in (*writing, *calls):
            one.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
