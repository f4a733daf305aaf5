"""RouteBatch keeps capacities, tenants' budgets and latencies; Frontier finds the vertices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from routoo.v1 import batch_pb2, route_pb2
from support.artifacts.tiny_artifact import STD_SHARE, write_tiny_artifact
from support.tiny_service import Running, batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPTS = [" ".join(["hard"] * (1 + row % 3) + ["easy"] * (row % 4)) for row in range(40)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with serving(tiny_settings(tmp_path_factory.mktemp("tiny"))) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uncertain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service whose predictor gives a standard deviation, which is larger for better scores."""
    folder = tmp_path_factory.mktemp("uncertain")
    write_tiny_artifact(folder / "predictor", uncertain=True)
    async with serving(tiny_settings(folder)) as running:
        yield running


async def frontier(
    running: Running, prompts: list[str], **fields: Any
) -> batch_pb2.FrontierResponse:
    requests = [route_pb2.RouteRequest(prompt=prompt) for prompt in prompts]
    message = batch_pb2.FrontierRequest(requests=requests, **fields)
    response: batch_pb2.FrontierResponse = await running.stub.Frontier(message, timeout=60)
    return response


async def test_capacities_and_latency_are_kept_and_named(tiny: Running) -> None:
    reply = await tiny.batch(
        PROMPTS,
        max_requests={"large": 10},
        max_tokens={"medium": 1000},
        max_mean_latency_ms=700.0,
    )
    models = Counter(one.model for one in reply.responses)
    assert models["large"] <= 10
    tokens = [
        one.input_tokens + one.predicted_output_tokens
        for one in reply.responses
        if one.model == "medium"
    ]
    assert sum(tokens) <= 1000
    assert np.mean([one.predicted_latency_ms for one in reply.responses]) <= 700.0
    known = {"max_requests[large]", "max_tokens[medium]", "max_mean_latency_ms"}
    assert {"max_mean_latency_ms"} <= set(reply.binding_constraints) <= known


async def test_every_tenant_keeps_to_its_own_budget(tiny: Running) -> None:
    free = await tiny.batch(PROMPTS, budget_usd=1.0)
    batch = batch_of(PROMPTS, tenant_budgets_usd={"a": 0.01, "b": 0.02, "nobody": 0.0})
    for row, request in enumerate(batch.requests):
        request.tenant = "ab "[row % 3].strip()
    reply = await tiny.stub.RouteBatch(batch)
    spent = dict.fromkeys("ab", 0.0)
    for row, one in enumerate(reply.responses):
        if row % 3 < 2:
            spent["ab"[row % 3]] += one.predicted_cost_usd
        else:
            assert one.model == free.responses[row].model
    assert spent["a"] <= 0.01
    assert spent["b"] <= 0.02
    assert set(reply.binding_constraints) == {"tenant_budgets_usd[a]", "tenant_budgets_usd[b]"}


async def test_a_price_alone_trades_score_for_money(tiny: Running) -> None:
    reply = await tiny.batch(PROMPTS, score_per_usd=100.0)
    net = reply.mean_predicted_score - 100.0 * reply.total_predicted_cost_usd / len(PROMPTS)
    assert reply.bound == pytest.approx(net)
    assert reply.shadow_price == 100.0
    assert not reply.binding_constraints


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (
            {"max_requests": {"gpt-9": 1}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "max_requests: unknown model 'gpt-9'; the pool has small, medium, large",
        ),
        (
            {"max_tokens": {"": 1}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "max_tokens: unknown model ''; the pool has small, medium, large",
        ),
        (
            {"budget_usd": 1.0, "score_std_weight": 1.0},
            grpc.StatusCode.INVALID_ARGUMENT,
            "score_std_weight: the predictor in use does not tell score_std",
        ),
        (
            {"max_requests": {"small": 10, "medium": 10, "large": 10}},
            grpc.StatusCode.FAILED_PRECONDITION,
            "cannot be kept together; raise max_requests[",
        ),
        (
            {"max_mean_latency_ms": 1.0},
            grpc.StatusCode.FAILED_PRECONDITION,
            "max_mean_latency_ms 1 is below the least possible",
        ),
    ],
)
async def test_what_is_wrong_or_impossible_is_said(
    tiny: Running, fields: dict[str, Any], code: grpc.StatusCode, text: str
) -> None:
    refused, told = await refusal(tiny.batch(PROMPTS, **fields))
    assert refused is code
    assert text in told


async def test_each_vertex_is_what_its_money_buys(tiny: Running) -> None:
    found = await frontier(tiny, PROMPTS)
    costs, scores = np.array(found.total_cost_usd), np.array(found.mean_score)
    assert len(costs) == len(scores) == len(found.shadow_price) > 20
    assert (np.diff(costs) > 0).all()
    assert (np.diff(scores) > 0).all()
    assert (np.diff(found.shadow_price) < 0).all()
    assert found.timing.batch_size == len(PROMPTS)
    for at in range(0, len(costs), 7):
        reply = await tiny.batch(PROMPTS, budget_usd=costs[at])
        assert reply.total_predicted_cost_usd == pytest.approx(costs[at], rel=1e-12)
        assert reply.mean_predicted_score == pytest.approx(scores[at], rel=1e-12)
        assert reply.gap < 1e-12


async def test_a_frontier_keeps_each_request_s_own_constraints(tiny: Running) -> None:
    message = batch_pb2.FrontierRequest(
        requests=[
            route_pb2.RouteRequest(prompt=prompt, denied_models=["large"]) for prompt in PROMPTS
        ],
        max_points=5,
    )
    found = await tiny.stub.Frontier(message)
    assert 2 <= len(found.total_cost_usd) <= 5
    best = await tiny.batch(PROMPTS, budget_usd=10.0)
    assert found.mean_score[-1] < best.mean_predicted_score


async def test_a_frontier_refuses_what_a_batch_refuses(tiny: Running) -> None:
    code, text = await refusal(frontier(tiny, []))
    assert (code, text.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "requests")
    code, text = await refusal(frontier(tiny, PROMPTS, score_std_weight=1.0))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("score_std_weight: the predictor in use does not tell score_std")
    message = batch_pb2.FrontierRequest(
        requests=[
            route_pb2.RouteRequest(prompt="easy"),
            route_pb2.RouteRequest(prompt="easy", max_cost_usd=0.0),
        ]
    )
    code, text = await refusal(tiny.stub.Frontier(message))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert text.startswith("requests[1]: max_cost_usd")


async def test_care_for_the_spread_takes_it_off_every_score(uncertain: Running) -> None:
    plain = await frontier(uncertain, PROMPTS)
    careful = await frontier(uncertain, PROMPTS, score_std_weight=2.0)
    # The tiny predictor's spread is a fixed share of each score.
    left = 1.0 - 2.0 * STD_SHARE
    assert np.array(careful.mean_score)[-1] == pytest.approx(plain.mean_score[-1] * left, abs=1e-4)
    at = len(careful.total_cost_usd) // 2
    reply = await uncertain.batch(
        PROMPTS, budget_usd=careful.total_cost_usd[at], score_std_weight=2.0
    )
    assert reply.total_predicted_cost_usd == pytest.approx(careful.total_cost_usd[at], rel=1e-12)
    assert reply.bound == pytest.approx(careful.mean_score[at], rel=1e-9)
    assert reply.mean_predicted_score == pytest.approx(careful.mean_score[at] / left, abs=1e-3)
