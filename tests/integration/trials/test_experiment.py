"""An experiment: arms by hash, intervals at all times, and a candidate that is found worse."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.errors import ConfigError
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2, route_pb2, trials_pb2
from support.artifacts.tiny_artifact import SCORES, change_manifest, write_tiny_artifact
from support.logged_engine import lines_of
from support.tiny_service import serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running


def settings_of(folder: Path, **experiment: Any) -> Settings:
    """Settings in which the cheapest model is tried against the best one."""
    values = {
        "name": "cheap",
        "candidate": "cheapest",
        "share": 0.5,
        "path": folder / "experiment.json",
        **experiment,
    }
    return tiny_settings(
        folder,
        policy={"name": "best", "offered": ["cheapest"]},
        experiment=values,
        decision_log={"path": folder / "log.jsonl"},
    )


async def stream(
    running: Running, n: int, scores: dict[str, float], **fields: Any
) -> list[route_pb2.RouteResponse]:
    """Routes n prompts and grades each answer by the arm."""
    replies = []
    for _ in range(n):
        reply = await running.route("hard", **fields)
        arm = reply.experiment_arm.rpartition("/")[2]
        if arm in scores:
            await running.stub.ReportOutcome(
                outcome_pb2.ReportOutcomeRequest(
                    decision_id=reply.decision_id,
                    score=scores[arm],
                    cost_usd=reply.predicted_cost_usd,
                )
            )
        replies.append(reply)
    return replies


async def report(running: Running) -> trials_pb2.Experiment:
    info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
    return info.experiment


async def test_the_arms_are_named_counted_logged_and_replayed(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path, on_worse="keep")) as running:
        replies = await stream(running, 60, {"control": 0.9, "candidate": 0.9})
        own = await running.route("hard", policy="cheapest")
        assert own.experiment_arm == ""  # it names its policy
        by_arm = {
            arm: [one for one in replies if one.experiment_arm == f"cheap@cheapest/{arm}"]
            for arm in ("control", "candidate")
        }
        assert sum(map(len, by_arm.values())) == 60
        assert {one.model for one in by_arm["control"]} == {"large"}
        assert {one.model for one in by_arm["candidate"]} == {"small"}
        found = await report(running)
        assert found.control.decisions == found.control.graded == len(by_arm["control"])
        assert found.candidate_arm.booked == len(by_arm["candidate"])
        assert found.score_difference.low <= 0.0 <= found.score_difference.high
    logged = [line["trial"] for line in lines_of(tmp_path / "log.jsonl") if "trial" in line]
    assert sorted(logged) == sorted(one.experiment_arm for one in replies)
    assert not reproduce(read_logs([tmp_path / "log.jsonl"])).mismatches


async def test_a_worse_candidate_decides_nothing_any_more(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    async with serving(settings) as running:
        await stream(running, 200, {"control": 0.9, "candidate": 0.3})
        found = await report(running)
        assert (found.verdict, found.reverted) == ("worse", True)
        assert found.score_difference.high < -0.01
        assert {one.model for one in await stream(running, 20, {})} == {"large"}
        assert any("the candidate is worse" in one["event"] for one in running.logs)
        registry = running.service.metrics.registry
        assert registry.get_sample_value("routoo_experiment_reverted") == 1.0
    async with serving(settings) as running:  # a restart does not try it again
        assert (await report(running)).reverted
        assert {one.model for one in await stream(running, 20, {})} == {"large"}


async def test_a_cheaper_candidate_that_is_as_good_is_better(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, margin=0.1, max_cost_usd=0.01)
    async with serving(settings) as running:
        await stream(running, 400, {"control": 0.9, "candidate": 0.9})
        assert (await report(running)).verdict == "better"


@pytest.mark.parametrize(("by", "field"), [("tenant", "tenant"), ("session", "session_id")])
async def test_a_unit_stays_with_its_arm(tmp_path: Path, by: str, field: str) -> None:
    sessions = {"enabled": True} if by == "session" else {}
    plain = settings_of(tmp_path, by=by)
    settings = plain.model_copy(
        update={"sessions": plain.sessions.model_copy(update=sessions)} if sessions else {}
    )
    async with serving(settings) as running:
        arms = {}
        for unit in [f"unit {number}" for number in range(20)]:
            replies = await stream(running, 3, {}, **{field: unit})
            (arms[unit],) = {one.experiment_arm for one in replies}
        assert {one.rpartition("/")[2] for one in arms.values()} == {"control", "candidate"}
        assert (await running.route("hard")).experiment_arm == ""


async def test_a_predictor_is_tried_in_shadow_first_then_decides(tmp_path: Path) -> None:
    other = np.array(SCORES)
    other[3] = [0.875, 0.5, 0.125]  # it thinks that "hard" is for the small model
    candidates = tmp_path / "candidates"
    settings = settings_of(
        tmp_path, candidate=str(candidates), shadow_decisions=10, by="request", on_worse="keep"
    )
    async with serving(settings) as running:
        assert (await running.route("hard")).experiment_arm == ""
        assert not (await report(running)).name  # nothing to try yet
        write_tiny_artifact(tmp_path / "made", scores=other)
        change_manifest(tmp_path / "made", predictor_version="tiny-2")
        shutil.move(tmp_path / "made", candidates / "1")
        assert await running.service.reloader.start(lambda: settings) == "switched"
        shadowed = await stream(running, 40, {})
        found = await report(running)
        assert not found.in_shadow
        assert (found.shadow.decisions, found.shadow.disagreements) == (10, 10)
        assert found.shadow.candidate_mean_cost_usd < found.shadow.mean_cost_usd
        assert shadowed[0].experiment_arm == ""
        replies = await stream(running, 40, {})
        candidate = [one for one in replies if one.experiment_arm.endswith("/candidate")]
        assert {one.model for one in candidate} == {"small"}
        assert {one.model for one in replies if one not in candidate} == {"large"}
        assert {one.predictor_version for one in replies} == {"tiny-1", "tiny-2"}
    assert not reproduce(read_logs([tmp_path / "log.jsonl"])).mismatches


@pytest.mark.parametrize(
    ("experiment", "more", "said"),
    [
        ({"candidate": "best"}, {}, "the policy in force; name another"),
        ({"candidate": "lp"}, {}, "which policy.offered lacks; add it there"),
        ({}, {"workers": 2}, "set workers: 1"),
        ({"path": "/proc/no/experiment.json"}, {}, "experiment.path"),
    ],
)
def test_what_cannot_be_tried_stops_the_start(
    tmp_path: Path, experiment: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    settings = settings_of(tmp_path, **experiment).model_copy(update=more)
    with pytest.raises(ConfigError, match=said):
        load_components(settings)
