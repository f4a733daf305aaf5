"""Decisions among arms are logged by their names, and replayed to the same decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.errors import InvalidRequestError
from routoo.routing.escalation import EscalationRequest
from routoo.routing.joint import JointConstraints
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.selector.policies.best import Best
from routoo.tariffs.usage import Usage
from routoo.telemetry.decision_log.otherwise import OtherService
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from support.logged_engine import lines_of, logged_engine
from support.tiny_engine import outcomes
from support.tiny_money import hourly, spending
from support.tiny_pool import armed_pool, tiny_pool

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.predictor.artifact import Artifact

ASKED = [
    PromptRequest("easy"),
    PromptRequest("hard", api="chat", effort="high", service_tier="priority"),
    PromptRequest("hard long", api="completions", max_output_tokens=30),
    PromptRequest("long", api="messages", max_output_tokens=400, forbids_thinking=True),
    PromptRequest("hard", constraints={"allowed_models": ("medium",)}, effort="minimal"),
    PromptRequest("hard", constraints={"denied_models": ("large@whole", "small")}),
    PromptRequest("hard", constraints={"max_cost_usd": 0.002}, answers=2),
    PromptRequest("hard", constraints={"min_score": 1.0}),
]


async def test_single_and_joint_decisions_come_out_the_same(
    artifact: Artifact, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    budgets = spending(hourly(1.0))
    async with logged_engine(
        artifact, log, pool=armed_pool(), price=30.0, spent_from=budgets
    ) as engine:
        found = await outcomes(*map(engine.route, ASKED))
        together = [*ASKED[:3], PromptRequest("long")] * 3
        caps = JointConstraints(
            budget_usd=0.1, max_requests={"large": 2.0}, max_tokens={"medium": 9000.0}
        )
        await engine.route_batch(together, caps)
        answered = found[0]
        usage = Usage(10, 10, model=answered.model)
        await engine.report(OutcomeReport(answered.decision_id, usage=usage))
    read = read_logs([log])
    again = reproduce(read)
    assert (again.decisions, again.joint_batches) == (len(ASKED) + len(together), 1)
    assert not again.mismatches
    assert not again.findings
    lines = lines_of(log)
    assert "large@short" in {line["model"] for line in lines}
    assert lines[1]["effort"] == "high"
    assert lines[3]["forbids_thinking"]


async def test_another_policy_decides_among_the_arms_of_the_log(
    artifact: Artifact, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    pool = armed_pool()
    async with logged_engine(artifact, log, pool=pool, price=3000.0) as engine:
        await outcomes(*map(engine.route, ASKED[:6]))
    best = what_if(read_logs([log]), OtherService(Best(), pool, 1.0, "other")).as_instead
    assert best.decided == 6
    assert best.models["small"] == 0


async def test_a_pool_without_arms_logs_nothing_of_them(artifact: Artifact, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with logged_engine(artifact, log, pool=tiny_pool()) as engine:
        await outcomes(engine.route(ASKED[1]))
    assert {"api", "effort", "arms"}.isdisjoint(lines_of(log)[0])
    (setup,) = lines_of(log, "setup")
    assert all({"arms", "default_effort"}.isdisjoint(one) for one in setup["models"])


@pytest.mark.parametrize("name", ["medium", "medium@low"])
async def test_answers_at_hand_are_named_by_arm(
    artifact: Artifact, tmp_path: Path, name: str
) -> None:
    async with logged_engine(artifact, tmp_path / "log", pool=armed_pool()) as engine:
        (first,) = await outcomes(engine.route(PromptRequest("hard")))
        request = EscalationRequest(first.decision_id, answered_models=(name,))
        if name == "medium":
            with pytest.raises(InvalidRequestError, match="several arms; name one of medium@low"):
                await engine.escalate(request)
            return
        found = await engine.escalate(request)
        assert found.decision is not None
        assert found.decision.name != first.name
