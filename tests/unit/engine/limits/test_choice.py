"""Decisions keep the limits of providers, and say so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.api.status import status_of, trailers_of
from routoo.errors import InfeasibleError, LimitReachedError
from routoo.predictor.artifact import load_artifact
from routoo.pricing.capacity import CapacityPrices
from routoo.routing.arms.usage_limits import ProviderSpec
from routoo.routing.escalation import EscalationRequest
from routoo.routing.joint import JointConstraints
from routoo.routing.outcome import OutcomeReport, ReportResult
from routoo.routing.pool import Pool
from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.logged_engine import lines_of, logged_engine
from support.tiny_engine import make_engine, outcomes
from support.tiny_money import hourly, limits_of, spending
from support.tiny_pool import LARGE, MEDIUM, SMALL, pool_of

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.engine.booking.single import BudgetBooking
    from routoo.engine.engine import Engine
    from routoo.engine.limits.choice import ProviderLimits
    from routoo.predictor.artifact import Artifact

# At this price "hard" asks for large, then medium: .875, .5 and .125 are predicted.
PRICE = 0.1


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


def limited(**large: int) -> Pool:
    """Makes the tiny pool with limits of the provider of "large" alone."""
    specs = ({**SMALL, "provider": "acme"}, {**MEDIUM, "provider": "acme"})
    models = pool_of(*specs, {**LARGE, "provider": "other"}).models
    return Pool.of(models, {"other": ProviderSpec(**large)} if large else {})


@dataclass
class Served:
    """An engine whose clock the test moves."""

    engine: Engine
    limits: ProviderLimits
    now_s: float = 0.0

    @classmethod
    def of(cls, artifact: Artifact, pool: Pool, **more: Any) -> Served:
        made: list[Served] = []
        limits = limits_of(pool, lambda: made[0].now_s if made else 0.0, 30.0)
        assert limits is not None
        engine = make_engine(artifact, price=PRICE, pool=pool, limits=limits, **more)
        made.append(cls(engine, limits))
        return made[0]

    async def models(self, *prompts: str, **constraints: Any) -> list[Any]:
        """Routes prompts together; returns the models or the errors."""
        found = await outcomes(
            *(self.engine.route(PromptRequest(one, constraints=constraints)) for one in prompts)
        )
        return [one if isinstance(one, Exception) else one.model for one in found]


async def test_what_a_limit_leaves_goes_to_those_who_gain_most(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=2))
    # "else" gains .125 by large over medium, "hard" .375; all come in one batch.
    found = await served.models("else", "hard", "else", "hard", "hard")
    assert found.count("large") == 2
    assert [found[0], found[2]] == ["medium", "medium"]
    await served.engine.close(0.0)


async def test_the_reason_names_the_limit(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=1))
    await served.models("hard")
    decision = await served.engine.route(PromptRequest("hard", explain=True))
    assert decision.model == "medium"
    assert "requests_per_minute[other]" in decision.binding_constraints()
    removed = {one.model: one.removed_by for one in decision.candidates()}
    assert removed["large"] == "requests_per_minute[other]"
    await served.engine.close(0.0)


async def test_where_nothing_is_left_the_limit_is_named_and_when_to_retry(
    artifact: Artifact,
) -> None:
    served = Served.of(artifact, limited(requests_per_minute=1))
    first, second = await served.models("hard", "hard", allowed_models=("large",))
    refused = next(one for one in (first, second) if one != "large")
    assert isinstance(refused, LimitReachedError)
    assert "requests_per_minute[other]" in str(refused)
    assert status_of(refused)[0].name == "RESOURCE_EXHAUSTED"
    assert trailers_of(refused)[0][0] == "grpc-retry-pushback-ms"
    assert refused.retry_after_s == pytest.approx(60.0, abs=1.0)
    assert served.limits.states()[0].refused == 1
    served.now_s += 61.0
    assert await served.models("hard") == ["large"]
    await served.engine.close(0.0)


async def test_a_request_that_no_minute_holds_is_told_so(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(tokens_per_minute=50))
    (refused,) = await served.models("hard", allowed_models=("large",))
    assert isinstance(refused, LimitReachedError)
    assert refused.retry_after_s is None
    assert "shorten it" in str(refused)
    assert await served.models("hard") == ["medium"]
    await served.engine.close(0.0)


async def test_a_report_ends_a_concurrent_request(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(max_concurrent=1, tokens_per_minute=10_000))
    decision = await served.engine.route(PromptRequest("hard"))
    assert await served.models("hard") == ["medium"]
    await served.engine.report(
        OutcomeReport(decision.decision_id, input_tokens=30, output_tokens=70)
    )
    assert {one.kind: one.used for one in served.limits.states()} == {
        "max_concurrent": 0.0,
        "tokens_per_minute": 100.0,
    }
    assert await served.models("hard") == ["large"]
    served.now_s += 31.0  # nobody reports this one
    assert await served.models("hard") == ["large"]
    await served.engine.close(0.0)


async def test_a_failed_request_keeps_its_predicted_tokens(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(max_concurrent=1, tokens_per_minute=10_000))
    decision = await served.engine.route(PromptRequest("hard"))
    before = served.limits.states()[0].used
    await served.engine.report(
        OutcomeReport(decision.decision_id, input_tokens=0, output_tokens=0, error="overloaded")
    )
    used = {one.kind: one.used for one in served.limits.states()}
    assert used == {"tokens_per_minute": before, "max_concurrent": 0.0}
    await served.engine.close(0.0)


async def test_a_spent_budget_moves_what_is_counted(artifact: Artifact) -> None:
    pool = limited(requests_per_minute=5, max_concurrent=5)
    served = Served.of(artifact, pool, spent_from=spending(hourly(0.0005, on_exhausted="cheapest")))
    assert await served.models("hard", "hard") == ["small", "small"]
    assert [one.used for one in served.limits.states()] == [0.0, 0.0]
    await served.engine.close(0.0)


async def test_a_spent_budget_and_a_full_limit_refuse_and_book_nothing(
    artifact: Artifact,
) -> None:
    models = (
        {**SMALL, "requests_per_minute": 1},
        {**MEDIUM},
        {**LARGE, "provider": "other"},
    )
    budget = spending(hourly(0.0005, on_exhausted="cheapest"))
    served = Served.of(artifact, pool_of(*models), spent_from=budget)
    found = await served.models("hard", "hard")
    assert found.count("small") == 1
    refused = next(one for one in found if one != "small")
    assert isinstance(refused, LimitReachedError)
    (state,) = budget.ledger.states()
    assert state.granted <= 2
    (small,) = served.limits.states()
    assert small.used == 1.0
    await served.engine.close(0.0)


async def test_an_undelivered_decision_counts_nothing(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=5, max_concurrent=5))
    decision = await served.engine.route(PromptRequest("hard"))
    served.engine._decider.release([decision])
    assert [one.used for one in served.limits.states()] == [0.0, 0.0]
    await served.engine.close(0.0)


async def test_a_price_spreads_requests_before_the_limit(artifact: Artifact) -> None:
    pool = limited(requests_per_minute=100)
    served = Served.of(artifact, pool)
    assert await served.models("else", "hard") == ["large", "large"]
    terms = served.limits.pricing._terms
    served.limits.pricing.in_force = CapacityPrices.of(terms, np.array([0.2]))
    assert await served.models("else", "hard") == ["medium", "large"]
    decision = await served.engine.route(PromptRequest("else", explain=True))
    assert "requests_per_minute[other]" in decision.binding_constraints()
    utilities = {one.model: one.utility for one in decision.candidates()}
    assert utilities["medium"] > utilities["large"]
    await served.engine.close(0.0)


async def test_requests_are_told_to_the_prices(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=60))
    for _ in range(10):
        served.now_s += 0.1
        await served.models("else", "hard", "hard")
    served.limits.pricing.step()
    (state,) = served.limits.states()
    # 30 a second want a limit of one: those that lose least by it no longer do.
    assert state.price > 0.1
    await served.engine.close(0.0)


async def test_a_batch_has_the_limits_as_rows(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=2))
    prompts = [PromptRequest(one) for one in ("else", "hard", "else", "hard", "hard")]
    found = await served.engine.route_batch(prompts, JointConstraints(), is_dry=True)
    assert [one.model for one in found.decisions].count("large") == 2
    assert "requests_per_minute[other]" in found.binding
    assert served.limits.states()[0].used == 0.0
    found = await served.engine.route_batch(prompts, JointConstraints(budget_usd=1.0))
    assert [one.model for one in found.decisions].count("large") == 2
    assert served.limits.states()[0].used == 2.0
    assert await served.models("hard") == ["medium"]
    await served.engine.close(0.0)


async def test_a_batch_that_no_limit_holds_says_which(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=2))
    only_large = [PromptRequest("hard", constraints={"allowed_models": ("large",)})] * 3
    with pytest.raises(InfeasibleError, match=r"requests_per_minute\[other\]"):
        await served.engine.route_batch(only_large, JointConstraints())
    assert served.limits.states()[0].used == 0.0
    await served.engine.close(0.0)


async def test_many_at_once_never_pass_a_limit(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(tokens_per_minute=3000, requests_per_minute=12))
    singles = [served.models(*(["hard", "else"] * 10)) for _ in range(5)]
    batch = served.engine.route_batch([PromptRequest("hard")] * 5, JointConstraints())
    async with asyncio.timeout(60):
        await asyncio.gather(*singles, batch)
    for one in served.limits.states():
        assert 0.0 < one.used <= one.limit
    await served.engine.close(0.0)


async def test_an_escalation_counts_too(artifact: Artifact) -> None:
    served = Served.of(artifact, limited(requests_per_minute=2))
    small_or_large = {"allowed_models": ("small", "large")}
    first, second = await outcomes(
        *(served.engine.route(PromptRequest("easy", constraints=small_or_large)) for _ in range(2))
    )
    assert first.model == second.model == "small"
    asked = await served.engine.escalate(EscalationRequest(first.decision_id))
    assert asked.decision is not None
    assert asked.decision.model == "large"
    assert served.limits.states()[0].used == 1.0
    assert await served.models("hard") == ["large"]
    kept = await served.engine.escalate(EscalationRequest(second.decision_id))
    assert kept.decision is None
    assert "requests_per_minute[other]" in kept.text
    await served.engine.close(0.0)


@pytest.mark.parametrize("spent_from", [None, spending(hourly(1.0))])
async def test_an_escalation_to_a_model_that_costs_nothing_counts_too(
    artifact: Artifact, spent_from: BudgetBooking | None
) -> None:
    free = {"usd_per_1m_input_tokens": 0, "usd_per_1m_output_tokens": 0}
    pool = pool_of({**SMALL, **free, "max_concurrent": 1}, LARGE)
    served = Served.of(artifact, pool, spent_from=spent_from)
    large = await served.engine.route(PromptRequest("hard"))
    only_small = {"allowed_models": ("small",)}
    small = await served.engine.route(PromptRequest("easy", constraints=only_small))
    assert [one.model for one in (large, small)] == ["large", "small"]
    full = await served.engine.escalate(EscalationRequest(large.decision_id))
    assert "max_concurrent[small]" in full.text
    await served.engine.report(OutcomeReport(small.decision_id, input_tokens=1, output_tokens=1))
    asked = await served.engine.escalate(EscalationRequest(large.decision_id))
    assert asked.decision is not None
    assert served.limits.states()[0].used == 1.0
    told = OutcomeReport(asked.decision.decision_id, input_tokens=1, output_tokens=1)
    booked = ReportResult.COUNTED if spent_from is None else ReportResult.BOOKED
    assert await served.engine.report(told) is booked
    assert served.limits.states()[0].used == 0.0
    at_hand = EscalationRequest(large.decision_id, answered_models=("small",))
    assert (await served.engine.escalate(at_hand)).is_at_hand
    assert served.limits.states()[0].used == 0.0
    await served.engine.close(0.0)


async def test_replay_is_exact_with_limits_and_prices(artifact: Artifact, tmp_path: Path) -> None:
    pool, path = limited(requests_per_minute=3), tmp_path / "decisions.jsonl"
    limits = limits_of(pool)
    assert limits is not None
    async with logged_engine(artifact, path, price=PRICE, pool=pool, limits=limits) as engine:
        requests = [PromptRequest(one) for one in ("else", "hard", "hard", "else", "easy")]
        await outcomes(*map(engine.route, requests))
        terms = limits.pricing._terms
        limits.pricing.in_force = CapacityPrices.of(terms, np.array([1 / 3]))
        await outcomes(*map(engine.route, requests))
        await engine.route_batch(requests, JointConstraints(budget_usd=1.0))
    lines = lines_of(path)
    assert any("limited" in line for line in lines)
    assert any("charges" in line for line in lines)
    again = reproduce(read_logs([path]))
    assert again.decisions == len(lines) == 15
    assert not again.mismatches
    assert not again.findings
