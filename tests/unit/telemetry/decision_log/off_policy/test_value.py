"""Values of another policy by a log: right, honest about their errors, or refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from routoo.config.sections.policy import PolicySettings
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.off_policy.grounds import LineExtras, ValueGrounds
from routoo.telemetry.decision_log.off_policy.value import judge_policy
from routoo.telemetry.decision_log.otherwise import OtherPolicy
from routoo.telemetry.decision_log.reader import read_logs
from support.artifacts.explored_log import COSTS_USD, MEANS, write_explored_log
from support.logged_engine import lines_of, logged_engine

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.predictor.artifact import Artifact
    from routoo.telemetry.decision_log.off_policy.value import OffPolicyValue


def value_of(path: Path, policy: str = "best", **more: Any) -> OffPolicyValue:
    extras = LineExtras.read([path], prompts=False)
    grounds = ValueGrounds.of(read_logs([path]), OtherPolicy(policy), extras.propensities)
    return judge_policy(grounds, policy, **more)


def changed(path: Path, **values: Any) -> Path:
    """The log with fields of its decisions replaced; None takes a field out."""
    lines = []
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        if line["kind"] == "decision":
            line.update(values)
        kept = {name: value for name, value in line.items() if value is not None}
        lines.append(orjson.dumps(kept))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


async def test_the_estimates_cover_what_the_other_policy_is_worth(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=1_500, graded=0.6)
    log, extras = read_logs([path]), LineExtras.read([path], prompts=False)
    grounds = ValueGrounds.of(log, OtherPolicy("best"), extras.propensities)
    truth = float(np.mean([MEANS[name] for name in grounds.others]))
    cost_usd = float(np.mean([COSTS_USD[name] for name in grounds.others]))
    found = judge_policy(grounds, "best")
    assert found.quality.refusal == found.cost_usd.refusal == ""
    for judged, true in ((found.quality, truth), (found.cost_usd, cost_usd)):
        for one in (judged.robust, judged.weighted):
            assert one is not None
            assert one.interval.low <= true <= one.interval.high
            assert one.resampled.low <= one.value <= one.resampled.high
    robust, gain, logged = found.quality.robust, found.quality.gain, found.quality.logged
    assert robust is not None
    assert gain is not None
    assert logged is not None
    assert gain.value == pytest.approx(robust.value - logged.value)
    assert gain.interval.low > 0.0
    assert robust.bounds is not None
    assert robust.bounds.low <= robust.interval.low <= robust.interval.high <= robust.bounds.high
    assert found.cost_usd.robust is not None
    assert found.cost_usd.robust.bounds is None
    assert 0 < found.same < found.decisions == 1_500
    assert abs(found.quality.missing) < 0.15


async def test_grades_of_some_models_more_than_others_do_not_bias(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=1_500)
    rng = np.random.default_rng(5)
    graded = {"small": 0.2, "medium": 1.0, "large": 0.5}
    lines, models = [], {}
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        if line["kind"] == "decision":
            models[line["id"]] = line["model"]
        if line["kind"] != "outcome" or rng.random() < graded[models[line["id"]]]:
            lines.append(orjson.dumps(line))
    path.write_bytes(b"\n".join(lines) + b"\n")
    extras = LineExtras.read([path], prompts=False)
    grounds = ValueGrounds.of(read_logs([path]), OtherPolicy("best"), extras.propensities)
    truth = float(np.mean([MEANS[name] for name in grounds.others]))
    robust = judge_policy(grounds, "best").quality.robust
    assert robust is not None
    assert robust.interval.low <= truth <= robust.interval.high


async def test_the_policy_in_force_is_worth_about_what_was_logged(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", share=0.0)
    found = value_of(path, "")
    assert found.same == found.decisions
    quality = found.quality
    assert quality.refusal == ""
    assert quality.gain is not None
    assert quality.gain.value == pytest.approx(0.0)
    assert quality.weighted is not None
    assert quality.logged is not None
    assert quality.weighted.value == pytest.approx(quality.logged.value)


async def test_a_log_without_exploration_cannot_tell(artifact: Artifact, tmp_path: Path) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", share=0.0, decisions=90)
    found = value_of(path)
    assert "the log explored nothing" in found.quality.refusal
    assert "policy.explore" in found.quality.refusal
    assert found.quality.robust is found.quality.weighted is found.quality.gain is None
    assert found.quality.logged is not None


async def test_turns_of_round_robin_are_no_draws(artifact: Artifact, tmp_path: Path) -> None:
    path, policy = tmp_path / "log", PolicySettings(name="round_robin", offered=["best"])
    async with logged_engine(artifact, path, policy=policy) as engine:
        for _ in range(150):
            decision = await engine.route(PromptRequest("hard"))
            told = OutcomeReport(decision.decision_id, score=MEANS[decision.model], cost_usd=0.001)
            assert await engine.report(told)
    assert {line["model"] for line in lines_of(path)} == set(MEANS)
    assert {line.get("propensity", 1.0) for line in lines_of(path)} == {1.0}
    found = value_of(path)
    assert "the log explored nothing" in found.quality.refusal
    assert found.quality.robust is found.quality.weighted is None


async def test_a_log_that_lost_its_propensities_cannot_tell(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = changed(await write_explored_log(artifact, tmp_path / "log"), propensity=None)
    assert "the log explored nothing" in value_of(path).quality.refusal


async def test_choices_that_were_never_tried_are_refused(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", tried=("small", "medium"))
    refusal = value_of(path).quality.refusal
    assert "never tries what would be chosen instead" in refusal or "had no chance" in refusal


async def test_too_few_grades_are_refused_with_how_many_are_needed(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=200, share=0.2)
    assert "times as many, or explore more" in value_of(path).quality.refusal


async def test_a_log_without_scores_says_how_to_report_them(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=60, graded=0.0)
    assert "routoo report" in value_of(path).quality.refusal


async def test_odd_propensities_are_left_out_and_counted(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=60)
    found = value_of(changed(path, propensity=1.5))
    assert (found.odd, found.decisions) == (60, 0)
    assert "no decision has a model in both ways" in found.quality.refusal


async def test_unknown_propensities_are_left_out(artifact: Artifact, tmp_path: Path) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=60)
    lines = path.read_bytes().splitlines()
    at = next(at for at, line in enumerate(lines) if b'"propensity"' in line)
    line = orjson.loads(lines[at])
    lines[at] = orjson.dumps({**line, "propensity": None})
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = value_of(path)
    assert (found.odd, found.decisions) == (1, 59)


async def test_large_weights_are_left_to_the_model_and_counted(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log")
    found = value_of(path, most_weight=2.0)
    assert found.quality.switched > 0
    assert found.quality.most_weight <= 2.0
    assert "had no chance" in found.quality.refusal


async def test_nothing_in_a_log_counts_twice_or_for_another_tenant(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=60)
    found, plain = value_of(path), path.read_bytes()
    lines = [orjson.loads(line) for line in plain.splitlines()]
    decision, other = [one for one in lines if one["kind"] == "decision"][:2]
    mine, theirs = (
        next(one for one in lines if one["kind"] == "outcome" and one["id"] == each["id"])
        for each in (decision, other)
    )
    more = [
        *(decision, mine, {**mine, "score": 1.0 - mine["score"]}),
        {"kind": "outcome", "id": "never-made-1", "score": 0.5},
    ]
    path.write_bytes(plain + b"".join(orjson.dumps(one) + b"\n" for one in more))
    assert value_of(path) == found
    said = "".join(read_logs([path]).findings)
    for what in (
        "a decision that is in the log already",
        "a report that is in the log already",
        "a second report of one decision, which says something else",
    ):
        assert what in said
    bad = [{**theirs, "tenant": "another"} if one is theirs else one for one in lines]
    bad = [{**mine, "score": 7} if one is mine else one for one in bad]
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in bad))
    log = read_logs([path])
    assert (log.reports[mine["id"]].score, log.reports[mine["id"]].cost_usd) == (
        None,
        mine["cost_usd"],
    )
    assert other["id"] not in log.reports
    assert "another tenant's decision" in "".join(log.findings)


async def test_a_grade_joins_the_usage_that_was_reported_before(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = await write_explored_log(artifact, tmp_path / "log", decisions=40)
    found, lines = value_of(path), []
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        grade = {"kind": "outcome", "id": line.get("id"), "score": line.get("score")}
        apart = [{**line, "score": None}, grade] if line["kind"] == "outcome" else [line]
        lines += [orjson.dumps(one) for one in apart]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert value_of(path) == found
