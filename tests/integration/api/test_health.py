"""Models whose provider fails are left out of every way in, until they answer again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.client.aio import AsyncRouterClient
from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import health_pb2, info_pb2, outcome_pb2, route_pb2
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_service import refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

# It stays out for as long as the test runs; or a probe is due at once, and ends all.
LASTING = {"open_s": 3000, "max_open_s": 3000}
PASSING = {"open_s": 1e-6, "max_open_s": 1e-6, "slow_start_s": 0}
ONLY_LARGE = {"allowed_models": ["large"]}


async def report(running: Running, decision_id: str, **told: Any) -> bool:
    request = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **told)
    reply = await running.stub.ReportOutcome(request, timeout=HANG_S)
    accepted: bool = reply.accepted
    return accepted


async def fails(running: Running, model: str = "large", times: int = 3, **told: Any) -> None:
    """Asks one model, and reports that it failed."""
    for _ in range(times):
        reply = await running.route("hard", allowed_models=[model])
        assert reply.model == model
        assert await report(running, reply.decision_id, **(told or {"status_code": 500}))


async def streamed(running: Running) -> route_pb2.RouteResponse:
    call = running.stub.RouteStream(iter([route_pb2.RouteRequest(prompt="hard")]), timeout=HANG_S)
    (reply,) = [one async for one in call]
    return reply


async def batched(running: Running) -> route_pb2.RouteResponse:
    return (await running.batch(["hard"], score_per_usd=1.0)).responses[0]


async def test_a_model_that_fails_is_chosen_by_no_way_in(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health=LASTING)) as running:
        before = await running.route("hard", explain=True)
        assert before.model == "large"
        await fails(running)
        after = await running.route("hard", explain=True)
        assert after.model == "medium"
        assert not after.unhealthy
        assert after.reason.binding_constraints == ["health"]
        removed = {one.model: one.removed_by for one in after.candidates}
        assert removed == {"small": "", "medium": "", "large": "health"}
        assert (await streamed(running)).model == "medium"
        assert (await batched(running)).model == "medium"
        (warned,) = [one for one in running.logs if one["event"] == "left out, as it fails"]
        assert (warned["model"], warned["cause"]) == ("large", "server_error")


async def test_where_nothing_else_is_left_it_is_taken_and_the_reply_says_so(
    tmp_path: Path,
) -> None:
    async with serving(tiny_settings(tmp_path, health=LASTING)) as running:
        await fails(running)
        reply = await running.route("hard", **ONLY_LARGE)
        assert (reply.model, reply.unhealthy) == ("large", True)
        assert "fails at present" in reply.reason.text
        for model in ("small", "medium"):
            await fails(running, model)
        anyone = await running.route("hard")
        assert (anyone.model, anyone.unhealthy) == ("large", True)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_leaves_a_model_out_at_once(tmp_path: Path, status: int) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        await fails(running, times=1, status_code=status, retry_after_s=3600.0)
        assert (await running.route("hard")).model == "medium"


@pytest.mark.parametrize(
    "told",
    [
        {"status_code": 400},
        {"status_code": 413, "retry_after_s": 9.0},
        {"error": "HTTP status 500"},
        {"status_code": 200},
    ],
)
async def test_what_is_not_the_providers_fault_changes_nothing(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        await fails(running, times=5, **told)
        assert (await running.route("hard")).model == "large"


async def test_failures_without_a_status_have_a_word(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health=LASTING)) as running:
        async with AsyncRouterClient(running.service.address) as client:
            for _ in range(3):
                reply = await client.route("hard", allowed_models=["large"])
                assert await client.report(reply.decision_id, failure="timeout")
        assert (await running.route("hard")).model == "medium"


async def test_one_probe_brings_it_back(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health=PASSING)) as running:
        await fails(running)
        probe = await running.route("hard")
        assert probe.model == "large"
        assert "to see whether it answers again" in probe.reason.text
        assert (await running.route("hard")).model == "medium"  # one is on its way
        assert await report(running, probe.decision_id, status_code=500)
        again = await running.route("hard")
        assert again.model == "large"
        assert await report(running, again.decision_id, status_code=200)
        for _ in range(3):
            reply = await running.route("hard")
            assert (reply.model, reply.reason.binding_constraints) == ("large", [])


async def test_a_probe_that_nobody_received_or_another_answered_for_makes_room(
    tmp_path: Path,
) -> None:
    async with serving(tiny_settings(tmp_path, health=PASSING)) as running:
        await fails(running)
        probe = await running.service.engine.route(PromptRequest("hard"))
        assert probe.model == "large"
        running.service.engine._decider.release([probe])
        again = await running.route("hard")
        assert again.model == "large"
        assert await report(running, again.decision_id, model="medium", status_code=200)
        assert (await running.route("hard")).model == "large"


async def test_a_decision_counts_once_and_unknown_ones_not_at_all(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        decision_id = (await running.route("hard")).decision_id
        assert await report(running, decision_id, status_code=500)
        for _ in range(5):
            assert not await report(running, decision_id, status_code=500)
            assert not await report(running, "ab-cd-1", model="large", status_code=500)
        assert (await running.route("hard")).model == "large"


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"status_code": 99}, "status_code"),
        ({"status_code": 600}, "status_code"),
        ({"status_code": 2**32 - 1}, "status_code"),
        ({"status_code": 429, "retry_after_s": -1.0}, "retry_after_s"),
        ({"status_code": 429, "retry_after_s": float("nan")}, "retry_after_s"),
        ({"status_code": 429, "retry_after_s": float("inf")}, "retry_after_s"),
        ({"retry_after_s": 5.0}, "retry_after_s"),
        ({"failure": 99}, "failure"),
    ],
)
async def test_a_report_that_makes_no_sense_is_refused(
    tmp_path: Path, told: dict[str, Any], field: str
) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        decision_id = (await running.route("hard")).decision_id
        code, line = await refusal(report(running, decision_id, **told))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert line.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"name": "fixed", "fixed": {"model": "large"}}, route_pb2.RULE_FALLBACK),
        ({"name": "best"}, route_pb2.RULE_BEST_SCORE),
        ({"name": "lp"}, route_pb2.RULE_BEST_SCORE),
        (
            {"name": "lp", "unsure": {"ood_above": 0.0, "choose": "large"}},
            route_pb2.RULE_BEST_SCORE,
        ),
    ],
)
async def test_no_policy_takes_it(
    tmp_path: Path, policy: dict[str, Any], expected: route_pb2.Rule
) -> None:
    write_tiny_artifact(tmp_path / "predictor", uncertain=True)
    async with serving(tiny_settings(tmp_path, policy=policy, health=LASTING)) as running:
        await fails(running)
        reply = await running.route("hard")
        assert (reply.model, reply.reason.rule) == ("medium", expected)


async def test_no_turn_of_round_robin_is_its(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, policy={"name": "round_robin"}, health=LASTING)
    async with serving(settings) as running:
        await fails(running)
        assert {(await running.route("hard")).model for _ in range(9)} == {"small", "medium"}


async def test_escalate_asks_no_model_that_fails_while_another_is_left(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health=LASTING)) as running:
        small = await running.route("hard", allowed_models=["small"])
        every = await running.route("hard")
        ask = outcome_pb2.EscalateRequest(decision_id=every.decision_id)
        await fails(running, "medium")
        reply = await running.stub.Escalate(ask, timeout=HANG_S)
        assert reply.response.model in {"small", ""}
        only = outcome_pb2.EscalateRequest(decision_id=small.decision_id)
        assert not (await running.stub.Escalate(only, timeout=HANG_S)).HasField("response")


async def test_its_state_is_shown(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health=LASTING)) as running:
        await fails(running, status_code=429)
        listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=HANG_S)
        states = {one.name: one.health for one in listed.models}
        assert states["small"].state == health_pb2.HEALTH_STATE_CLOSED
        assert not states["small"].HasField("since_s")
        large = states["large"]
        assert large.state == health_pb2.HEALTH_STATE_OPEN
        assert large.cause == health_pb2.FAILURE_CAUSE_RATE_LIMITED
        assert (large.share, large.opened) == (0.0, 1)
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=HANG_S)
        assert info.health.enabled
        assert [one.model for one in info.health.failing] == ["large"]
        sample = running.service.metrics.registry.get_sample_value
        labels = {"provider": "", "model": "large"}
        assert sample("routoo_provider_health", labels) == 0.0
        opens = "routoo_provider_health_opens_total"
        assert sample(opens, {**labels, "cause": "rate_limited"}) == 1.0


async def test_it_can_be_off(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, health={"enabled": False})) as running:
        await fails(running, times=9)
        assert (await running.route("hard")).model == "large"
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=HANG_S)
        assert not info.health.enabled
        listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=HANG_S)
        assert not listed.models[0].HasField("health")


async def test_a_replay_is_exact_whatever_failed(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    health = {**PASSING, "slow_start_s": 3000}
    settings = tiny_settings(tmp_path, health=health, decision_log={"path": path})
    async with serving(settings) as running:
        await fails(running)
        for _ in range(3):
            await running.route("hard")
        probe = await running.route("hard", **ONLY_LARGE)
        await report(running, probe.decision_id, status_code=200)
        # A tenth of them go to large, and more and more: by chance, each after the other.
        models: list[str] = []
        async with asyncio.timeout(HANG_S):
            while len(models) < 60 or len(set(models)) < 2:
                models.append((await running.route("hard")).model)
        assert set(models) == {"medium", "large"}
        await batched(running)
        await running.batch(["hard", "easy"] * 8, budget_usd=0.1)
    log = read_logs([path])
    found = reproduce(log)
    assert (found.mismatches, found.findings) == ([], [])
    assert found.decisions > 60
    text = path.read_text()
    assert '"healthy":"110"' in text
