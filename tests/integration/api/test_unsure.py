"""The setting ``policy.unsure``: prompts that the predictor does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.errors import ConfigError
from routoo.predictor.artifact import load_artifact
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.otherwise import OtherPolicy, OtherService
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from routoo.v1 import route_pb2
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.logged_engine import lines_of, rewritten
from support.tiny_service import serving, table_settings, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

UNSURE = {"ood_above": 0.95, "confidence_below": 0.6, "choose": "medium"}
SURE, STRANGE, UNCLEAR = "code", "code strange", "code and math"


def policy(**unsure: Any) -> dict[str, Any]:
    return {"name": "best", "unsure": {**UNSURE, **unsure}}


def counted(running: Running, name: str, **labels: str) -> float:
    return running.service.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_model_answers_what_is_not_known(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path, policy=policy())) as running:
        for prompt, model, rule in (
            (SURE, "large", route_pb2.RULE_BEST_SCORE),
            (STRANGE, "medium", route_pb2.RULE_UNSURE),
            (UNCLEAR, "medium", route_pb2.RULE_UNSURE),
        ):
            reply = await running.route(prompt)
            assert (reply.model, reply.reason.rule) == (model, rule)
        assert "unsure" in reply.reason.text
        # A named task is clear.
        assert (await running.route(UNCLEAR, task="code")).model == "large"
        together = await running.batch([SURE, STRANGE, UNCLEAR])
        assert [one.model for one in together.responses] == ["large", "medium", "medium"]
        assert counted(running, "routoo_unsure_prompts_total") == 4
        assert counted(running, "routoo_decision_reasons_total", reason="unsure") == 4


async def test_a_model_that_is_not_eligible_leaves_the_choice_to_the_policy(
    tmp_path: Path,
) -> None:
    async with serving(table_settings(tmp_path, policy=policy())) as running:
        reply = await running.route(STRANGE, denied_models=["medium"])
        assert (reply.model, reply.reason.rule) == ("large", route_pb2.RULE_BEST_SCORE)
        reply = await running.route(STRANGE, allowed_models=["medium"])
        assert (reply.model, reply.reason.rule) == ("medium", route_pb2.RULE_ONLY_ELIGIBLE)


@pytest.mark.parametrize(
    ("unsure", "moved"),
    [
        ({"confidence_below": None}, {STRANGE}),
        ({"ood_above": None}, {UNCLEAR}),
        ({"ood_above": 0.0, "confidence_below": 0.4}, {STRANGE}),
    ],
)
async def test_each_threshold_alone(
    tmp_path: Path, unsure: dict[str, Any], moved: set[str]
) -> None:
    async with serving(table_settings(tmp_path, policy=policy(**unsure))) as running:
        for prompt in (SURE, STRANGE, UNCLEAR):
            reply = await running.route(prompt)
            assert (reply.reason.rule == route_pb2.RULE_UNSURE) is (prompt in moved)


async def test_mean_scores_decide_what_is_not_known(tmp_path: Path) -> None:
    settings = table_settings(tmp_path, policy=policy(choose="shrink"))
    sample = load_artifact(tmp_path / "predictor").calibration_sample()
    means = np.round(sample.scores.mean(axis=0), 4)
    async with serving(settings) as running:
        reply = await running.route("strange", explain=True)
        assert {one.model: one.predicted_score for one in reply.candidates} == {
            name: pytest.approx(mean, abs=1e-9)
            for name, mean in zip(("small", "medium", "large"), means[:3].tolist(), strict=True)
        }
        # Small is the best in chats, large on average.
        assert (reply.model, reply.reason.rule) == ("large", route_pb2.RULE_UNSURE)
        assert (await running.route("hello")).model == "small"
        # Constraints and the batch's program see the means, too.
        floor = await running.route("strange", min_score=float(means[1]) - 0.01)
        assert "min_score" in floor.reason.binding_constraints
        batch = await running.batch(["strange", "hello"], budget_usd=1.0)
        assert [one.model for one in batch.responses] == ["large", "small"]


@pytest.mark.parametrize("choose", ["medium", "shrink"])
async def test_replay_is_exact(tmp_path: Path, choose: str) -> None:
    log = tmp_path / "log"
    settings = table_settings(
        tmp_path,
        policy={**policy(choose=choose), "offered": ["lp"]},
        decision_log={"path": log},
    )
    async with serving(settings) as running:
        for prompt in ("hello", SURE, STRANGE, UNCLEAR, "strange"):
            for name in ("best", "lp"):
                await running.route(prompt, policy=name)
        await running.route(STRANGE, denied_models=["medium"])
        await running.batch([SURE, STRANGE, "hello"], budget_usd=1.0, score_std_weight=0.5)
    lines = lines_of(log)
    assert [line.get("unsure", False) for line in lines[:10:2]] == [False, False, True, True, True]
    assert lines[4]["task"] == "code"
    assert (lines[4]["task_confidence"], lines[4]["ood"]) == (1.0, 1.0)
    assert lines[4]["evidence"] == [100.0, 50.0, 200.0]
    assert len(lines[4]["score_std"]) == 3
    again = reproduce(read_logs([log]))
    assert (again.decisions, again.joint_batches, again.mismatches) == (14, 1, [])
    # A figure that would have made the prompt known makes another decision.
    changed = rewritten(log, ood=lambda _line: 0.0, task_confidence=lambda _line: 1.0)
    assert {one.what for one in reproduce(changed).mismatches} >= {"reason"}


async def test_what_another_policy_would_do_keeps_the_rule(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = table_settings(tmp_path, policy=policy(), decision_log={"path": log})
    async with serving(settings) as running:
        for prompt in ("hello", STRANGE, UNCLEAR):
            await running.route(prompt)
    logged = read_logs([log])
    found = what_if(logged, OtherPolicy("cheapest"))
    assert found.as_instead.models == {"small": 1, "medium": 2, "large": 0}
    other = load_components(table_settings(tmp_path, policy={"name": "best"}))
    without = OtherService(other.policies.in_force, other.pool, 0.0, "other.yaml")
    assert what_if(logged, without).as_instead.models == {"small": 1, "medium": 0, "large": 2}


@pytest.mark.parametrize(
    ("unsure", "piece"),
    [
        ({"choose": "huge"}, "policy.unsure.choose"),
        ({"ood_above": None, "confidence_below": None}, "ood_above or confidence_below"),
        ({"ood_above": 1.5}, "policy.unsure.ood_above"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    tmp_path: Path, unsure: dict[str, Any], piece: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_components(table_settings(tmp_path, policy=policy(**unsure)))
    assert piece in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_promise_and_a_rule_that_would_break_it_are_refused(tmp_path: Path) -> None:
    guarantee = {"reference": "large", "max_drop": 0.1, "labels": tmp_path / "labels.jsonl"}
    with pytest.raises(ConfigError, match="policy guarantee has proven"):
        table_settings(tmp_path, policy={**policy(), "name": "guarantee", "guarantee": guarantee})


@pytest.mark.parametrize(
    ("uncertain", "unsure", "piece"),
    [
        (False, {"confidence_below": None}, "policy.unsure.ood_above: the predictor does not tell"),
        (True, {"ood_above": None}, "policy.unsure.confidence_below: the predictor does not tell"),
        (True, {}, "tasks apart"),
    ],
)
def test_a_predictor_that_does_not_tell_is_refused(
    tmp_path: Path, *, uncertain: bool, unsure: dict[str, Any], piece: str
) -> None:
    write_tiny_artifact(tmp_path / "predictor", uncertain=uncertain)
    with pytest.raises(ConfigError) as caught:
        load_components(tiny_settings(tmp_path, policy=policy(**unsure)))
    assert piece in str(caught.value)
    assert "\n" not in str(caught.value)
