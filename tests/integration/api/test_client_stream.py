"""``route_stream`` of both clients, against a service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from routoo.client import AsyncRouterClient, RouterClient, RouterError
from routoo.client.messages import make_request
from support.tiny_service import Running, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from routoo.client.messages import Prompt
    from routoo.v1.route_pb2 import RouteRequest, RouteResponse


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with serving(tiny_settings(tmp_path_factory.mktemp("stream"))) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


def mixed() -> Iterator[Prompt | RouteRequest]:
    yield "easy"
    yield [{"role": "user", "content": "hard"}]
    yield make_request("hard", request_id="mine", allowed_models=["small"])
    yield make_request("hard", allowed_models=["huge"])


def check(replies: list[RouteResponse]) -> None:
    found = {reply.request_id: reply for reply in replies}
    assert set(found) == {"0", "1", "mine", "3"}
    assert found["1"].model == "large"
    assert found["mine"].model == "small"
    assert found["3"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "huge" in found["3"].error.message


async def test_replies_of_the_blocking_client(tiny: Running) -> None:
    def run() -> list[RouteResponse]:
        with RouterClient(tiny.service.address) as client:
            return list(client.route_stream(mixed()))

    check(await asyncio.to_thread(run))


async def test_replies_of_the_client_for_asyncio(tiny: Running) -> None:
    async with AsyncRouterClient(tiny.service.address) as client:
        check([reply async for reply in client.route_stream(mixed())])


async def test_requests_may_wait_for_replies(tiny: Running) -> None:
    answered = asyncio.Event()

    async def two() -> AsyncIterator[Prompt]:
        yield "easy"
        await answered.wait()
        yield "hard"

    async with AsyncRouterClient(tiny.service.address) as client:
        got = []
        async for reply in client.route_stream(two()):
            got.append(reply.request_id)
            answered.set()
    assert got == ["0", "1"]


async def test_a_request_of_the_callers_is_not_changed(tiny: Running) -> None:
    request = make_request("easy")
    async with AsyncRouterClient(tiny.service.address) as client:
        (reply,) = [one async for one in client.route_stream([request])]
    assert (reply.request_id, request.request_id) == ("0", "")


def broken() -> Iterator[Prompt]:
    yield "easy"
    raise LookupError("no more prompts")


async def test_an_error_of_the_requests_is_the_callers(tiny: Running) -> None:
    def run() -> None:
        with RouterClient(tiny.service.address) as client:
            list(client.route_stream(broken()))

    with pytest.raises(LookupError, match="no more prompts"):
        await asyncio.to_thread(run)
    async with AsyncRouterClient(tiny.service.address) as client:
        with pytest.raises(LookupError, match="no more prompts"):
            async for _ in client.route_stream(broken()):
                pass


async def test_a_stream_that_breaks_off_raises(tiny: Running) -> None:
    async def endless() -> AsyncIterator[Prompt]:
        yield "easy"
        await asyncio.Event().wait()

    async with AsyncRouterClient(tiny.service.address) as client:
        with pytest.raises(RouterError) as failed:
            async for _ in client.route_stream(endless(), timeout_s=0.2):
                pass
    assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_caller_may_leave_early(tiny: Running) -> None:
    def run() -> str:
        with RouterClient(tiny.service.address) as client:
            replies = client.route_stream(str(number) for number in range(100_000))
            first = next(replies).request_id
            replies.close()  # type: ignore[attr-defined] # it is a generator
            return first

    assert (await asyncio.to_thread(run)).isdigit()
