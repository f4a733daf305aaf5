"""Both clients against a fake router: requests, replies, errors and deadlines."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from routoo.client import (
    MAX_MESSAGE_BYTES,
    AsyncRouterClient,
    RouterClient,
    RouterError,
    make_request,
    to_dict,
)
from routoo.config.settings import Settings
from routoo.v1.batch_pb2 import RouteBatchRequest
from routoo.v1.budget_pb2 import GetBudgetRequest
from routoo.v1.info_pb2 import CurvePoint, ListModelsRequest, ListModelsResponse
from routoo.v1.outcome_pb2 import ReportOutcomeRequest
from routoo.v1.route_pb2 import ChatMessage, Reason, RouteRequest, RouteResponse, Timing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.peers.fake_router import FakeRouter

LARGE = "meta-llama/Meta-Llama-3.1-70B-Instruct"


@pytest.fixture
def client(router: FakeRouter) -> Iterator[RouterClient]:
    with RouterClient(router.address, timeout_s=30) as connected:
        yield connected


def test_route_sends_plain_arguments_and_returns_the_message(
    router: FakeRouter, client: RouterClient
) -> None:
    decision = client.route("hello", max_cost_usd=0.001, denied_models=["gpt-4o"], tenant=None)
    assert isinstance(decision, RouteResponse)
    assert decision.model == LARGE
    assert router.requests == [
        RouteRequest(prompt="hello", max_cost_usd=0.001, denied_models=["gpt-4o"])
    ]


def test_a_chat_is_sent_as_messages(router: FakeRouter, client: RouterClient) -> None:
    client.route([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    assert router.requests == [
        RouteRequest(
            messages=[
                ChatMessage(role="system", content="Be brief."),
                ChatMessage(role="user", content="Hi"),
            ]
        )
    ]


def test_route_many_takes_prompts_chats_and_requests(
    router: FakeRouter, client: RouterClient
) -> None:
    reply = client.route_many(
        iter(["a", [{"content": "b"}], make_request("c", max_cost_usd=0.0001)]), budget_usd=2.0
    )
    assert [decision.model for decision in reply.responses] == [LARGE, LARGE, "small/tiny-3B"]
    assert router.requests == [
        RouteBatchRequest(
            requests=[
                RouteRequest(prompt="a"),
                RouteRequest(messages=[ChatMessage(content="b")]),
                RouteRequest(prompt="c", max_cost_usd=0.0001),
            ],
            budget_usd=2.0,
        )
    ]


def test_models_and_info(router: FakeRouter, client: RouterClient) -> None:
    assert [model.name for model in client.models().models][1] == LARGE
    assert len(client.models(curve_points=5).curve) == 5
    assert client.info().version == "9.8.7"
    assert router.requests[:2] == [ListModelsRequest(), ListModelsRequest(curve_points=5)]


def test_a_refusal_carries_code_and_message(client: RouterClient) -> None:
    with pytest.raises(RouterError) as caught:
        client.route("hello", allowed_models=["gpt-9"])
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message == "allowed_models: no model gpt-9"
    assert str(caught.value) == "INVALID_ARGUMENT: allowed_models: no model gpt-9"


@pytest.mark.parametrize("own_timeout_s", [None, 0.05])
def test_a_call_ends_at_its_own_deadline_or_the_clients(
    router: FakeRouter, own_timeout_s: float | None
) -> None:
    client_timeout_s = 0.05 if own_timeout_s is None else 600
    with RouterClient(router.address, timeout_s=client_timeout_s) as client:
        with pytest.raises(RouterError) as caught:
            client.route("hang", timeout_s=own_timeout_s)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_what_no_request_can_carry_is_refused_before_it_is_sent(
    router: FakeRouter, client: RouterClient
) -> None:
    with pytest.raises(TypeError):
        client.route("hello", max_cost_usd="cheap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogates"):
        client.route("\udcff")
    with pytest.raises(ValueError, match="out of range"):
        client.route("hello", expected_output_tokens=-1)
    assert router.requests == []


def test_one_client_serves_many_threads(router: FakeRouter, client: RouterClient) -> None:
    models: list[str] = []
    threads = [
        threading.Thread(target=lambda: models.append(client.route("hello").model))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models == [LARGE] * 16


def test_a_message_over_grpcs_default_size_passes(client: RouterClient) -> None:
    # The test's router keeps gRPC's 4 MiB for what it receives; what it sends has no limit.
    explained = [make_request("x", explain=True)] * 12_000
    reply = client.route_many(explained)
    assert reply.ByteSize() > 4 * 1024 * 1024
    assert Settings().limits.max_message_bytes <= MAX_MESSAGE_BYTES


async def test_the_async_client_does_the_same(router: FakeRouter) -> None:
    async with AsyncRouterClient(router.address, timeout_s=30) as client:
        decisions = await asyncio.gather(*(client.route("hello") for _ in range(8)))
        assert {decision.model for decision in decisions} == {LARGE}
        reply = await client.route_many(["a", "b"], budget_usd=1.0)
        assert len(reply.responses) == 2
        assert len((await client.models(curve_points=3)).curve) == 3
        assert (await client.info()).version == "9.8.7"
        with pytest.raises(RouterError) as caught:
            await client.route("hang", timeout_s=0.05)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_dicts_hold_every_field_by_its_proto_name() -> None:
    response = RouteResponse(
        model="m", reason=Reason(rule=1, binding_constraints=["x"]), timing=Timing(total_ns=2**40)
    )
    values = to_dict(response)
    assert values["reason"] == {"rule": "RULE_PRICE", "binding_constraints": ["x"], "text": ""}
    assert values["timing"]["total_ns"] == 2**40
    assert values["candidates"] == []
    assert values["predicted_cost_usd"] == 0.0
    assert values["degraded"] is False
    known = {"task", "task_confidence", "score_std", "ood", "evidence", "published_averages"}
    optional = {"error", "max_output_tokens", "arm", "second_model", "switch_cost_usd", *known}
    optional |= {"latency_percentile", "percentile_latency_ms", "propensity", "unexplored_model"}
    assert set(values) == {f.name for f in RouteResponse.DESCRIPTOR.fields} - optional


def test_dicts_leave_out_what_is_optional_and_not_set() -> None:
    assert to_dict(ReportOutcomeRequest(decision_id="d", score=0.0)) == {
        "decision_id": "d",
        "model": "",
        "score": 0.0,
        "error": "",
        "service_tier": "",
        "status_code": 0,
        "failure": "FAILURE_CAUSE_UNSPECIFIED",
        "reason_code": "",
    }


def test_dicts_hold_maps_and_unknown_enum_numbers() -> None:
    listed = ListModelsResponse(curve=[CurvePoint(shares={"a": 0.25, "b": 0.75})])
    assert to_dict(listed)["curve"][0]["shares"] == {"a": 0.25, "b": 0.75}
    future = Reason.FromString(b"\x08\x63")  # rule 99, from a newer service
    assert to_dict(future)["rule"] == 99


def test_reports_and_budgets(router: FakeRouter, client: RouterClient) -> None:
    assert client.report("abc-1", cost_usd=0.5, score=None) is True
    assert client.report("gone") is False
    assert [one.name for one in client.budgets(tenant="a").budgets] == ["all", "team-a"]
    assert router.requests == [
        ReportOutcomeRequest(decision_id="abc-1", cost_usd=0.5),
        ReportOutcomeRequest(decision_id="gone"),
        GetBudgetRequest(tenant="a"),
    ]


async def test_reports_and_budgets_awaited(router: FakeRouter) -> None:
    async with AsyncRouterClient(router.address, timeout_s=30) as client:
        assert await client.report("abc-1", error="timed out") is True
        assert not (await client.budgets(tenant="nobody")).budgets
    assert router.requests[0] == ReportOutcomeRequest(decision_id="abc-1", error="timed out")
