"""Arms over the API: replies name them with what to send, lists and capacities know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import orjson
import pytest
import pytest_asyncio

from routoo.v1 import info_pb2, outcome_pb2, route_pb2
from support.tiny_pool import ARMED_NAMES, write_armed_pool
from support.tiny_service import Running, batch_of, refusal, serving, table_settings, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def armed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("armed")
    write_armed_pool(folder / "pool.yaml")
    async with serving(tiny_settings(folder)) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_reply_names_the_arm_and_what_to_send(armed: Running) -> None:
    reply = await armed.route("hard", allowed_models=["medium@high"], explain=True)
    assert (reply.model, reply.arm.name, reply.arm.effort) == ("medium", "high", "high")
    assert not reply.arm.HasField("max_output_tokens")
    assert not reply.arm.known
    assert orjson.loads(reply.arm.body_json["responses"]) == {"reasoning": {"effort": "high"}}
    assert "completions" not in reply.arm.body_json
    first, *others = reply.candidates
    assert (first.model, first.arm) == ("medium", "high")
    assert sorted(
        f"{one.model}@{one.arm}" if one.arm else one.model for one in reply.candidates
    ) == (sorted(ARMED_NAMES))
    assert {one.removed_by for one in others} == {"allowed_models"}


async def test_a_model_without_arms_has_none_in_its_reply(armed: Running) -> None:
    reply = await armed.route("easy", allowed_models=["small"])
    assert reply.model == "small"
    assert not reply.HasField("arm")


async def test_lists_name_arms_or_models_with_all_their_arms(armed: Running) -> None:
    reply = await armed.route(
        "hard", allowed_models=["medium", "large@whole"], denied_models=["medium@low"], explain=True
    )
    left = {f"{one.model}@{one.arm}" for one in reply.candidates if one.eligible}
    assert left == {"medium@medium", "medium@high", "large@whole"}


@pytest.mark.parametrize("field", ["allowed_models", "denied_models"])
async def test_an_arm_that_does_not_exist_is_refused(armed: Running, field: str) -> None:
    code, told = await refusal(armed.route("easy", **{field: ["medium@deep"]}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert told.startswith(f"{field}: model 'medium' has no arm 'deep'; there are medium@low")


async def test_a_capacity_counts_all_arms_of_a_model(armed: Running) -> None:
    prompts = ["hard"] * 12
    free = await armed.batch(prompts, score_per_usd=1e-6)
    assert {one.model for one in free.responses} == {"large"}
    capped = await armed.batch(prompts, score_per_usd=1e-6, max_requests={"large": 5})
    assert sum(one.model == "large" for one in capped.responses) == 5
    arm = next(one.arm.name for one in free.responses)
    one_arm = await armed.batch(
        prompts, score_per_usd=1e-6, max_requests={"large": 5, f"large@{arm}": 2}
    )
    named = [(one.model, one.arm.name) for one in one_arm.responses]
    assert sum(model == "large" for model, _ in named) == 5
    assert named.count(("large", arm)) <= 2
    per_prompt = 1e9
    tokens = await armed.batch(prompts, score_per_usd=1e-6, max_tokens={"large": int(per_prompt)})
    assert sum(one.model == "large" for one in tokens.responses) == 12
    few = await armed.batch(prompts, score_per_usd=1e-6, max_tokens={"large": 500})
    taken = [one for one in few.responses if one.model == "large"]
    assert sum(one.input_tokens + one.predicted_output_tokens for one in taken) <= 500


async def test_an_unknown_capacity_is_refused(armed: Running) -> None:
    code, told = await refusal(armed.batch(["easy"], budget_usd=1.0, max_requests={"large@x": 1}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "model 'large' has no arm 'x'" in told


async def test_the_models_are_listed_by_arms(armed: Running) -> None:
    reply = await armed.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
    assert tuple(one.name for one in reply.models) == ARMED_NAMES
    by_name = {one.name: one for one in reply.models}
    assert by_name["medium@low"].arm.effort == "low"
    assert not by_name["small"].HasField("arm")
    assert by_name["large@at-once"].time_to_first_token_ms == 50
    assert set(reply.operating_point.shares) <= set(ARMED_NAMES)


async def test_a_report_is_billed_at_the_tier_that_the_arm_asks_for(tmp_path: Path) -> None:
    write_armed_pool(tmp_path / "pool.yaml")
    budgets = [{"name": "all", "usd": 9e6, "per": "30d"}]
    async with serving(tiny_settings(tmp_path, budgets=budgets)) as running:

        async def settled(name: str, **told: Any) -> float:
            before = await running.stub.GetBudget(outcome_budget(), timeout=60)
            reply = await running.route("hard", allowed_models=[name])
            report = outcome_pb2.ReportOutcomeRequest(
                decision_id=reply.decision_id, input_tokens=1000, output_tokens=1000, **told
            )
            assert (await running.stub.ReportOutcome(report, timeout=60)).accepted
            after = await running.stub.GetBudget(outcome_budget(), timeout=60)
            return float(after.budgets[0].settled_usd - before.budgets[0].settled_usd)

        assert await settled("large@whole") == pytest.approx(0.04)
        assert await settled("large@at-once") == pytest.approx(0.08)
        assert await settled("large@at-once", service_tier="default") == pytest.approx(0.04)
        # The model that answered, by its own name, was asked for the decided arm.
        assert await settled("large@at-once", model="large") == pytest.approx(0.08)


def outcome_budget() -> Any:
    from routoo.v1.budget_pb2 import GetBudgetRequest

    return GetBudgetRequest()


async def test_what_is_reserved_is_what_an_arm_may_cost(tmp_path: Path) -> None:
    write_armed_pool(tmp_path / "pool.yaml")
    async with serving(tiny_settings(tmp_path)) as running:
        short = await running.route("hard", allowed_models=["large@short"])
        # The limit holds for the longest answer that the arm asks for, not for the predicted one.
        limit = short.predicted_cost_usd * 1.001
        code, _ = await refusal(
            running.route("hard", allowed_models=["large@short"], max_cost_usd=limit)
        )
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        kept = await running.route("hard", allowed_models=["large@short"], max_cost_usd=0.01)
        assert kept.max_output_tokens <= 40


async def test_a_predictor_that_knows_an_arm_predicts_it(tmp_path: Path) -> None:
    extra = {
        "name": "lab/extra",
        "predictor_name": "small",
        "usd_per_1m_input_tokens": 1,
        "usd_per_1m_output_tokens": 1,
        "price_status": "assumed",
        "context_window_tokens": 4096,
        "time_to_first_token_ms": 1,
        "time_per_output_token_ms": 1,
        "arms": [
            {"name": "low", "effort": "low"},
            {"name": "high", "effort": "high", "predictor_name": "extra"},
        ],
    }
    async with serving(table_settings(tmp_path, extra)) as running:
        reply = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
        known = {one.name: one.arm.known for one in reply.models if one.HasField("arm")}
        assert known == {"lab/extra@low": False, "lab/extra@high": True}
        # In the tiny table, math is .1 of small, and .95 of extra.
        low, high = [
            await running.route("math", allowed_models=[f"lab/extra@{one}"])
            for one in ("low", "high")
        ]
        assert low.predicted_score == pytest.approx(0.1 * 0.82 / (0.9 + 0.1 * 0.82), abs=1e-3)
        assert high.predicted_score == pytest.approx(0.95, abs=1e-3)


async def test_a_batch_of_requests_with_lists_of_arms(armed: Running) -> None:
    batch = batch_of(["easy", "hard"], budget_usd=1.0)
    batch.requests[0].allowed_models.append("large@short")
    reply = await armed.stub.RouteBatch(batch, timeout=60)
    first = reply.responses[0]
    assert isinstance(first, route_pb2.RouteResponse)
    assert (first.model, first.arm.name, first.arm.max_output_tokens) == ("large", "short", 40)
