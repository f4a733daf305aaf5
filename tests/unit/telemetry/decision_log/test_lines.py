"""The decision log holds decisions with all their inputs, and without prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.config.sections.observability import DecisionLogSettings, TracingSettings
from routoo.config.sections.policy import PolicySettings
from routoo.predictor.conversation import conversation
from routoo.routing.escalation import EscalationRequest
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.tariffs.usage import Usage
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.sampling import Sampler
from routoo.telemetry.telemetry import Telemetry
from support.logged_engine import lines_of, logged_engine
from support.tiny_engine import make_engine, outcomes
from support.tiny_money import hourly, spending

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.predictor.artifact import Artifact
    from routoo.routing.decision import Decision

CANARY = "hard easy canary-5f1e"


async def test_a_line_holds_what_decided(artifact: Artifact, tmp_path: Path) -> None:
    request = PromptRequest(
        CANARY, tenant="acme", constraints={"denied_models": ("small",), "min_score": 0.1}
    )
    async with logged_engine(artifact, tmp_path / "log", price=3.0) as engine:
        decision: Decision = (await outcomes(engine.route(request)))[0]
    setup = lines_of(tmp_path / "log", "setup")[0]
    line = lines_of(tmp_path / "log")[0]
    assert line["setup"] == setup["setup"]
    assert [model["name"] for model in setup["models"]] == ["small", "medium", "large"]
    batch, row = decision.batch, decision.row
    assert line["id"] == decision.decision_id
    assert line["model"] == decision.model
    assert line["predictor"] == "tiny-1"
    assert line["policy"] == "lp-test"
    assert line["price"] == 3.0
    assert line["tenant"] == "acme"
    assert line["eligible"] == "011"
    assert line["constraints"] == {"min_score": 0.1, "denied_models": ["small"]}
    assert line["scores"] == batch.estimates.scores[row].tolist()
    assert line["costs_usd"] == batch.estimates.costs_usd[row].tolist()
    assert line["latencies_ms"] == batch.estimates.latencies_ms[row].tolist()
    assert line["output_tokens"] == batch.estimates.output_tokens[row].tolist()


@pytest.mark.parametrize("prompts", [False, True])
async def test_prompts_are_logged_only_when_asked_for(
    artifact: Artifact, tmp_path: Path, *, prompts: bool
) -> None:
    async with logged_engine(artifact, tmp_path / "log", log={"prompts": prompts}) as engine:
        await outcomes(engine.route(PromptRequest(CANARY)))
    assert (CANARY in (tmp_path / "log").read_text()) is prompts


async def test_a_logged_conversation_keeps_who_speaks(artifact: Artifact, tmp_path: Path) -> None:
    text = conversation([("system", "be brief"), ("user", "hard")])
    async with logged_engine(artifact, tmp_path / "log", log={"prompts": True}) as engine:
        await outcomes(engine.route(PromptRequest(text)))
    (line,) = lines_of(tmp_path / "log")
    assert line["prompt"] == text
    edited = tmp_path / "edited"
    edited.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "log").read_bytes())
    assert not read_logs([edited]).findings
    assert reproduce(read_logs([tmp_path / "log"])).mismatches == []


async def test_reports_are_lines_of_their_own_without_the_provider_s_words(
    artifact: Artifact, tmp_path: Path
) -> None:
    async with logged_engine(artifact, tmp_path / "log") as engine:
        first, second = await outcomes(*(engine.route(PromptRequest("hard")) for _ in range(2)))
        await engine.report(OutcomeReport(first.decision_id, score=0.5, cost_usd=0.25))
        assert not await engine.report(OutcomeReport(first.decision_id, score=0.75))
        await engine.report(OutcomeReport(second.decision_id, model="large", error=f"bad {CANARY}"))
    reports = lines_of(tmp_path / "log", "outcome")
    for report in reports:
        del report["time"]
    assert reports == [
        {"kind": "outcome", "id": first.decision_id, "score": 0.5, "cost_usd": 0.25},
        {"kind": "outcome", "id": second.decision_id, "model": "large", "failed": True},
    ]
    assert CANARY not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("grade_first", [False, True])
async def test_a_grade_and_what_its_answer_took_are_one_report_in_either_order(
    artifact: Artifact, tmp_path: Path, *, grade_first: bool
) -> None:
    usage = Usage(output_tokens=7)
    async with logged_engine(artifact, tmp_path / "log") as engine:
        broken, short = await outcomes(*(engine.route(PromptRequest("hard")) for _ in range(2)))
        grades = [OutcomeReport(one.decision_id, score=0.0) for one in (broken, short)]
        told = [
            OutcomeReport(broken.decision_id, model="large", error="HTTP status 500"),
            OutcomeReport(short.decision_id, usage=usage, estimated=True),
        ]
        for report in (*grades, *told) if grade_first else (*told, *grades):
            assert await engine.report(report)
    log = read_logs([tmp_path / "log"])
    assert log.findings == []
    found = log.reports[broken.decision_id]
    assert (found.model, found.score, found.failed) == ("large", 0.0, True)
    found = log.reports[short.decision_id]
    assert (found.usage, found.score, found.estimated) == (usage, 0.0, True)


async def test_answers_that_were_weighed_are_lines_with_the_reason(
    artifact: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    # The budget is enough for the decision and for one answer of medium.
    money = spending(hourly(3e-5))
    async with logged_engine(artifact, path, price=10.0, spent_from=money) as engine:
        decision: Decision = (await outcomes(engine.route(PromptRequest("easy"))))[0]
        questions = (
            EscalationRequest(decision.decision_id, min_score=0.5),
            EscalationRequest(decision.decision_id),
            EscalationRequest(decision.decision_id, max_cost_usd=0.0),
        )
        found = [await engine.escalate(question) for question in questions]
    assert [one.result for one in found] == ["asked", "unpaid", "kept"]
    lines = lines_of(path, "escalation")
    for line, one in zip(lines, found, strict=True):
        assert line.pop("time") > "2020"
        assert (line["id"], line["answered"]) == (decision.decision_id, "small")
        assert (line["result"], line["text"]) == (one.result, one.text)
        assert (line["kept_score"], line["price"]) == (one.kept_score, 10.0)
    new = found[0].decision
    assert new is not None
    assert (lines[0]["next"], lines[0]["model"]) == (new.decision_id, "medium")
    assert (lines[0]["gain"], lines[0]["extra_cost_usd"]) == (found[0].gain, 2.1e-5)
    assert lines[0]["min_score"] == 0.5
    assert lines[2]["max_cost_usd"] == 0.0
    assert not {"next", "model", "gain"} & (lines[1].keys() | lines[2].keys())
    log = read_logs([path])
    assert log.count == 1
    assert log.findings == []
    assert log.not_replayed == ["3 answers were weighed, which replay does not do again"]
    (next_answer,) = log.next_answers
    assert (next_answer.id, next_answer.weighed) == (new.decision_id, decision.decision_id)
    assert (next_answer.model, next_answer.cost_usd) == ("medium", 2.1e-5)


async def test_a_sampled_decision_s_report_is_logged_and_no_other(
    artifact: Artifact, tmp_path: Path
) -> None:
    async with logged_engine(artifact, tmp_path / "log", log={"sample_ratio": 0.5}) as engine:
        decisions = await outcomes(*(engine.route(PromptRequest("hard")) for _ in range(64)))
        for decision in decisions:
            await engine.report(OutcomeReport(decision.decision_id, score=1.0))
    logged = [line["id"] for line in lines_of(tmp_path / "log")]
    assert 10 < len(logged) < 54
    assert [line["id"] for line in lines_of(tmp_path / "log", "outcome")] == logged
    sampler = Sampler(0.5)
    ids = [decision.decision_id for decision in decisions]
    assert logged == [one for one in ids if sampler.takes_id(one)]


def test_the_share_that_is_sampled_is_the_one_asked_for() -> None:
    sampler = Sampler(0.1)
    taken = sum(sampler.takes_id(f"abc-{ticket * 7:08x}-{ticket:x}") for ticket in range(5000))
    # The tolerance is ten standard deviations of the binomial count.
    assert abs(taken - 500) < 10 * (5000 * 0.1 * 0.9) ** 0.5
    assert not sampler.takes_id("no id of ours")
    assert not sampler.takes_id("abc-" + "f" * 40)
    assert sampler.takes_id("abc-01234567-2a") is sampler.takes_id("abc-76543210-2a")


async def test_a_budget_s_word_is_in_the_line(artifact: Artifact, tmp_path: Path) -> None:
    async with logged_engine(
        artifact,
        tmp_path / "log",
        price=0.0,
        policy=PolicySettings(name="best"),
        spent_from=spending(hourly(1.0), hourly(0.000041, tenant="poor", name="poor")),
    ) as engine:
        first = await outcomes(engine.route(PromptRequest("hard")))
        turned = await outcomes(engine.route(PromptRequest("hard", tenant="poor")))
        refused = await outcomes(engine.route(PromptRequest("hard", tenant="poor")))
    assert first[0].model == "large"
    assert turned[0].model == "small"
    assert isinstance(refused[0], Exception)
    granted, cheapest, none = lines_of(tmp_path / "log")
    assert "wanted" not in granted
    assert (cheapest["wanted"], cheapest["model"]) == ("large", "small")
    assert cheapest["reason"] == "BUDGET_SPENT"
    assert cheapest["priced_by"] == ["budget:poor"]
    assert (none["wanted"], none["model"]) == ("large", None)


async def test_a_reloaded_pool_or_policy_is_a_setup_of_its_own(
    artifact: Artifact, tmp_path: Path
) -> None:
    # Engines that follow each other in one process share the log, as after a reload.
    told = Telemetry.open(DecisionLogSettings(path=tmp_path / "log"), TracingSettings())
    for policy in ("lp", "best", "lp"):
        engine = make_engine(
            artifact,
            metrics=told.metrics,
            decision_log=told.decision_log,
            policy=PolicySettings(name=policy),
        )
        await outcomes(engine.route(PromptRequest("hard")))
        await engine.close(0.0)
    told.close()
    setups = [line["setup"] for line in lines_of(tmp_path / "log", "setup")]
    first, second, third = (line["setup"] for line in lines_of(tmp_path / "log"))
    assert setups == [first, second]
    assert first == third
    assert not reproduce(read_logs([tmp_path / "log"])).mismatches
