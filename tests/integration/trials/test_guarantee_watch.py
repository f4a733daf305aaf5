"""A promise that graded answers refute: the reference answers until there is a new calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from routoo.errors import ConfigError
from routoo.predictor.artifact import load_artifact
from routoo.routing.pool import load_pool
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.off_policy.grounds import LineExtras, ValueGrounds
from routoo.telemetry.decision_log.off_policy.value import judge_policy
from routoo.telemetry.decision_log.otherwise import OtherPolicy
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2, route_pb2, trials_pb2
from support.logged_engine import lines_of
from support.tiny_service import serving, table_settings, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

REFERENCE = "large"
WELL = {"medium": 0.7, REFERENCE: 0.9}
FAILED = {"medium": 0.1, REFERENCE: 0.9}


def settings_of(
    folder: Path, *, price: float = 100.0, sessions: dict[str, Any] | None = None, **watch: Any
) -> Settings:
    """Settings at a proven price, at which ``medium`` answers "hard" and ``small`` "easy"."""
    sections = sections_of(folder, tiny_settings(folder), price, watch)
    return tiny_settings(folder, sessions=sessions or {}, **sections)


def sections_of(
    folder: Path, plain: Settings, price: float, watch: dict[str, Any]
) -> dict[str, Any]:
    """Sections of a promise that is watched, for the predictor and the pool of other settings."""
    pool = load_pool(plain.pool)
    artifact = load_artifact(folder / "predictor")
    guarantee = {
        "reference": REFERENCE,
        "max_drop": 0.4,
        "price": price,
        "predictor_version": artifact.version_for(pool.predictor_names),
        "pool_digest": pool.digest,
        "watch": {"share": 0.3, "path": folder / "promise.json", **watch},
    }
    policy = {"name": "guarantee", "guarantee": guarantee}
    return {"policy": policy, "decision_log": {"path": folder / "log.jsonl"}}


async def stream(
    running: Running, n: int, scores: dict[str, float], **fields: Any
) -> list[route_pb2.RouteResponse]:
    """Routes n prompts and grades each answer by its model."""
    replies = []
    for _ in range(n):
        reply = await running.route("hard", **fields)
        await running.stub.ReportOutcome(
            outcome_pb2.ReportOutcomeRequest(
                decision_id=reply.decision_id, score=scores[reply.model]
            )
        )
        replies.append(reply)
    return replies


async def evidence(running: Running) -> dict[str, trials_pb2.PromiseEvidence]:
    info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
    return {one.tenant: one for one in info.guarantee}


async def test_a_promise_that_holds_goes_on(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        replies = await stream(running, 300, WELL)
        drawn = [one for one in replies if one.model == REFERENCE]
        assert 0.15 < len(drawn) / len(replies) < 0.45  # by chance once in a hundred million runs
        assert {one.reason.rule for one in drawn} == {route_pb2.RULE_GUARANTEE_SHARE}
        assert not any(one.degraded for one in replies)
        found = (await evidence(running))["*"]
        assert (found.graded, found.broken) == (300, False)
        assert found.mean_drop == pytest.approx(0.2, abs=0.05)
    path = tmp_path / "log.jsonl"
    log = read_logs([path])
    assert not reproduce(log).mismatches
    # The log tells what either would be worth alone: the reference, and the policy without it.
    extras = LineExtras.read([path], prompts=False)
    for policy, worth in (("best", WELL[REFERENCE]), ("guarantee", WELL["medium"])):
        judged = judge_policy(ValueGrounds.of(log, OtherPolicy(policy), extras.propensities), "")
        value = judged.quality.robust
        assert value is not None, judged.quality.refusal
        assert value.interval.low <= worth <= value.interval.high


async def test_a_refuted_promise_falls_back_until_there_is_a_new_calibration(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path)
    async with serving(settings) as running:
        replies = await stream(running, 300, FAILED)
        last = replies[-1]
        assert (last.model, last.degraded) == (REFERENCE, True)
        assert last.reason.rule == route_pb2.RULE_GUARANTEE_BROKEN
        assert "refute" in last.reason.text
        assert (await running.stub.GetInfo(info_pb2.GetInfoRequest())).degraded
        (said,) = [one for one in running.logs if one["event"].startswith("the promise")][:1]
        assert (said["log_level"], said["max_drop"]) == ("error", 0.4)
        broken = running.service.metrics.registry.get_sample_value("routoo_guarantee_broken")
        assert broken == 2.0  # all traffic, and the requests without a tenant
    assert any(line.get("fallen") for line in lines_of(tmp_path / "log.jsonl"))
    assert not reproduce(read_logs([tmp_path / "log.jsonl"])).mismatches
    async with serving(settings) as running:  # a restart forgets nothing
        assert (await running.route("hard")).reason.rule == route_pb2.RULE_GUARANTEE_BROKEN
        renewed = settings_of(tmp_path, price=99.0)
        assert await running.service.reloader.start(lambda: renewed) == "switched"
        again = [await running.route("hard") for _ in range(20)]
        assert {one.model for one in again} == {"medium", REFERENCE}
        assert not any(one.degraded for one in again)


async def test_each_tenant_has_evidence_of_its_own(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        # The others' good answers keep the promise to all together.
        for _ in range(100):
            await stream(running, 9, WELL, tenant="well")
            await stream(running, 2, FAILED, tenant="drifted")
        found = await evidence(running)
        assert {one: state.broken for one, state in found.items()} == {
            "*": False,
            "well": False,
            "drifted": True,
        }
        assert (await running.route("hard", tenant="drifted")).degraded
        assert not (await running.route("hard", tenant="well")).degraded


async def test_references_that_a_budget_refuses_refute_no_promise(tmp_path: Path) -> None:
    """All models are as bad as each other, and worse than predicted: no quality is lost."""
    equal = dict.fromkeys(("small", "medium", REFERENCE), 0.2)
    sections = sections_of(tmp_path, tiny_settings(tmp_path), 100.0, {})
    # It pays for the model that the policy prefers, and never for the reference.
    budgets = [{"name": "poor", "tenant": "poor", "usd": 0.002, "per": "1h"}]
    async with serving(tiny_settings(tmp_path, budgets=budgets, **sections)) as running:
        replies = []
        for _ in range(200):
            reply = await running.route("hard", tenant="poor")
            told = {"score": equal[reply.model], "cost_usd": 0.0}
            await running.stub.ReportOutcome(
                outcome_pb2.ReportOutcomeRequest(decision_id=reply.decision_id, **told)
            )
            replies.append(reply)
        assert {one.model for one in replies} == {"small", "medium"}
        refused = [one for one in replies if one.model == "small"]  # the cheapest
        assert 0.15 < len(refused) / len(replies) < 0.45
        found = (await evidence(running))["poor"]
        assert (found.graded, found.broken) == (200, False)
        assert found.mean_drop < 0.1
        # Who pays for the reference is told of a drop, with the same budgets in force.
        await stream(running, 200, FAILED, tenant="rich")
        assert (await evidence(running))["rich"].broken


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=r"^policy\.guarantee\.watch\.path: .*name a file"):
        load_components(settings_of(tmp_path, path=tmp_path / "taken" / "promise.json"))


async def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "promise.json").write_text("{")
    async with serving(settings) as running:
        assert any("damaged" in one["event"] for one in running.logs)
        assert (await running.route("hard")).reason.rule != route_pb2.RULE_GUARANTEE_BROKEN
    assert (tmp_path / "promise.json.damaged").read_text() == "{"


async def test_a_draw_has_its_odds_beside_what_is_explored(tmp_path: Path) -> None:
    """The reply and the log have the chance of a choice, whichever rule has drawn it."""
    sections = sections_of(tmp_path, table_settings(tmp_path), 100.0, {})
    sections["policy"] |= {
        "offered": ["lp"],
        "max_mean_cost_usd": 1.0,
        "explore": {"share": 0.5, "budget": "explore", "floor": 0.3},
    }
    money = {"name": "explore", "usd": 1000.0, "per": "1d", "pays_for": "exploration"}
    async with serving(table_settings(tmp_path, budgets=[money], **sections)) as running:
        replies = [await running.route("math") for _ in range(60)]
        replies += [await running.route("math", policy="lp") for _ in range(20)]
        batch = await running.batch(["math"] * 60)
        replies += batch.responses
        alone = await running.route("math", allowed_models=["small"])
        assert alone.propensity == 1.0
        replies.append(alone)
    odds: dict[int, set[float]] = {}
    for one in replies[:-1]:
        odds.setdefault(one.reason.rule, set()).add(round(one.propensity, 3))
    assert odds[route_pb2.RULE_GUARANTEE_SHARE] == {0.3}
    assert odds[route_pb2.RULE_GUARANTEE] == {0.7}
    assert max(odds[route_pb2.RULE_EXPLORED]) <= 0.5
    lines = lines_of(tmp_path / "log.jsonl")
    assert [line["propensity"] for line in lines] == [one.propensity for one in replies]
    found = reproduce(read_logs([tmp_path / "log.jsonl"]))
    assert (found.mismatches, found.findings) == ([], [])


async def test_a_later_turn_of_a_session_is_evidence_as_its_choice_was_made(
    tmp_path: Path,
) -> None:
    """What a session has cached makes its model cheaper, which the policy does not weigh."""
    settings = settings_of(tmp_path, sessions={"enabled": True})
    async with serving(settings) as running:
        for number in range(30):
            for _ in range(3):
                (reply,) = await stream(running, 1, WELL, session_id=f"s{number}")
                odds = 0.3 if reply.model == REFERENCE else 0.7
                assert reply.propensity == pytest.approx(odds)
        assert (await evidence(running))["*"].graded == 90
    assert not reproduce(read_logs([tmp_path / "log.jsonl"])).mismatches
