"""RouteBatch decides prompts together; its results are compared with a linear program's."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from routoo.v1 import route_pb2
from support.tiny_service import Running, batch_of, serving, tiny_settings
from support.watched import HANG_S, watch_accepted, watch_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

    from routoo.predictor.base import Prediction
    from routoo.v1.batch_pb2 import RouteBatchResponse

pytestmark = pytest.mark.asyncio(loop_scope="module")

words = st.lists(st.sampled_from(["easy", "hard", "long", "else"]), min_size=1, max_size=12)
batches = st.lists(words.map(" ".join), min_size=1, max_size=24)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    # Small inference batches, so that one RouteBatch is predicted in several.
    batching = {"max_batch": 8}
    async with serving(
        tiny_settings(tmp_path_factory.mktemp("tiny"), batching=batching)
    ) as running:
        yield running


class Oracle:
    """The same batch as one dense linear program over the numbers in the service's replies."""

    def __init__(self, responses: list[route_pb2.RouteResponse]) -> None:
        cells = [{one.model: one for one in reply.candidates} for reply in responses]
        names = ("small", "medium", "large")
        self.scores = self._table(cells, names, "predicted_score")
        self.costs = self._table(cells, names, "predicted_cost_usd")
        eligible = self._table(cells, names, "eligible").astype(bool)
        self._eligible = eligible
        self._bounds = [(0.0, 1.0 if on else 0.0) for on in eligible.ravel()]
        self.least_usd = float(np.where(eligible, self.costs, np.inf).min(axis=1).sum())
        self.most_usd = float(np.where(eligible, self.costs, 0.0).max(axis=1).sum())
        self.best_score = float(np.where(eligible, self.scores, 0.0).max(axis=1).mean())
        self.n = len(responses)

    @staticmethod
    def _table(
        cells: list[dict[str, route_pb2.Candidate]], names: tuple[str, ...], field: str
    ) -> NDArray[np.float64]:
        return np.array([[float(getattr(row[name], field)) for name in names] for row in cells])

    def solve(
        self, objective: NDArray[np.float64], row: NDArray[np.float64], limit: float
    ) -> float:
        result = linprog(
            objective.ravel(),
            A_ub=row.reshape(1, -1),
            b_ub=[limit],
            A_eq=np.kron(np.eye(self.n), np.ones(3)),
            b_eq=np.ones(self.n),
            bounds=self._bounds,
            method="highs",
        )
        assert result.success, result.message
        return float(result.fun)

    def least_after_score(self, usd_per_point: float) -> float:
        """Returns the sum of the least net costs in USD.

        Args:
            usd_per_point: USD that are subtracted per point of score.
        """
        net = np.where(self._eligible, self.costs - usd_per_point * self.scores, np.inf)
        return float(net.min(axis=1).sum())

    def best_mean_score(self, budget_usd: float) -> float:
        # In millionths of a USD, because the solver's tolerance is absolute.
        return -self.solve(-self.scores, self.costs * 1e6, budget_usd * 1e6) / self.n

    def least_cost_usd(self, min_mean_score: float) -> float:
        return self.solve(self.costs * 1e6, -self.scores, -min_mean_score * self.n) / 1e6


async def explained(tiny: Running, prompts: list[str], **fields: Any) -> RouteBatchResponse:
    batch = batch_of(prompts, **fields)
    for request in batch.requests:
        request.explain = True
    reply: RouteBatchResponse = await tiny.stub.RouteBatch(batch, timeout=60)
    return reply


def check_sums(reply: RouteBatchResponse) -> None:
    costs = [one.predicted_cost_usd for one in reply.responses]
    scores = [one.predicted_score for one in reply.responses]
    assert reply.total_predicted_cost_usd == pytest.approx(sum(costs), rel=1e-12)
    assert reply.mean_predicted_score == pytest.approx(sum(scores) / len(scores), rel=1e-12)


@settings(max_examples=50)
@given(prompts=batches, share=st.floats(0, 1.1))
async def test_under_a_budget_the_choice_is_the_linear_programs(
    tiny: Running, prompts: list[str], share: float
) -> None:
    oracle = Oracle(list((await explained(tiny, prompts)).responses))
    budget_usd = oracle.least_usd * (1 + 1e-9) + share * (oracle.most_usd - oracle.least_usd)
    reply = await tiny.batch(prompts, budget_usd=budget_usd)
    check_sums(reply)
    assert reply.total_predicted_cost_usd <= budget_usd
    optimum = oracle.best_mean_score(budget_usd)
    assert reply.bound == pytest.approx(optimum, rel=1e-6)
    # The program may split one prompt between two models; a decision cannot. It loses no more
    # than the whole prompt.
    assert optimum - 1.0 / len(prompts) <= reply.mean_predicted_score <= optimum * (1 + 1e-9)
    assert reply.gap == pytest.approx(1 - reply.mean_predicted_score / reply.bound, abs=1e-9)
    binds = "budget_usd" in reply.binding_constraints
    assert binds == (reply.shadow_price > 0)
    if not binds:
        assert reply.mean_predicted_score == pytest.approx(oracle.best_score)


