"""The engine weighs an answer, and keeps it or names the next model to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.errors import InvalidRequestError, NoRuleError, UnknownDecisionError
from routoo.predictor.artifact import load_artifact
from routoo.routing.escalation import EscalationRequest
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.selector.cascade import Correction, Rule
from routoo.selector.reason import Reason
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.engine.engine import Engine
    from routoo.routing.decision import Decision

SMALL, MEDIUM, LARGE = range(3)
# For the signal "agreement" of small: without agreement, small's score is near 0 and large's score
# does not change. Nothing is known of medium.
RULE = Rule(
    {
        ("agreement", SMALL): Correction(
            0.5, np.array([0.0, np.nan, 0.0]), np.array([8.0, np.nan, 0.0])
        )
    }
)
AGREE, DIFFER = (("agreement", one) for one in (1.0, 0.0))


def ruled(folder: Path, *, rule: Rule | None = RULE, price: float = 10.0) -> Engine:
    artifact = load_artifact(write_tiny_artifact(folder / "predictor"))
    return make_engine(artifact, price=price, rule=rule)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = ruled(tmp_path)
    yield engine
    await engine.close(HANG_S)


async def small_decision(engine: Engine, request_id: str = "", **fields: object) -> Decision:
    """Routes an easy prompt, for which small is as good as the others."""
    decision = await engine.route(PromptRequest.of("easy", fields, request_id=request_id))
    assert decision.model == "small"
    return decision


async def test_an_answer_that_agrees_is_kept(engine: Engine) -> None:
    decision = await small_decision(engine)

    found = await engine.escalate(EscalationRequest(decision.decision_id, AGREE))

    assert found.decision is None
    assert (found.gain, found.extra_cost_usd, found.price) == (0.0, 0.0, 10.0)
    assert found.kept_score > 0.99
    assert "no model is expected to beat the answer at hand" in found.text


async def test_an_answer_that_differs_is_escalated_by_a_decision_of_its_own(
    engine: Engine,
) -> None:
    decision = await small_decision(engine, request_id="mine")

    found = await engine.escalate(EscalationRequest(decision.decision_id, DIFFER))

    new = found.decision
    assert new is not None
    # Nothing is known of medium, which would be cheaper.
    assert new.model == "large"
    assert new.request_id == "mine"
    assert new.decision_id != decision.decision_id
    assert new.batch.reasons == [Reason.ESCALATED]
    assert new.batch.scores == [pytest.approx(0.875)]
    assert found.gain == pytest.approx(0.875 - found.kept_score)
    assert found.extra_cost_usd == decision.batch.estimates.costs_usd[decision.row, LARGE]
    assert "large is expected to score" in found.text
    assert new.candidates()[0].model == "large"
    assert await engine.report(OutcomeReport(new.decision_id, score=1.0))
    assert await engine.report(OutcomeReport(decision.decision_id, score=0.0))


async def test_a_gain_that_is_not_worth_the_price_is_left(tmp_path: Path) -> None:
    engine = ruled(tmp_path, price=1e6)
    decision = await small_decision(engine)
    found = await engine.escalate(EscalationRequest(decision.decision_id, DIFFER))
    assert found.decision is None
    await engine.close(HANG_S)


async def test_an_answer_at_hand_costs_nothing_more(tmp_path: Path) -> None:
    engine = ruled(tmp_path, price=1e6)
    decision = await small_decision(engine)
    found = await engine.escalate(
        EscalationRequest(decision.decision_id, DIFFER, answered_models=("large",))
    )
    assert found.decision is not None
    assert (found.decision.model, found.extra_cost_usd) == ("large", 0.0)
    await engine.close(HANG_S)


async def test_without_a_signal_the_answer_is_worth_nothing(engine: Engine) -> None:
    decision = await small_decision(engine)
    found = await engine.escalate(EscalationRequest(decision.decision_id))
    assert found.decision is not None
    assert (found.decision.model, found.kept_score) == ("medium", 0.0)


async def test_it_can_be_escalated_again(engine: Engine) -> None:
    decision = await small_decision(engine)
    first = await engine.escalate(EscalationRequest(decision.decision_id))
    assert first.decision is not None
    second = await engine.escalate(EscalationRequest(first.decision.decision_id))
    assert second.decision is not None
    # Small's answer was of no use before, so the next model is not small again.
    assert second.decision.model == "large"


@pytest.mark.parametrize(
    ("limits", "constraint"),
    [({"max_cost_usd": 1e-9}, "max_cost_usd"), ({"min_score": 0.99}, "min_score")],
)
async def test_limits_of_the_next_answer_are_kept(
    engine: Engine, limits: dict[str, float], constraint: str
) -> None:
    decision = await small_decision(engine)
    request = EscalationRequest(decision.decision_id, DIFFER, **limits)  # type: ignore[arg-type]
    assert (await engine.escalate(request)).decision is None


async def test_a_limit_that_removes_a_model_is_named(engine: Engine) -> None:
    decision = await small_decision(engine)
    costs = decision.batch.estimates.costs_usd[decision.row]
    between = float(costs[MEDIUM] + costs[LARGE]) / 2
    found = await engine.escalate(EscalationRequest(decision.decision_id, max_cost_usd=between))
    assert found.decision is not None
    removed = {one.model: one.removed_by for one in found.decision.candidates()}
    assert removed == {"medium": "", "small": "", "large": "max_cost_usd"}


async def test_the_requests_own_constraints_stay(engine: Engine) -> None:
    decision = await small_decision(engine, denied_models=("large",), constrained=True)
    found = await engine.escalate(EscalationRequest(decision.decision_id, DIFFER))
    assert found.decision is None


async def test_what_cannot_be_weighed_is_refused(engine: Engine) -> None:
    decision = await small_decision(engine)
    with pytest.raises(UnknownDecisionError, match="decision 'x' is not open here"):
        await engine.escalate(EscalationRequest("x", AGREE))
    with pytest.raises(NoRuleError, match="margin of small; it knows agreement of small"):
        await engine.escalate(EscalationRequest(decision.decision_id, ("margin", 0.5)))
    with pytest.raises(InvalidRequestError, match="answered_models: unknown model 'tiny'"):
        await engine.escalate(
            EscalationRequest(decision.decision_id, AGREE, answered_models=("tiny",))
        )


async def test_a_signal_without_a_rule_is_refused_with_the_remedy(tmp_path: Path) -> None:
    engine = ruled(tmp_path, rule=None)
    decision = await small_decision(engine)
    with pytest.raises(NoRuleError, match="or send no signal"):
        await engine.escalate(EscalationRequest(decision.decision_id, AGREE))
    assert (await engine.escalate(EscalationRequest(decision.decision_id))).decision is not None
    await engine.close(HANG_S)
