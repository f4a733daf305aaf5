"""A promise that graded answers refute: the reference answers until there is a new calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from routoo.errors import ConfigError
from routoo.predictor.artifact import load_artifact
from routoo.routing.pool import load_pool
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2, route_pb2, trials_pb2
from support.logged_engine import lines_of
from support.tiny_service import serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

REFERENCE = "large"
WELL = {"medium": 0.7, REFERENCE: 0.9}
FAILED = {"medium": 0.1, REFERENCE: 0.9}


def settings_of(folder: Path, *, price: float = 100.0, **watch: Any) -> Settings:
    """Settings at a proven price, at which ``medium`` answers "hard" and ``small`` "easy"."""
    plain = tiny_settings(folder)
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
    return tiny_settings(folder, policy=policy, decision_log={"path": folder / "log.jsonl"})


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
    assert not reproduce(read_logs([tmp_path / "log.jsonl"])).mismatches


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