@settings(max_examples=50)
@given(prompts=batches, share=st.floats(0, 1))
async def test_under_a_floor_the_cost_is_the_linear_programs(
    tiny: Running, prompts: list[str], share: float
) -> None:
    oracle = Oracle(list((await explained(tiny, prompts)).responses))
    floor = share * oracle.best_score
    reply = await tiny.batch(prompts, min_mean_score=floor)
    check_sums(reply)
    assert reply.mean_predicted_score >= floor * (1 - 1e-12)
    optimum = oracle.least_cost_usd(floor)
    assert reply.bound == pytest.approx(optimum, rel=1e-6)
    if reply.shadow_price > 0:
        # The price is the program's dual in score per USD, the same unit as under a budget.
        usd_per_point = 1 / reply.shadow_price
        dual = usd_per_point * floor * oracle.n + oracle.least_after_score(usd_per_point)
        assert dual == pytest.approx(optimum, rel=1e-6)
    assert reply.total_predicted_cost_usd >= optimum * (1 - 1e-6)
    assert reply.total_predicted_cost_usd <= oracle.most_usd * (1 + 1e-12)


async def test_with_a_budget_and_a_floor_both_are_kept(tiny: Running) -> None:
    prompts = ["hard"] * 10 + ["easy"] * 10
    reply = await tiny.batch(prompts, budget_usd=0.04, min_mean_score=0.7)
    assert reply.total_predicted_cost_usd <= 0.04
    assert reply.mean_predicted_score >= 0.7
    assert list(reply.binding_constraints) == ["budget_usd"]
    budget_only = await tiny.batch(prompts, budget_usd=0.04)
    assert reply.mean_predicted_score == budget_only.mean_predicted_score


async def test_a_binding_budget_is_the_reason_of_its_decisions(tiny: Running) -> None:
    reply = await tiny.batch(["hard"] * 10, budget_usd=0.03)
    optimum = route_pb2.RULE_BATCH_OPTIMUM
    assert [one.reason.rule for one in reply.responses] == [optimum] * 10
    assert reply.shadow_price > 0
    models = [one.model for one in reply.responses]
    assert "large" in models
    for one in reply.responses:
        assert one.shadow_price == reply.shadow_price
        bound = ["budget_usd"] if one.model != "large" else []
        assert list(one.reason.binding_constraints) == bound


async def test_per_request_constraints_hold_within_a_batch(tiny: Running) -> None:
    batch = batch_of(["hard"] * 4, budget_usd=1.0)
    batch.requests[0].denied_models.append("large")
    batch.requests[1].max_cost_usd = 1e-4
    batch.requests[2].allowed_models.append("small")
    reply = await tiny.stub.RouteBatch(batch)
    assert [one.model for one in reply.responses] == ["medium", "small", "small", "large"]
    assert reply.responses[2].reason.rule == route_pb2.RULE_ONLY_ELIGIBLE


@given(prompts=batches)
async def test_without_constraints_each_prompt_is_decided_as_alone(
    tiny: Running, prompts: list[str]
) -> None:
    reply = await tiny.batch(prompts)
    assert not reply.binding_constraints
    assert reply.gap == 0
    assert reply.bound == reply.mean_predicted_score
    for prompt, together in zip(prompts, reply.responses, strict=True):
        alone = await tiny.route(prompt)
        for field in ("model", "predicted_score", "predicted_cost_usd", "input_tokens", "reason"):
            assert getattr(together, field) == getattr(alone, field)


async def test_replies_stand_in_the_order_of_the_requests(tiny: Running) -> None:
    batch = batch_of([f"easy {'hard ' * (row % 7)}" for row in range(50)], budget_usd=0.05)
    for row, request in enumerate(batch.requests):
        request.request_id = f"id-{row}"
    reply = await tiny.stub.RouteBatch(batch)
    assert [one.request_id for one in reply.responses] == [f"id-{row}" for row in range(50)]
    assert [one.input_tokens for one in reply.responses] == [1 + row % 7 for row in range(50)]
    assert len({one.decision_id for one in reply.responses}) == 50
    assert reply.timing.batch_size == 50


async def test_a_batch_of_one_at_exactly_its_cost(tiny: Running) -> None:
    cost_usd = (await tiny.route("hard", allowed_models=["small"])).predicted_cost_usd
    reply = await tiny.batch(["hard"], budget_usd=cost_usd)
    assert reply.responses[0].model == "small"
    assert reply.gap > 0


async def test_a_batch_of_100_000_is_decided_while_single_prompts_are_answered(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    prompts = ["easy", "hard", "else", "hard else"] * 25_000
    settings = tiny_settings(
        tmp_path_factory.mktemp("default"), limits={"max_in_flight_bytes": 1024**3}
    )
    async with serving(settings) as default:
        accepted = watch_accepted(default.service)
        watched = watch_predictor(default.service.engine)
        # Single prompts are sent while the batch is being predicted, and find it unfinished: it
        # waits until each is sent, and goes on for some parts until that is answered.
        sent = {parts: threading.Event() for parts in (1, 100, 200)}
        answered = {parts + 50: threading.Event() for parts in sent}

        def wait(prediction: Prediction) -> Prediction:
            gate = (sent | answered).get(len(watched.calls.items))
            assert gate is None or gate.wait(HANG_S)
            return prediction

        watched.change = wait
        batch = asyncio.create_task(default.batch(prompts, budget_usd=100.0))
        for single, parts in enumerate(sent, 2):
            await watched.calls.reached(parts)
            alone = asyncio.create_task(default.route("hard", denied_models=["large"]))
            await accepted.reached(single)
            sent[parts].set()
            assert (await alone).model == "medium"
            assert not batch.done()
            answered[parts + 50].set()
        reply = await batch
    assert len(reply.responses) == 100_000
    assert reply.total_predicted_cost_usd <= 100.0
    assert reply.gap < 1e-5
    assert list(reply.binding_constraints) == ["budget_usd"]
