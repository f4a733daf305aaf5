"""Decisions name whom to ask next, and what is reserved covers whom they name."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from routoo.config.sections.policy import FallbackSettings, PolicySettings
from routoo.predictor.artifact import load_artifact
from routoo.routing.escalation import EscalationRequest
from routoo.routing.joint import JointConstraints
from routoo.routing.outcome import OutcomeReport, ReportResult
from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.logged_engine import lines_of, logged_engine, rewritten
from support.tiny_engine import make_engine
from support.tiny_money import hourly, spending
from support.tiny_pool import LARGE, MEDIUM, SMALL, armed_pool, pool_of
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact
    from routoo.routing.decision import Decision

# One word in, 200 tokens out.
LARGE_USD, MEDIUM_USD, SMALL_USD = 0.00601, 0.000401, 0.0000401


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


@asynccontextmanager
async def running(artifact: Artifact, **engine: Any) -> AsyncIterator[Engine]:
    made = make_engine(artifact, **engine)
    try:
        yield made
    finally:
        await made.close(HANG_S)


def of(**settings: Any) -> PolicySettings:
    return PolicySettings(fallbacks=FallbackSettings(**settings), offered=("cheapest",))


def asked(**more: Any) -> PromptRequest:
    return PromptRequest("hard", **more)


def names(decision: Decision) -> list[str]:
    return [one.name for one in decision.fallbacks()]


async def reserved_usd(engine: Engine) -> float:
    return (await engine.budgets())[0][0].reserved_usd


async def test_the_next_best_at_the_price_are_named_with_their_figures(artifact: Artifact) -> None:
    async with running(artifact) as engine:
        decision = await engine.route(asked(explain=True))
    assert decision.model == "medium"
    assert names(decision) == ["large", "small"]
    candidates = {one.model: one for one in decision.candidates()}
    for one in decision.fallbacks():
        known = candidates[one.model]
        assert (one.score, one.cost_usd, one.latency_ms) == (
            known.score,
            known.cost_usd,
            known.latency_ms,
        )


async def test_other_providers_come_first(artifact: Artifact) -> None:
    pool = pool_of(
        {**SMALL, "provider": "b"}, {**MEDIUM, "provider": "a"}, {**LARGE, "provider": "a"}
    )
    async with running(artifact, pool=pool) as engine:
        assert names(await engine.route(asked())) == ["small", "large"]
    pool = pool_of(*({**one, "provider": "a"} for one in (SMALL, MEDIUM, LARGE)))
    async with running(artifact, pool=pool) as engine:
        assert names(await engine.route(asked())) == ["large", "small"]


async def test_of_a_model_s_arms_others_models_go_first(artifact: Artifact) -> None:
    async with running(artifact, pool=armed_pool(), policy=of(count=16)) as engine:
        decision = await engine.route(asked())
    found = names(decision)
    same = [one for one in found if one.startswith(f"{decision.model}@")]
    assert len(found) == 6
    assert found[-len(same) :] == same
    assert {one.arm.name for one in decision.fallbacks() if one.arm is not None} >= {"whole"}


@pytest.mark.parametrize(
    ("constraints", "left"),
    [
        ({"denied_models": ("large",)}, ["small"]),
        ({"allowed_models": ("medium",)}, []),
        ({"max_cost_usd": 0.001}, ["small"]),
        ({"required_capabilities": ("tools",)}, ["large"]),
    ],
)
async def test_fallbacks_keep_the_request_s_constraints(
    artifact: Artifact, constraints: dict[str, Any], left: list[str]
) -> None:
    async with running(artifact) as engine:
        decision = await engine.route(asked(constraints=constraints))
    assert decision.model == "medium"
    assert names(decision) == left
    longest = [one.max_output_tokens for one in decision.fallbacks()]
    assert all((one is not None) == ("max_cost_usd" in constraints) for one in longest)


async def test_how_many_and_a_pool_of_one(artifact: Artifact) -> None:
    async with running(artifact, policy=of(count=1)) as engine:
        assert names(await engine.route(asked())) == ["large"]
    async with running(artifact, policy=of(count=0)) as engine:
        assert names(await engine.route(asked())) == []
    async with running(artifact, pool=pool_of(MEDIUM)) as engine:
        assert names(await engine.route(asked())) == []


async def test_a_budget_covers_what_is_offered(artifact: Artifact) -> None:
    """Only what the reservation covers is offered, or the reservation is raised to it."""
    async with running(artifact, spent_from=spending(hourly(1.0))) as engine:
        assert names(await engine.route(asked())) == ["small"]
        assert await reserved_usd(engine) == pytest.approx(MEDIUM_USD)
        assert names(await engine.route(asked(retried=True))) == ["large", "small"]
        assert await reserved_usd(engine) == pytest.approx(MEDIUM_USD + LARGE_USD)
    async with running(
        artifact, spent_from=spending(hourly(1.0)), policy=of(reserve="most")
    ) as engine:
        assert names(await engine.route(asked())) == ["large", "small"]
        assert await reserved_usd(engine) == pytest.approx(LARGE_USD)


async def test_a_budget_that_does_not_pay_for_the_fallback_pays_for_the_choice(
    artifact: Artifact,
) -> None:
    async with running(artifact, spent_from=spending(hourly(2.5 * MEDIUM_USD))) as engine:
        for _ in range(2):
            decision = await engine.route(asked(retried=True))
            assert (decision.model, names(decision)) == ("medium", ["small"])
        decision = await engine.route(asked(retried=True))
        assert (decision.model, names(decision)) == ("small", [])


async def test_tenants_without_a_budget_are_offered_all(artifact: Artifact) -> None:
    async with running(artifact, spent_from=spending(hourly(1.0, tenant="paid"))) as engine:
        assert names(await engine.route(asked(tenant="paid"))) == ["small"]
        assert names(await engine.route(asked(tenant="other"))) == ["large", "small"]


async def test_the_answer_of_a_fallback_is_booked_in_place_of_the_reservation(
    artifact: Artifact,
) -> None:
    async with running(artifact, spent_from=spending(hourly(1.0))) as engine:
        decision = await engine.route(asked(retried=True))
        told = OutcomeReport(
            decision.decision_id, model="large", input_tokens=100, output_tokens=100
        )
        assert await engine.report(told) is ReportResult.BOOKED
        assert await engine.report(told) is ReportResult.REPORTED_BEFORE
        state = (await engine.budgets())[0][0]
        assert state.reserved_usd == 0.0
        assert state.settled_usd == pytest.approx(0.004)


@pytest.mark.parametrize("budget", [None, 1.0, 0.0012])
async def test_the_log_replays_them(artifact: Artifact, tmp_path: Path, budget: float) -> None:
    money = None if budget is None else spending(hourly(budget))
    async with logged_engine(artifact, tmp_path / "log", spent_from=money) as engine:
        await asyncio.gather(
            *(
                engine.route(asked(retried=retried, constraints=constraints))
                for retried in (False, True)
                for constraints in ({}, {"denied_models": ("small",)}, {"max_cost_usd": 0.001})
            ),
            return_exceptions=True,
        )
        await engine.route_batch([asked(), PromptRequest("easy")], JointConstraints())
    log = read_logs([tmp_path / "log"])
    assert reproduce(log).mismatches == []
    assert any(line["fallbacks"] for line in lines_of(tmp_path / "log"))
    changed = rewritten(tmp_path / "log", fallbacks=lambda line: line["fallbacks"][:-1])
    assert {one.what for one in reproduce(changed).mismatches} == {"fallbacks"}


async def test_batches_name_them_at_their_own_price(artifact: Artifact) -> None:
    async with running(artifact) as engine:
        many = [replace(asked(), request_id=str(row)) for row in range(1100)]
        within = JointConstraints(budget_usd=1100 * 0.003)
        decided = await engine.route_batch(many, within)
    for decision in decided.decisions:
        assert sorted([decision.model, *names(decision)]) == ["large", "medium", "small"]


async def test_what_is_asked_after_an_answer_has_no_fallbacks_of_other_requests(
    artifact: Artifact,
) -> None:
    async with running(artifact) as engine:
        first, second = await asyncio.gather(
            engine.route(PromptRequest("easy")), engine.route(asked(explain=True))
        )
        assert names(first) != names(second) == ["large", "small"]
        asking = await engine.escalate(EscalationRequest(second.decision_id))
    assert asking.decision is not None
    assert names(asking.decision) == []
