"""``Route`` names whom to ask next, in both clients, and answers of fallbacks are reported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from routoo.client.aio import AsyncRouterClient
from routoo.client.messages import to_dict
from routoo.client.sync import RouterClient
from routoo.v1 import route_pb2
from support.tiny_pool import ARMED_NAMES, write_armed_pool
from support.tiny_service import Running, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def armed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("armed")
    write_armed_pool(folder / "pool.yaml")
    async with serving(tiny_settings(folder, policy={"fallbacks": {"count": 9}})) as running:
        yield running


def names(reply: route_pb2.RouteResponse) -> list[str]:
    return [f"{one.model}@{one.arm.name}" if one.arm.name else one.model for one in reply.fallbacks]


async def test_each_way_in_names_them(armed: Running) -> None:
    reply = await armed.route("hard", explain=True)
    assert len(names(reply)) == len(ARMED_NAMES) - 1
    figures = {(one.model, one.arm): one for one in reply.candidates}
    for one in reply.fallbacks:
        told = figures[one.model, one.arm.name]
        assert one.predicted_score == told.predicted_score
        assert one.predicted_cost_usd == told.predicted_cost_usd
        assert one.predicted_latency_ms == told.predicted_latency_ms
    arm = next(one.arm for one in reply.fallbacks if one.arm.name == "high")
    assert orjson.loads(arm.body_json["chat"]) == {"reasoning_effort": "high"}
    assert names((await armed.batch(["hard"])).responses[0]) == names(reply)
    stream = armed.stub.RouteStream()
    await stream.write(route_pb2.RouteRequest(prompt="hard", request_id="1"))
    assert names(await stream.read()) == names(reply)
    await stream.done_writing()


async def test_they_keep_what_the_request_says(armed: Running) -> None:
    limits: dict[str, Any] = {"denied_models": ["large", "medium@low"], "max_cost_usd": 0.001}
    reply = await armed.route("hard", **limits)
    found = {*names(reply), f"{reply.model}@{reply.arm.name}"}
    assert found <= {"small", "medium@medium", "medium@high"}
    assert all(one.max_output_tokens for one in reply.fallbacks)
    alone = await armed.route("hard", allowed_models=["medium@high"])
    assert names(alone) == []


async def test_both_clients_have_them_and_report_their_answers(armed: Running) -> None:
    address = armed.service.address
    async with AsyncRouterClient(address, insecure=True) as client:
        reply = await client.route("hard")
        told = to_dict(reply)["fallbacks"]
        assert [one["model"] for one in told] == [one.model for one in reply.fallbacks]
        await client.report_outcome(reply.decision_id, model=names(reply)[0], score=1.0)

    def in_a_thread() -> list[str]:
        with RouterClient(address, insecure=True) as client:
            reply = client.route("hard")
            client.report_outcome(reply.decision_id, model=names(reply)[-1], score=0.5)
            return names(reply)

    assert await asyncio.to_thread(in_a_thread) == names(reply)
