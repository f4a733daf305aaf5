"""A grade is taken once, before or after the report of what the answer took, and books nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.client.channel import token_metadata
from routoo.telemetry.decision_log.reader import read_logs
from routoo.v1 import info_pb2, outcome_pb2, route_pb2
from support.logged_engine import lines_of
from support.peers.proxied import proxied
from support.tiny_service import Running, refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = {"name": "all", "usd": 10, "per": "365d"}
COUNTED, BEFORE = (True, "COUNTED"), (False, "REPORTED_BEFORE")
MESSAGES: list[Any] = [{"role": "user", "content": "easy"}]


def sections(folder: Path) -> dict[str, Any]:
    """Budgets, learning, an experiment and a log, all of which take outcomes."""
    return {
        "budgets": [BUDGET],
        "policy": {"name": "best", "offered": ["cheapest"]},
        "learning": {"enabled": True, "interval_s": 3600},
        "experiment": {
            "name": "cheap",
            "candidate": "cheapest",
            "share": 0.5,
            "path": folder / "experiment.json",
        },
        "decision_log": {"path": folder / "log.jsonl"},
    }


async def report(running: Running, decision_id: str, **told: Any) -> tuple[bool, str]:
    request = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **told)
    reply = await running.stub.ReportOutcome(request, timeout=HANG_S)
    name = outcome_pb2.ReportResult.Name(reply.result).removeprefix("REPORT_RESULT_")
    return reply.accepted, name


def settled_usd(running: Running) -> float:
    ((budget, _),) = running.service.engine.accounting.budgets()
    return budget.settled_usd


def learned(running: Running) -> list[float]:
    """Returns the scores that wait to be learned."""
    learner = running.service.engine.accounting.learner
    assert learner is not None
    return [one.score for one in learner.told]


async def of_experiment(running: Running) -> tuple[int, int]:
    """Returns how many grades and how many costs the experiment has taken."""
    info = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=HANG_S)
    arms = (info.experiment.control, info.experiment.candidate_arm)
    return sum(one.graded for one in arms), sum(one.booked for one in arms)


async def test_a_grade_follows_the_usage_that_a_door_has_reported(tmp_path: Path) -> None:
    async with proxied(tmp_path, **sections(tmp_path)) as one:
        raw = await one.openai().chat.completions.with_raw_response.create(
            model="auto", messages=MESSAGES
        )
        decision_id = raw.headers["x-routoo-decision-id"]
        assert await one.replies() == {"read": 1}
        booked_usd = settled_usd(one.running)
        assert booked_usd > 0.0
        assert await of_experiment(one.running) == (0, 1)
        grade = {"score": 0.25, "reason_code": "tests_failed"}
        assert await report(one.running, decision_id, **grade) == COUNTED
        assert await report(one.running, decision_id, **grade) == BEFORE
        assert await report(one.running, decision_id, score=1.0) == BEFORE
        assert await report(one.running, decision_id, cost_usd=0.5) == BEFORE
        assert await report(one.running, decision_id, score=1.0, cost_usd=0.5) == BEFORE
        assert settled_usd(one.running) == booked_usd
        assert learned(one.running) == [0.25]
        assert await of_experiment(one.running) == (1, 1)
    usage, graded = lines_of(tmp_path / "log.jsonl", "outcome")
    assert "score" not in usage
    assert (graded["id"], graded["score"]) == (decision_id, 0.25)
    assert graded["reason_code"] == "tests_failed"
    log = read_logs([tmp_path / "log.jsonl"])
    assert log.findings == []
    assert log.reports[decision_id].score == 0.25
    assert log.reports[decision_id].usage is not None


async def test_what_an_answer_took_is_booked_after_its_grade(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, **sections(tmp_path))) as running:
        first, second = [(await running.route()).decision_id for _ in range(2)]
        assert await report(running, first, score=0.5) == COUNTED
        assert await report(running, second, score=0.75) == COUNTED
        assert settled_usd(running) == 0.0
        assert await report(running, first, cost_usd=0.001) == (True, "BOOKED")
        # A second score does not count; the cost beside it does.
        assert await report(running, second, score=1.0, cost_usd=0.002) == (True, "BOOKED")
        for one in (first, second):
            assert await report(running, one, cost_usd=0.5) == BEFORE
            assert await report(running, one, score=0.0) == BEFORE
        assert settled_usd(running) == pytest.approx(0.003)
        assert learned(running) == [0.5, 0.75]
        assert await of_experiment(running) == (2, 2)
    log = read_logs([tmp_path / "log.jsonl"])
    assert log.findings == []
    found = [(log.reports[one].score, log.reports[one].cost_usd) for one in (first, second)]
    assert found == [(0.5, 0.001), (0.75, 0.002)]


async def test_of_grades_at_once_one_counts(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, **sections(tmp_path))) as running:
        decision_id = (await running.route()).decision_id
        found = await asyncio.gather(
            *(report(running, decision_id, score=score) for score in (0.0, 0.5, 1.0)),
            report(running, decision_id, score=0.25, cost_usd=0.001),
        )
        assert found[-1] == (True, "BOOKED")
        assert found[:-1].count(COUNTED) <= 1
        assert len(learned(running)) == 1
        assert await of_experiment(running) == (1, 1)
        assert settled_usd(running) == pytest.approx(0.001)
    log = read_logs([tmp_path / "log.jsonl"])
    assert log.findings == []
    assert log.reports[decision_id].cost_usd == 0.001


async def test_a_grade_is_one_of_the_model_that_answered(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, **sections(tmp_path))) as running:
        decision_id = (await running.route(policy="cheapest")).decision_id
        usage = {"input_tokens": 10, "output_tokens": 10}
        assert await report(running, decision_id, model="large", **usage) == (True, "BOOKED")
        assert await report(running, decision_id, score=0.5) == COUNTED
        learner = running.service.engine.accounting.learner
        assert learner is not None
        (told,) = learner.told
        assert told.decision.model == "small"
        assert told.decision.batch.pool.names[told.column] == "large"


async def test_grades_of_no_decision_here_change_nothing(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, **{**sections(tmp_path), "budgets": []})
    async with serving(settings) as running:
        made = (await running.route()).decision_id
        code, text = await refusal(report(running, made, score=7.0))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "score" in text
        assert await report(running, "nobody-1", score=0.5) == (False, "UNKNOWN_DECISION")
        assert learned(running) == []
        assert await report(running, made, score=0.5) == COUNTED
    async with serving(settings) as running:
        assert await report(running, made, score=0.75) == (False, "UNKNOWN_DECISION")
        assert learned(running) == []
    assert len(lines_of(tmp_path / "log.jsonl", "outcome")) == 1


async def test_another_tenants_grade_is_one_of_an_unknown_decision(tmp_path: Path) -> None:
    path, shown = tmp_path / "tokens.jsonl", {}
    for tenant in ("team", "others"):
        text, stored = new_token(tenant, ["route"], 0.0)
        append_token(path, stored)
        shown[tenant] = token_metadata(text, "127.0.0.1:1", None)
    settings = tiny_settings(tmp_path, **sections(tmp_path), security={"tokens": path})
    async with serving(settings) as running:
        route = route_pb2.RouteRequest(prompt="easy")
        made = await running.stub.Route(route, metadata=shown["team"], timeout=HANG_S)

        async def said(tenant: str, **told: Any) -> str:
            request = outcome_pb2.ReportOutcomeRequest(decision_id=made.decision_id, **told)
            reply = await running.stub.ReportOutcome(
                request, metadata=shown[tenant], timeout=HANG_S
            )
            return outcome_pb2.ReportResult.Name(reply.result).removeprefix("REPORT_RESULT_")

        assert await said("team", cost_usd=0.001) == "BOOKED"
        assert await said("others", score=0.5) == "UNKNOWN_DECISION"
        assert await said("team", score=0.5) == "COUNTED"
        assert learned(running) == [0.5]
