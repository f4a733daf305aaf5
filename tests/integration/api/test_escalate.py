"""Escalate over a real channel, with a rule from a file and a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml

from routoo.client import AsyncRouterClient
from routoo.v1 import outcome_pb2, route_pb2
from support.tiny_service import batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.tiny_service import Running

RULE = {
    "format_version": 1,
    "predictor_version": "tiny-1",
    "corrections": [
        {
            "signal": signal,
            "answered_by": "small",
            "centre": centre,
            "models": {
                "small": {"intercept": 0.0, "slope": slope},
                "large": {"intercept": 0.0, "slope": 0.0},
            },
        }
        for signal, centre, slope in (
            ("agreement", 0.5, 8.0),
            ("margin", 0.5, 8.0),
            ("logprobs", -1.0, 8.0),
            ("check", 0.0, 2.0),
        )
    ],
}


def settings_with_rule(folder: Path, **overrides: Any) -> Any:
    path = folder / "rule.yaml"
    path.write_text(yaml.safe_dump(RULE))
    return tiny_settings(folder, policy={"cascade": path}, **overrides)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(settings_with_rule(tmp_path)) as service:
        yield service


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"agreement": 0.0}, {"agreement": 1.0}),
        ({"margin": 0.0}, {"margin": 1.0}),
        ({"logprobs": [-2.0, -3.0]}, {"logprobs": [-0.1, 0.0]}),
        ({"check": 0.01}, {"check": 0.99}),
    ],
)
async def test_a_weak_answer_is_escalated_and_a_strong_one_kept(
    running: Running, low: dict[str, Any], high: dict[str, Any]
) -> None:
    decision = await running.route("easy")
    assert decision.model == "small"
    async with AsyncRouterClient(running.service.address) as client:
        kept = await client.escalate(decision.decision_id, **high)
        asked = await client.escalate(decision.decision_id, **low)
    assert not kept.HasField("response")
    assert kept.kept_score > asked.kept_score
    assert asked.response.model == "large"
    assert asked.response.reason.rule == route_pb2.RULE_ESCALATED
    assert asked.response.predicted_score == pytest.approx(asked.kept_score + asked.expected_gain)
    assert asked.response.predicted_cost_usd == asked.extra_cost_usd > 0.0
    assert asked.price == decision.shadow_price
    assert asked.response.timing.predict_ns == 0


async def test_what_is_wrong_is_named(running: Running) -> None:
    decision_id = (await running.route("easy")).decision_id
    for fields, text in (
        ({}, "decision_id: is empty; name the decision to escalate"),
        ({"decision_id": decision_id, "agreement": 1.5}, "agreement: is 1.5; it has to be in"),
        ({"decision_id": decision_id, "min_score": 2.0}, "min_score: 2.0 is above 1"),
        (
            {"decision_id": decision_id, "logprobs": outcome_pb2.TokenLogprobs()},
            "logprobs: has to be a list of finite numbers of at most 0",
        ),
    ):
        code, said = await refusal(
            running.stub.Escalate(outcome_pb2.EscalateRequest(**fields))  # type: ignore[arg-type]
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert said.startswith(text)


async def test_an_escalation_is_of_its_own_session_and_adds_to_its_cost(tmp_path: Path) -> None:
    async with serving(settings_with_rule(tmp_path)) as running:

        async def spent(session: str) -> float:
            reply = await running.route("easy", session_id=session)
            return reply.session_spent_usd

        batch = batch_of(["easy", "easy", "easy"])
        for request, session in zip(batch.requests, ("one", "two", "three"), strict=True):
            request.session_id, request.current_model = session, "small"
        first, second, third = (await running.stub.RouteBatch(batch)).responses

        async def escalated(decision: route_pb2.RouteResponse) -> route_pb2.RouteResponse:
            request = outcome_pb2.EscalateRequest(decision_id=decision.decision_id, agreement=0.0)
            return (await running.stub.Escalate(request)).response

        predicted, reported = await escalated(second), await escalated(third)
        report = outcome_pb2.ReportOutcomeRequest(decision_id=reported.decision_id, cost_usd=0.001)
        assert (await running.stub.ReportOutcome(report)).accepted
        assert await spent("one") == pytest.approx(first.predicted_cost_usd)
        both_usd = second.predicted_cost_usd + predicted.predicted_cost_usd
        assert await spent("two") == pytest.approx(both_usd)
        assert await spent("three") == pytest.approx(third.predicted_cost_usd + 0.001)


async def test_a_decision_that_is_not_open_is_a_failed_precondition(running: Running) -> None:
    code, said = await refusal(
        running.stub.Escalate(outcome_pb2.EscalateRequest(decision_id="x", agreement=1.0))
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is not open here" in said


async def test_what_escalations_cost_is_booked_and_what_is_not_there_is_not_spent(
    tmp_path: Path,
) -> None:
    # On this prompt, large costs 0.0008 USD and small a hundredth of it, so one escalation fits.
    budget = {"name": "everyone", "usd": 0.0012, "per": "30d", "on_exhausted": "refuse"}
    settings = settings_with_rule(tmp_path, budgets=[budget])
    async with serving(settings) as running:
        decision = await running.route("easy", allowed_models=["small", "large"])
        request = outcome_pb2.EscalateRequest(decision_id=decision.decision_id, agreement=0.0)
        first = await running.stub.Escalate(request)
        replies = [await running.stub.Escalate(request) for _ in range(5)]
        (state, _price), *_ = await running.service.engine.budgets()
    assert first.response.model == "large"
    assert not replies[-1].HasField("response")
    assert "budget everyone" in replies[-1].reason
    assert "the answer at hand is kept" in replies[-1].reason
    asked = [first, *(one for one in replies if one.HasField("response"))]
    spent = decision.predicted_cost_usd + sum(one.extra_cost_usd for one in asked)
    assert state.reserved_usd == pytest.approx(spent)
    assert state.reserved_usd <= budget["usd"]


async def test_a_plan_names_the_second_model_to_ask(tmp_path: Path) -> None:
    agreement = {
        "signal": "agreement",
        "answered_by": "small",
        "beside": "medium",
        "centre": 0.5,
        "models": {
            "small": {"intercept": 0.0, "slope": 8.0},
            "medium": {"intercept": 0.0, "slope": 8.0},
            "large": {"intercept": 0.0, "slope": 0.0},
        },
        "chance": {"intercept": 0.0, "answered_by": 0.5, "beside": 0.5},
    }
    path = tmp_path / "rule.yaml"
    path.write_text(yaml.safe_dump({**RULE, "corrections": [agreement]}))
    policy = {"cascade": path, "name": "cascade", "offered": ["cheapest"]}
    async with serving(tiny_settings(tmp_path, policy=policy)) as running:
        begun = await running.route("hard")
        assert (begun.reason.rule, begun.model) == (route_pb2.RULE_CASCADE, "small")
        assert begun.second_model == "medium"
        alone = await running.route("hard", policy="cheapest")
        assert not alone.HasField("second_model")
        async with AsyncRouterClient(running.service.address) as client:
            kept = await client.escalate(begun.decision_id, agreement=1.0)
            asked = await client.escalate(
                begun.decision_id, agreement=0.0, answered_models=["medium"]
            )
        assert kept.second_model == asked.second_model == "medium"
        assert asked.response.model == "large"
        assert not asked.response.HasField("second_model")
        # A batch is kept in parts, each with its own second models.
        batch = await running.batch(["easy"] * 600 + ["hard"])
        last = batch.responses[-1]
        assert last.second_model == "medium"
        async with AsyncRouterClient(running.service.address) as client:
            kept = await client.escalate(last.decision_id, agreement=1.0)
        assert kept.second_model == "medium"
