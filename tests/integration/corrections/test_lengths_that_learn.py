"""A service whose upstreams answer at other lengths than predicted learns it from their reports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import info_pb2, outcome_pb2
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

INTERVAL_S = 0.01
TIMES = 10.0


def learning(folder: Path, **more: Any) -> Settings:
    corrections = {"interval_s": INTERVAL_S, **more.pop("corrections", {})}
    return tiny_settings(folder, corrections=corrections, **more)


async def answered(running: Running, times: float, reports: int, **fields: Any) -> float:
    """Routes and reports; returns the mean cost of the answers over that which was predicted."""
    predicted = real = 0.0
    models = {one.name: one for one in await listed(running)}
    for number in range(reports):
        reply = await running.route(f"easy {number}", explain=True, **fields)
        plain = reply.predicted_output_tokens / models[reply.model].length_correction.factor
        tokens = round(plain * times)
        report = outcome_pb2.ReportOutcomeRequest(
            decision_id=reply.decision_id, input_tokens=reply.input_tokens, output_tokens=tokens
        )
        assert (await running.stub.ReportOutcome(report)).accepted
        predicted += reply.predicted_cost_usd
        real += (
            models[reply.model].usd_per_1m_input_tokens * reply.input_tokens
            + models[reply.model].usd_per_1m_output_tokens * tokens
        ) * 1e-6
    return real / predicted


async def listed(running: Running) -> list[info_pb2.Model]:
    return list((await running.stub.ListModels(info_pb2.ListModelsRequest())).models)


async def learned(running: Running, reports: int) -> info_pb2.Corrections:
    """Waits until so many reports have been learned, and are in force."""
    async with asyncio.timeout(HANG_S):
        while True:
            info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
            if info.corrections.length_reports >= reports and info.corrections.version:
                return info.corrections
            await asyncio.sleep(INTERVAL_S)


async def test_after_fifty_reports_of_ten_times_the_length_the_mean_cost_is_right(
    tmp_path: Path,
) -> None:
    log = tmp_path / "decisions.jsonl"
    settings = learning(tmp_path, decision_log={"path": log})
    async with serving(settings) as running:
        first = await running.route("easy")
        before = np.array([one.length_correction.factor for one in await listed(running)])
        assert (before == 1.0).all()
        plain = first.predicted_output_tokens
        for _ in range(50):
            reply = await running.route("easy", allowed_models=[first.model])
            await running.stub.ReportOutcome(
                outcome_pb2.ReportOutcomeRequest(
                    decision_id=reply.decision_id,
                    input_tokens=reply.input_tokens,
                    output_tokens=round(TIMES * plain),
                )
            )
        await learned(running, 50)
        after = await running.route("easy", allowed_models=[first.model])
        model = next(one for one in await listed(running) if one.name == first.model)
        true_usd = 1e-6 * (
            model.usd_per_1m_input_tokens * after.input_tokens
            + model.usd_per_1m_output_tokens * round(TIMES * plain)
        )
        assert after.predicted_cost_usd == pytest.approx(true_usd, rel=0.15)
        assert model.length_correction.reports == 50
    contents = read_logs([log])
    found = reproduce(contents)
    assert found.decisions == 52
    assert found.mismatches == []
    assert found.findings == []
