"""A service learns how long its models take, and keeps limits at the percentile that is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2
from support.tiny_service import serving, table_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from routoo.v1.route_pb2 import RouteResponse
    from support.tiny_service import Running

INTERVAL_S = 0.01
TOKENS = 100  # the predicted length of an answer to a chat


def learning(folder: Path, **more: Any) -> Settings:
    return table_settings(folder, corrections={"interval_s": INTERVAL_S}, **more)


async def small(running: Running) -> info_pb2.Model:
    models = (await running.stub.ListModels(info_pb2.ListModelsRequest())).models
    found: info_pb2.Model = next(one for one in models if one.name == "small")
    return found


async def ask(running: Running, **more: Any) -> RouteResponse:
    return await running.route("hello", allowed_models=["small"], **more)


async def tell(running: Running, latencies_ms: list[float], **more: Any) -> info_pb2.Model:
    """Reports answers of the model small, and waits until they are learned and in force."""
    before = (await small(running)).learned_times.reports
    for latency_ms in latencies_ms:
        decided = await ask(running)
        told = outcome_pb2.ReportOutcomeRequest(
            decision_id=decided.decision_id,
            input_tokens=decided.input_tokens,
            output_tokens=TOKENS,
            latency_ms=latency_ms,
            **more,
        )
        assert (await running.stub.ReportOutcome(told)).accepted
    async with asyncio.timeout(HANG_S):
        while True:
            model = await small(running)
            if model.learned_times.reports >= before + len(latencies_ms):
                return await small(running)  # all of it after they were learned
            await asyncio.sleep(INTERVAL_S)


async def test_a_limit_holds_at_the_percentile_that_the_request_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    log = tmp_path / "decisions.jsonl"
    settings = learning(tmp_path, decision_log={"path": log})
    async with serving(settings) as running:
        assumed = await ask(running, latency_percentile=95)
        assert assumed.percentile_latency_ms == pytest.approx(
            2.01 * assumed.predicted_latency_ms, rel=0.01
        )
        model = await tell(running, (4000.0 * rng.lognormal(0.0, 0.3, 200)).tolist())
        assert model.latency_correction.factor > 1.0
        assert model.p95_latency_ms > model.learned_times.percentile_factors[50]
        plain = await ask(running, explain=True)
        assert not plain.HasField("latency_percentile")
        assert not plain.candidates[0].HasField("percentile_latency_ms")
        found = {
            one: await ask(running, latency_percentile=one, explain=True)
            for one in (50, 90, 95, 99)
        }
        times_ms = [one.percentile_latency_ms for one in found.values()]
        assert times_ms == sorted(times_ms)
        assert times_ms[0] == pytest.approx(4000.0, rel=0.15)
        assert times_ms[2] == pytest.approx(4000.0 * np.exp(0.3 * 1.645), rel=0.15)
        assert found[95].candidates[0].percentile_latency_ms == times_ms[2]
        assert found[95].predicted_latency_ms == plain.predicted_latency_ms
        # Between the mean and the percentile, the one is kept and the other is not.
        limit_ms = 0.5 * (plain.predicted_latency_ms + times_ms[2])
        assert (await ask(running, max_latency_ms=limit_ms)).model == "small"
        with pytest.raises(grpc.aio.AioRpcError, match="max_latency_ms"):
            await ask(running, max_latency_ms=limit_ms, latency_percentile=95)
        for wrong in (0, 94, 100):
            with pytest.raises(grpc.aio.AioRpcError, match="50, 90, 95 or 99"):
                await ask(running, max_latency_ms=limit_ms, latency_percentile=wrong)
        page = running.service.metrics.registry.get_sample_value
        labels = {"model": "small", "percentile": "95"}
        assert page("routoo_latency_percentile_factor", labels) == pytest.approx(
            model.learned_times.percentile_factors[95]
        )
        first_ms = page("routoo_first_token_ms", {"model": "small"})
        assert first_ms == pytest.approx(model.learned_times.first_token_ms)
    contents = read_logs([log])
    again = reproduce(contents)
    assert contents.findings == []
    assert (again.mismatches, again.findings) == ([], [])
    assert again.decisions >= 206


async def test_the_settings_may_name_the_percentile_for_requests_that_name_none(
    tmp_path: Path,
) -> None:
    log = tmp_path / "decisions.jsonl"
    settings = learning(tmp_path, policy={"latency_percentile": 90}, decision_log={"path": log})
    async with serving(settings) as running:
        usual = await ask(running)
        assert usual.latency_percentile == 90
        assert usual.percentile_latency_ms > usual.predicted_latency_ms
        own = await ask(running, latency_percentile=99)
        assert (own.latency_percentile, own.model) == (99, "small")
        assert own.percentile_latency_ms > usual.percentile_latency_ms
        with pytest.raises(grpc.aio.AioRpcError, match="max_latency_ms"):
            await ask(running, max_latency_ms=usual.predicted_latency_ms * 1.01)
        replies = await running.batch(["hello", "code"], budget_usd=1.0)
        assert [one.latency_percentile for one in replies.responses] == [90, 90]
    again = reproduce(read_logs([log]))
    assert (again.decisions, again.mismatches, again.findings) == (5, [], [])


async def test_first_tokens_and_time_outs_are_told_by_reports(tmp_path: Path) -> None:
    async with serving(learning(tmp_path)) as running:
        declared = await small(running)
        model = await tell(running, [3000.0] * 60, time_to_first_token_ms=2000.0)
        assert model.learned_times.first_token_reports == 60
        assert model.learned_times.first_token_ms == pytest.approx(2000.0, rel=0.2)
        assert model.learned_times.per_output_token_ms == pytest.approx(10.0, rel=0.2)
        assert model.time_to_first_token_ms == declared.time_to_first_token_ms
        slow = await tell(running, [9000.0] * 40, failure="FAILURE_CAUSE_TIMEOUT")
        assert slow.learned_times.first_token_ms > 2.0 * model.learned_times.first_token_ms
        # What is an error, and no time-out, says nothing of times.
        before = slow.learned_times
        decided = await ask(running)
        await running.stub.ReportOutcome(
            outcome_pb2.ReportOutcomeRequest(
                decision_id=decided.decision_id, latency_ms=1.0, error="refused"
            )
        )
        after = await tell(running, [9000.0])
        assert after.learned_times.reports == before.reports + 1


async def test_reports_with_impossible_times_are_refused_and_may_be_sent_again(
    tmp_path: Path,
) -> None:
    async with serving(learning(tmp_path)) as running:
        decided = await running.route("hello")
        told: dict[str, Any] = {"decision_id": decided.decision_id}
        for wrong, field in (
            ({"time_to_first_token_ms": 5.0, "latency_ms": 4.0}, "time_to_first_token_ms"),
            ({"time_to_first_token_ms": float("nan")}, "time_to_first_token_ms"),
            ({"time_to_first_token_ms": -1.0}, "time_to_first_token_ms"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=field):
                await running.stub.ReportOutcome(outcome_pb2.ReportOutcomeRequest(**told, **wrong))
        right = {"time_to_first_token_ms": 4.0, "latency_ms": 4.0}
        report = outcome_pb2.ReportOutcomeRequest(**told, **right)
        assert (await running.stub.ReportOutcome(report)).accepted
