"""A service whose upstreams answer at other lengths than predicted learns it from their reports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from routoo.telemetry.decision_log.otherwise import OtherPolicy
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from routoo.v1 import info_pb2, outcome_pb2
from support.peers.redis_server import RedisServer
from support.tiny_pool import SPECS
from support.tiny_service import serving, table_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from routoo.v1.route_pb2 import RouteResponse
    from support.tiny_service import Running

INTERVAL_S = 0.01
CHAT, CODE = 100, 200  # predicted output tokens of each model
TIMES = 10


def learning(folder: Path, **more: Any) -> Settings:
    wanted = {"interval_s": INTERVAL_S, "share_interval_s": INTERVAL_S}
    corrections = {**wanted, **more.pop("corrections", {})}
    return table_settings(folder, corrections=corrections, **more)


async def report(running: Running, reply: RouteResponse, tokens: int, **more: Any) -> None:
    told = outcome_pb2.ReportOutcomeRequest(
        decision_id=reply.decision_id,
        input_tokens=reply.input_tokens,
        output_tokens=tokens,
        **more,
    )
    assert (await running.stub.ReportOutcome(told)).accepted


async def answer(running: Running, count: int, tokens: int, **more: Any) -> None:
    """Routes chats to the model small, whose answers have a length, and reports them."""
    for _ in range(count):
        reply = await running.route("hello", allowed_models=["small"], **more)
        await report(running, reply, tokens)


async def small(running: Running) -> info_pb2.Model:
    models = (await running.stub.ListModels(info_pb2.ListModelsRequest())).models
    found: info_pb2.Model = next(one for one in models if one.name == "small")
    return found


async def corrections(running: Running) -> info_pb2.Corrections:
    info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
    found: info_pb2.Corrections = info.corrections
    return found


async def learned(running: Running, reports: int) -> info_pb2.Model:
    """Waits until so many reports of the model small have been learned and are in force."""
    async with asyncio.timeout(HANG_S):
        while True:
            model = await small(running)
            if model.length_correction.reports >= reports and (await corrections(running)).version:
                return await small(running)  # all of it after they were learned
            await asyncio.sleep(INTERVAL_S)


async def expected(running: Running, prompt: str = "hello", **more: Any) -> RouteResponse:
    return await running.route(prompt, allowed_models=["small"], **more)


async def test_after_fifty_reports_of_ten_times_the_length_the_mean_cost_is_right(
    tmp_path: Path,
) -> None:
    log = tmp_path / "decisions.jsonl"
    async with serving(learning(tmp_path, decision_log={"path": log})) as running:
        before = await expected(running)
        assert before.predicted_output_tokens == CHAT
        mean_before_usd = (await small(running)).mean_predicted_cost_usd
        assert (await corrections(running)).enabled
        assert not (await corrections(running)).version
        await answer(running, 50, TIMES * CHAT)
        model = await learned(running, 50)
        assert model.length_correction.reports == 50
        assert [one.task for one in model.task_corrections] == ["chat"]
        after = await expected(running)
        true_usd = 1e-6 * (
            model.usd_per_1m_input_tokens * after.input_tokens
            + model.usd_per_1m_output_tokens * TIMES * CHAT
        )
        assert after.predicted_cost_usd == pytest.approx(true_usd, rel=0.15)
        assert model.mean_predicted_cost_usd > 2 * mean_before_usd
        # Another kind of prompt is taken to be like the rest of the model's, another model is not.
        code = await expected(running, "code")
        assert code.predicted_output_tokens == pytest.approx(TIMES * CODE, rel=0.15)
        other = await running.route("hello", allowed_models=["large"])
        assert other.predicted_output_tokens == CHAT
        # What the request itself says of its length holds.
        own = await expected(running, expected_output_tokens=7)
        assert own.predicted_output_tokens == 7
        await running.batch(["hello", "code"] * 5, budget_usd=1.0)
        page = running.service.metrics.registry.get_sample_value
        factor = page("routoo_length_factor", {"model": "small", "task": "chat"})
        assert factor == pytest.approx(TIMES, rel=0.15)
        assert page("routoo_length_factor_reports", {"model": "small", "task": ""}) == 50
    contents = read_logs([log])
    assert contents.findings == []
    assert len(contents.joint) == 1
    found = reproduce(contents)
    assert (found.decisions, found.mismatches, found.findings) == (65, [], [])
    same = what_if(contents, OtherPolicy(""))
    assert same.same == 65
    assert same.as_instead.cost_usd == pytest.approx(same.as_decided.cost_usd)


@pytest.mark.parametrize(("most_usd", "kept"), [(0.01, True), (0.001, False)])
async def test_the_price_follows_the_lengths_that_the_pool_really_answers_at(
    tmp_path: Path, most_usd: float, *, kept: bool
) -> None:
    settings = learning(tmp_path, policy={"max_mean_cost_usd": most_usd})
    async with serving(settings) as running:
        before = running.service.engine.price
        for name in ("medium", "large", "small"):
            for _ in range(50):
                reply = await running.route("hello", allowed_models=[name])
                await report(running, reply, TIMES * CHAT)
        await learned(running, 50)
        models = await running.stub.ListModels(info_pb2.ListModelsRequest())
        assert running.service.engine.price > before
        if kept:
            assert models.operating_point.mean_cost_usd <= most_usd * (1 + 1e-9)
        else:  # not even the cheapest model keeps to it now
            assert dict(models.operating_point.shares) == {"small": 1.0}


async def test_errors_empty_answers_and_own_lengths_teach_nothing(tmp_path: Path) -> None:
    async with serving(learning(tmp_path)) as running:
        for fields, tokens, more in (
            ({}, 5000, {"error": "the upstream is away"}),
            ({}, 0, {}),
            ({"expected_output_tokens": 2000}, 2000, {}),
        ):
            reply = await expected(running, **fields)
            await report(running, reply, tokens, **more)
        await answer(running, 50, TIMES * CHAT)
        assert (await learned(running, 50)).length_correction.reports == 50


async def test_latencies_are_corrected_too(tmp_path: Path) -> None:
    async with serving(learning(tmp_path)) as running:
        before = await expected(running)
        for _ in range(60):
            reply = await expected(running)
            await report(running, reply, CHAT, latency_ms=4 * before.predicted_latency_ms)
        await learned(running, 60)
        after = await expected(running)
        assert after.predicted_output_tokens == CHAT
        assert after.predicted_latency_ms == pytest.approx(
            4 * before.predicted_latency_ms, rel=0.15
        )


async def test_a_restart_keeps_them_and_a_reload_does_so_for_the_models_that_stay(
    tmp_path: Path,
) -> None:
    settings = learning(
        tmp_path,
        corrections={"path": tmp_path / "corrections.json"},
        policy={"max_mean_cost_usd": 0.5},  # any pool of these is affordable
    )
    async with serving(settings) as running:
        await answer(running, 50, TIMES * CHAT)
        before = (await learned(running, 50)).length_correction
    async with serving(settings) as running:
        assert (await small(running)).length_correction == before
        at_start = await expected(running)
        assert at_start.predicted_output_tokens == pytest.approx(TIMES * CHAT, rel=0.15)
        specs = [{**one} for one in SPECS]
        specs[0]["usd_per_1m_output_tokens"] = 0.5
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": specs}))
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: settings) == "switched"
        assert (await small(running)).length_correction == before
        again = await expected(running)
        assert again.predicted_output_tokens == at_start.predicted_output_tokens
        kept = learning(
            tmp_path, corrections={"path": tmp_path / "corrections.json", "learn": False}
        )
        async with serving(kept) as frozen:
            await answer(frozen, 10, CHAT)
            assert (await small(frozen)).length_correction == before
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": specs[1:]}))
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: settings) == "switched"
    assert b"small" not in (tmp_path / "corrections.json").read_bytes()


async def test_without_corrections_predictions_are_taken_as_they_are(tmp_path: Path) -> None:
    async with serving(learning(tmp_path, corrections={"enabled": False})) as running:
        await answer(running, 50, TIMES * CHAT)
        assert not (await corrections(running)).enabled
        assert (await expected(running)).predicted_output_tokens == CHAT


async def test_replicas_share_them_through_redis_and_go_on_alone_without_it(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as redis:
        settings = learning(
            tmp_path,
            budgets=[{"name": "day", "usd": 100.0, "per": "1d"}],
            ledger={"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S},
        )
        async with serving(settings) as one, serving(settings) as two:
            await answer(one, 30, TIMES * CHAT)
            await answer(two, 30, TIMES * CHAT)
            first, second = await learned(one, 60), await learned(two, 60)
            assert first.length_correction == second.length_correction
            assert first.length_correction.reports == 60
            assert (await expected(two)).predicted_output_tokens == pytest.approx(
                TIMES * CHAT, rel=0.15
            )
            async with serving(settings) as three:
                assert (await learned(three, 60)).length_correction == first.length_correction
            redis.stop()
            await answer(one, 30, TIMES * CHAT)
            assert (await learned(one, 90)).length_correction.reports == 90
        page = one.service.metrics.registry.get_sample_value
        assert page("routoo_corrections_total", {"result": "redis_failed"})
