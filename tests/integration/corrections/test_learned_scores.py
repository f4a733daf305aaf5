"""A service whose models answer better or worse than predicted learns it from reported scores."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from routoo.engine.corrections.file import TableFile
from routoo.routing.outcome import OutcomeReport
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2
from support.peers.redis_server import RedisServer
from support.tiny_service import serving, table_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

INTERVAL_S = 0.01


def learning(folder: Path, **more: Any) -> Settings:
    wanted = {"enabled": True, "interval_s": INTERVAL_S, "share_interval_s": INTERVAL_S}
    return table_settings(folder, learning={**wanted, **more.pop("learning", {})}, **more)


async def answer(
    running: Running, count: int, score: float, prompt: str = "hello", **more: Any
) -> None:
    """Routes prompts to the model large, and reports that its answers have a score."""
    for _ in range(count):
        reply = await running.route(prompt, allowed_models=["large"], **more)
        told = outcome_pb2.ReportOutcomeRequest(decision_id=reply.decision_id, score=score)
        assert (await running.stub.ReportOutcome(told)).accepted


async def large(running: Running) -> info_pb2.Model:
    models = (await running.stub.ListModels(info_pb2.ListModelsRequest())).models
    found: info_pb2.Model = next(one for one in models if one.name == "large")
    return found


async def state(running: Running) -> info_pb2.GetInfoResponse:
    return await running.stub.GetInfo(info_pb2.GetInfoRequest())


async def learned(running: Running, reports: int) -> info_pb2.Model:
    """Waits until so many scores of the model large have been learned and are in force."""
    async with asyncio.timeout(HANG_S):
        while True:
            model = await large(running)
            if model.learned_score.reports >= reports and (await state(running)).learning.version:
                return await large(running)  # all of it after they were learned
            await asyncio.sleep(INTERVAL_S)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what the learning thread does."""
    async with asyncio.timeout(HANG_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(INTERVAL_S)


async def score(running: Running, prompt: str = "hello", **more: Any) -> float:
    return (await running.route(prompt, allowed_models=["large"], **more)).predicted_score


async def test_a_model_that_fails_silently_loses_its_requests_and_replay_is_exact(
    tmp_path: Path,
) -> None:
    log = tmp_path / "decisions.jsonl"
    settings = learning(tmp_path, decision_log={"path": log}, policy={"name": "best"})
    async with serving(settings) as running:
        before = await running.route("code")
        assert before.model == "large"
        assert not before.learned_version
        assert (await state(running)).learning.enabled
        assert not (await state(running)).learning.version
        await answer(running, 40, 0.1, prompt="code")
        model = await learned(running, 40)
        assert model.learned_score.logit_offset < -1.0
        assert [one.task for one in model.learned_score.tasks] == ["code"]
        after = await running.route("code")
        assert after.model != "large"
        assert after.learned_version == (await state(running)).learning.version
        assert await score(running, prompt="code") == pytest.approx(0.1, abs=0.1)
        await running.batch(["hello", "code"] * 5, budget_usd=1.0)
        page = running.service.metrics.registry.get_sample_value
        assert page("routoo_learned_scores_total", {"result": "learned"}) == 40
    contents = read_logs([log])
    assert contents.findings == []
    found = reproduce(contents)
    assert (found.decisions, found.mismatches, found.findings) == (53, [], [])


async def test_it_is_off_unless_wanted(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path)) as running:
        before = await score(running)
        await answer(running, 20, 0.0)
        assert not (await state(running)).learning.enabled
        assert not (await large(running)).HasField("learned_score")
        assert await score(running) == before


async def test_what_a_tenant_reports_for_itself_moves_no_other_tenant(tmp_path: Path) -> None:
    async with serving(learning(tmp_path)) as running:
        before = await score(running, tenant="b")
        engine = running.service.engine
        for _ in range(200):
            reply = await running.route("hello", allowed_models=["large"], tenant="a")
            # As a caller that is confined to the tenant reports it.
            told = OutcomeReport(reply.decision_id, score=0.0, tenant="a")
            assert engine.accounting.outcomes.report(told)

        async def is_lower() -> bool:
            return await score(running, tenant="a") < before - 0.1

        await until(is_lower)
        assert await score(running, tenant="b") == before
        assert await score(running) == before


async def test_it_can_be_frozen_and_forgotten_by_a_reload(tmp_path: Path) -> None:
    settings = learning(tmp_path)
    async with serving(settings) as running:
        before = await score(running)
        await answer(running, 30, 0.1)
        await learned(running, 30)
        low = await score(running)
        assert low < before
        frozen = learning(tmp_path, learning={"freeze": True})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: frozen) == "switched"
        assert (await state(running)).learning.frozen
        await answer(running, 30, 1.0)
        page = running.service.metrics.registry.get_sample_value

        async def is_told() -> bool:
            return page("routoo_learned_scores_total", {"result": "frozen"}) == 30

        await until(is_told)
        assert await score(running) == low
        forgotten = learning(tmp_path, learning={"freeze": False, "generation": 1})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: forgotten) == "switched"

        async def is_forgotten() -> bool:
            return await score(running) == before

        await until(is_forgotten)
        assert (await large(running)).learned_score.reports == 0


async def test_a_restart_keeps_it_and_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    settings = learning(tmp_path, learning={"path": path})
    async with serving(settings) as running:
        await answer(running, 30, 0.1)
        before = await learned(running, 30)
        low = await score(running)
    async with serving(settings) as running:
        assert (await large(running)).learned_score == before.learned_score
        assert await score(running) == low
    path.write_bytes(path.read_bytes()[:-40])
    async with serving(settings) as running:
        assert (await large(running)).learned_score.reports == 0
    assert path.with_name("learned.json.damaged").exists()


async def test_what_is_told_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    keep = TableFile.write

    def write(file: TableFile[Any], table: Any) -> None:
        found, in_force = learner.table, learner.in_force
        told.append(found is table)
        told.extend(
            found.in_force(*place, learner._terms).is_near(one) for place, one in in_force.items()
        )
        keep(file, table)

    async with serving(learning(tmp_path, learning={"path": tmp_path / "learned.json"})) as running:
        learner = running.service.engine.accounting.learner
        await score(running)
        monkeypatch.setattr(TableFile, "write", write)
        await answer(running, 5, 0.1)
        await learned(running, 5)
    assert len(told) >= 2
    assert all(told)


async def test_replicas_share_it_through_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        settings = learning(
            tmp_path,
            budgets=[{"name": "day", "usd": 100.0, "per": "1d"}],
            ledger={"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S},
        )
        async with serving(settings) as one, serving(settings) as two:
            await answer(one, 20, 0.1)
            await answer(two, 20, 0.1)
            first, second = await learned(one, 40), await learned(two, 40)
            assert first.learned_score == second.learned_score
            assert await score(one) == await score(two)
