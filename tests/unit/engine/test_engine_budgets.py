"""An engine with budgets books, settles and gives back every cost, whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from routoo.config.sections.policy import PolicySettings
from routoo.errors import (
    BudgetSpentError,
    DeadlineError,
    DrainingError,
    InfeasibleError,
    NoBudgetError,
    NoEligibleModelError,
)
from routoo.predictor.artifact import load_artifact
from routoo.routing.joint import JointConstraints
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.selector.reason import Reason
from routoo.telemetry.metrics import Metrics
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine, outcomes
from support.tiny_money import hourly, spending
from support.watched import HANG_S, watch_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.budget.ledger import BudgetState
    from routoo.engine.booking.single import BudgetBooking
    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact

# One word in, 200 tokens out: on large 10e-6 + 200 * 30e-6, on medium 1e-6 + 200 * 2e-6 USD.
LARGE_USD = 0.00601
MEDIUM_USD = 0.000401
SMALL_USD = 0.0000401


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


@asynccontextmanager
async def running(
    artifact: Artifact, money: BudgetBooking | None = None, price: float = 100.0
) -> AsyncIterator[Engine]:
    metrics = Metrics()
    engine = make_engine(
        artifact,
        price=price,
        policy=PolicySettings(offered=("best",)),
        spent_from=money,
        metrics=metrics,
        max_batch=4,
        max_queue=64,
    )
    engine.registry = metrics.registry  # type: ignore[attr-defined]
    try:
        yield engine
    finally:
        await engine.close(HANG_S)


def sample(engine: Any, name: str, **labels: str) -> float | None:
    found: float | None = engine.registry.get_sample_value(name, labels)
    return found


async def state_of(engine: Engine) -> BudgetState:
    return (await engine.budgets())[0][0]


async def test_a_spent_budget_answers_with_the_cheapest_then_refuses(artifact: Artifact) -> None:
    async with running(artifact, spending(hourly(MEDIUM_USD + 1.5 * SMALL_USD))) as engine:
        first, second, third = await outcomes(
            *(engine.route(PromptRequest("hard")) for _ in range(3))
        )
        assert (first.model, second.model) == ("medium", "small")
        assert second.batch.reasons[second.row] == Reason.BUDGET_SPENT
        assert second.binding_constraints() == ("budget:all",)
        assert second.reason_text() == (
            "the lowest predicted cost of 3 of 3 models; budget:all has not enough left"
        )
        assert isinstance(third, BudgetSpentError)
        assert sample(engine, "routoo_budget_refused_requests_total") == 1
        assert sample(engine, "routoo_no_eligible_model_total") == 0
        state = await state_of(engine)
        assert state.reserved_usd == pytest.approx(MEDIUM_USD + SMALL_USD)
        assert state.granted == 2


async def test_each_request_pays_from_its_own_tenants_budget(artifact: Artifact) -> None:
    async with running(artifact, spending(hourly(1.0), hourly(0.0005, "a", "a"))) as engine:
        requests = [PromptRequest("hard", tenant=one) for one in ("a", "b", "a")]
        decisions = await outcomes(*(engine.route(one) for one in requests))
        assert [one.model for one in decisions] == ["medium", "medium", "small"]
        named = [state.terms.name for state, _ in await engine.budgets("b")]
        assert named == ["all"]
        assert [state.terms.name for state, _ in await engine.budgets("a")] == ["all", "a"]


async def test_a_tenant_without_a_budget_is_refused_at_the_door(artifact: Artifact) -> None:
    strict = spending(hourly(1.0, "a", "a"), refuses_unbudgeted=True)
    async with running(artifact, strict) as engine:
        with pytest.raises(NoBudgetError):
            engine.route(PromptRequest("hard", tenant="b"))
        with pytest.raises(NoBudgetError):
            await engine.route_batch([PromptRequest("hard")], JointConstraints())


@pytest.mark.parametrize("constraints", [JointConstraints(), JointConstraints(budget_usd=1.0)])
async def test_a_batch_is_booked_whole_and_is_the_best_that_is_left_for_it(
    artifact: Artifact, constraints: JointConstraints
) -> None:
    async with running(artifact, spending(hourly(2 * LARGE_USD)), price=0.0) as engine:
        requests = [PromptRequest("hard")] * 2
        first = await engine.route_batch(requests, constraints)
        assert [one.model for one in first.decisions] == ["large"] * 2
        with pytest.raises(BudgetSpentError):
            await engine.route_batch(requests, constraints)
        for decision in first.decisions:
            assert await engine.report(OutcomeReport(decision.decision_id, cost_usd=LARGE_USD / 2))
        second = await engine.route_batch([PromptRequest("hard")] * 3, constraints)
        assert [one.model for one in second.decisions] == ["medium"] * 3
        assert second.binding == ("budget:all",)
        assert {one.binding_constraints() for one in second.decisions} == {("budget:all",)}
        assert second.mean_score <= second.bound
        assert second.gap == pytest.approx(1.0 - second.mean_score / second.bound)
        assert second.shadow_price > 0.0


@pytest.mark.parametrize(
    "constraints",
    [
        JointConstraints(min_mean_score=0.8),
        JointConstraints(budget_usd=1.0, max_requests={"small": 0.0, "medium": 0.0}),
    ],
)
async def test_a_batch_is_not_made_cheaper_than_its_constraints_allow(
    artifact: Artifact, constraints: JointConstraints
) -> None:
    async with running(artifact, spending(hourly(LARGE_USD))) as engine:
        with pytest.raises(InfeasibleError, match=r"(raise )?budget:all( .*raise it)? by"):
            await engine.route_batch([PromptRequest("hard")] * 2, constraints)
        assert (await state_of(engine)).reserved_usd == 0.0


async def cancelled(waiting: asyncio.Future[Any]) -> None:
    waiting.cancel()
    assert isinstance((await outcomes(waiting))[0], asyncio.CancelledError)


async def all_given_back(engine: Engine) -> None:
    async with asyncio.timeout(HANG_S):
        while True:
            state = await state_of(engine)
            if state.granted and state.reserved_usd == state.settled_usd == 0.0:
                return
            await asyncio.sleep(0)


async def test_a_request_cancelled_while_it_is_decided_gives_its_money_back(
    artifact: Artifact,
) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        watched = watch_predictor(engine)
        watched.hold()
        waiting = engine.route(PromptRequest("hard"))
        await watched.calls.reached(1)
        await cancelled(waiting)
        watched.release()
        await all_given_back(engine)


async def test_a_request_that_waits_too_long_or_is_cancelled_then_books_nothing(
    artifact: Artifact,
) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        watched = watch_predictor(engine)
        watched.hold()
        first = engine.route(PromptRequest("hard"))
        await watched.calls.reached(1)
        late, gone = engine.route(PromptRequest("hard"), 0.0), engine.route(PromptRequest("hard"))
        await cancelled(gone)
        watched.release()
        decision, expired = await outcomes(first, late)
        assert isinstance(expired, DeadlineError)
        assert (await state_of(engine)).granted == 1
        assert decision.model == "medium"


async def test_a_failing_predictor_books_nothing(artifact: Artifact) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        watch_predictor(engine).fail = [ValueError("broken")]
        assert isinstance((await outcomes(engine.route(PromptRequest("hard"))))[0], ValueError)
        assert (await state_of(engine)).granted == 0


async def test_a_batch_cancelled_while_it_is_solved_gives_its_money_back(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        decide = engine._decider.decide_jointly
        reached, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def held(*arguments: Any, **options: Any) -> Any:
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(HANG_S)
            return decide(*arguments, **options)

        monkeypatch.setattr(engine._decider, "decide_jointly", held)
        batch = asyncio.ensure_future(
            engine.route_batch([PromptRequest("hard")] * 3, JointConstraints())
        )
        await reached.wait()
        await cancelled(batch)
        go_on.set()
        await all_given_back(engine)


async def test_what_a_shutdown_cuts_off_gives_its_money_back(artifact: Artifact) -> None:
    money = spending(hourly(1.0))
    async with running(artifact, money) as engine:
        watched = watch_predictor(engine)
        watched.hold()
        waiting = engine.route(PromptRequest("hard"))
        await watched.calls.reached(1)
        await engine.close(0.0)
        assert isinstance((await outcomes(waiting))[0], DrainingError)
        with pytest.raises(DrainingError):
            await engine.report(OutcomeReport("test-1"))
        watched.release()


async def test_reports_settle_and_watch_the_predictor(artifact: Artifact) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        decision = (await outcomes(engine.route(PromptRequest("hard"))))[0]
        assert await engine.report(OutcomeReport(decision.decision_id, score=1.0, cost_usd=0.25))
        assert not await engine.report(OutcomeReport(decision.decision_id, cost_usd=0.5))
        assert not await engine.report(OutcomeReport("test-ffff", cost_usd=0.5))
        state = await state_of(engine)
        assert (state.reserved_usd, state.settled_usd) == (0.0, 0.25)
        assert sample(engine, "routoo_outcomes_total", result="accepted") == 1
        assert sample(engine, "routoo_outcomes_total", result="refused") == 2
        bin_of = {"model": "medium", "predicted": "0.5"}
        for name, expected, labels in (
            ("scored_outcomes", 1.0, bin_of),
            ("reported_score", 1.0, bin_of),
            ("reported_predicted_score", 0.5, bin_of),
            ("reported_cost_usd", 0.25, {"model": "medium"}),
            ("reported_predicted_cost_usd", MEDIUM_USD, {"model": "medium"}),
        ):
            found = sample(engine, f"routoo_{name}_total", **labels)
            assert found == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("report", "settled_usd"),
    [
        ({"input_tokens": 1000, "output_tokens": 500}, 1000 * 1e-6 + 500 * 2e-6),
        ({"input_tokens": 1000, "output_tokens": 500, "model": "large"}, 0.01 + 0.015),
        ({"score": 0.5, "latency_ms": 5.0}, MEDIUM_USD),
        ({"score": 0.5, "latency_ms": 5.0, "model": "large"}, LARGE_USD),
        ({"error": "timed out"}, 0.0),
        ({"error": "cut off", "cost_usd": 0.5}, 0.5),
    ],
)
async def test_the_cost_that_is_settled(
    artifact: Artifact, report: dict[str, Any], settled_usd: float
) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        decision = (await outcomes(engine.route(PromptRequest("hard"))))[0]
        assert await engine.report(OutcomeReport(decision.decision_id, **report))
        state = await state_of(engine)
        assert (state.reserved_usd, state.settled_usd) == (0.0, pytest.approx(settled_usd))


async def test_without_budgets_reports_are_taken_once(artifact: Artifact) -> None:
    async with running(artifact) as engine:
        decision = (await outcomes(engine.route(PromptRequest("hard"))))[0]
        assert await engine.report(OutcomeReport(decision.decision_id, score=1.0))
        assert not await engine.report(OutcomeReport(decision.decision_id, score=1.0))
        assert await engine.budgets() == []


async def test_a_decision_that_only_the_ledger_knows_needs_its_cost(artifact: Artifact) -> None:
    money = spending(hourly(1.0))
    async with running(artifact, money) as engine:
        decision = (await outcomes(engine.route(PromptRequest("hard"))))[0]
        engine.accounting.decisions.discard([decision.decision_id])  # as if another replica had it
        tokens = {"input_tokens": 10, "output_tokens": 10}
        assert not await engine.report(OutcomeReport(decision.decision_id, score=1.0))
        assert not await engine.report(OutcomeReport(decision.decision_id, **tokens))
        assert await engine.report(OutcomeReport(decision.decision_id, cost_usd=0.25))
        assert (await state_of(engine)).settled_usd == 0.25


async def test_tenants_add_no_series(artifact: Artifact) -> None:
    async def series(tenants: int) -> int:
        async with running(artifact, spending(hourly(1.0), hourly(1.0, tenant="t0"))) as engine:
            for number in range(tenants):
                request = PromptRequest("hard", tenant=f"t{number}")
                decided = (await outcomes(engine.route(request)))[0]
                await engine.report(OutcomeReport(decided.decision_id, score=1.0, cost_usd=0.0))
            registry = engine.registry  # type: ignore[attr-defined]
            return sum(len(family.samples) for family in registry.collect())

    assert await series(40) == await series(2)


async def test_a_capped_request_reserves_its_cap_and_settles_at_its_cost(
    artifact: Artifact,
) -> None:
    async with running(artifact, spending(hourly(1.0))) as engine:
        asked = PromptRequest(
            "hard",
            max_output_tokens=1000,
            answers=2,
            expected_output_tokens=10,
            constraints={"allowed_models": ("large",)},
        )
        decision = await engine.route(asked)
        # 2 answers of 1,000 tokens, and an input of a few words with the margin and the frame.
        reserved_usd = (await state_of(engine)).reserved_usd
        assert 2000 * 30e-6 + 32 * 10e-6 < reserved_usd < 2000 * 30e-6 + 40 * 10e-6
        predicted_usd = decision.batch.costs_usd[decision.row]
        assert predicted_usd == pytest.approx(10e-6 + 20 * 30e-6)
        await engine.report(OutcomeReport(decision.decision_id, cost_usd=0.02))
        state = await state_of(engine)
        assert (state.reserved_usd, state.settled_usd) == (0.0, 0.02)
        limited = replace(asked, constraints={"max_cost_usd": 0.0001})
        (refused,) = await outcomes(engine.route(limited))
        assert isinstance(refused, NoEligibleModelError)
        assert str(refused).startswith("max_cost_usd")
