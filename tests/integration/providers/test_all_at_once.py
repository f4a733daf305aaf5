"""Health, limits, fallbacks, learned times, sessions, budgets and a reload in one service."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import orjson
import pytest
import yaml

from routoo.telemetry.decision_log.otherwise import OtherPolicy
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from routoo.v1 import batch_pb2, health_pb2, outcome_pb2, route_pb2
from support.logged_engine import lines_of
from support.tiny_pool import ARMED
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

PROMPTS = ("easy", "hard", "else", "hard " * 50)
ROUNDS = 40
FAILURES = (
    {"status_code": 429, "retry_after_s": 0.05},
    {"status_code": 503},
    {"failure": health_pb2.FAILURE_CAUSE_TIMEOUT, "latency_ms": 9000},
    {"failure": health_pb2.FAILURE_CAUSE_CONNECTION},
)
HEALTH = {"failures": 2, "open_s": 0.02, "max_open_s": 0.1, "slow_start_s": 0.2}
LONG_HEALTH = {**HEALTH, "failures": 1, "open_s": 3600, "max_open_s": 3600}
"""A breaker that opens stays open, however slow the machine is."""
LIMITS: dict[str, dict[str, int]] = {
    "acme": {"requests_per_minute": 300, "max_concurrent": 20},
    "other": {"max_concurrent": 12, "tokens_per_minute": 60_000},
}
OTHER_LIMITS: dict[str, dict[str, int]] = {
    "acme": {"requests_per_minute": 250, "max_concurrent": 25},
    "other": {"max_concurrent": 9, "tokens_per_minute": 70_000},
}
WIDE_LIMITS: dict[str, dict[str, int]] = {
    "acme": {"requests_per_minute": 1_000_000, "max_concurrent": 1_000_000},
    "other": {"max_concurrent": 1_000_000, "tokens_per_minute": 1_000_000_000},
}
TIGHT_LIMITS = {**WIDE_LIMITS, "other": {**WIDE_LIMITS["other"], "max_concurrent": 1}}


def settings_of(
    folder: Path,
    limits: dict[str, dict[str, int]],
    health: dict[str, float] = HEALTH,
    usd: float = 1.0,
) -> Settings:
    """Makes settings with all that decides switched on, and the pool's file."""
    small, medium, large = ARMED
    models = [
        {**small, "provider": "acme", "usd_per_1m_cached_input_tokens": 0.01},
        {**medium, "provider": "acme", "usd_per_1m_cached_input_tokens": 0.1},
        {**large, "provider": "other", "usd_per_1m_cached_input_tokens": 1},
    ]
    values = {"models": models, "providers": limits}
    (folder / "pool.yaml").write_text(yaml.safe_dump(values))
    return tiny_settings(
        folder,
        decision_log={"path": folder / "decisions.jsonl"},
        health=health,
        corrections={"interval_s": 0.01},
        budgets=[
            {"name": "all", "usd": usd, "per": "365d"},
            {"name": "team", "tenant": "team", "usd": 0.05, "per": "365d"},
            {
                "name": "loose",
                "tenant": "loose",
                "usd": 0.00001,
                "per": "365d",
                "on_exhausted": "cheapest",
            },
        ],
        policy={
            "fallbacks": {"count": 3, "reserve": "most"},
            "latency_percentile": 90,
            "offered": ["cheapest", "round_robin"],
            "shadow": "cheapest",
            "prices": {"resolve_interval_s": 0.05},
        },
    )


REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION)
ALL_TOLD = {
    *("healthy", "limited", "charges", "fallbacks", "reserved_usd", "session", "plain_tokens"),
    *("latency_percentile", "constraints", "tenant", "most_input_tokens", "batch"),
}
"""What has to stand in the log, for all to have acted."""


class Caller:
    """Sends requests of every kind, and reports what became of them."""

    def __init__(self, running: Running, seed: int) -> None:
        self.running = running
        self.random = random.Random(seed)  # noqa: S311 - draws requests, no secrets
        self.open: list[route_pb2.RouteResponse] = []

    def fields(self, *, alone: bool) -> dict[str, Any]:
        """Draws a request; one of a batch names no policy."""
        draw, fields = self.random.random, dict[str, Any]()
        if draw() < 0.5:
            fields["tenant"] = self.random.choice(["team", "loose", "none"])
        if draw() < 0.4:
            fields["session_id"] = str(self.random.randrange(5))
        if draw() < 0.3:
            fields["latency_percentile"] = self.random.choice([50, 90, 95, 99])
        if draw() < 0.3:
            fields["max_latency_ms"] = self.random.choice([1500.0, 4000.0, 9000.0])
        if draw() < 0.2:
            fields["allowed_models"] = [self.random.choice(["small", "medium", "large"])]
        if draw() < 0.2:
            fields["max_cost_usd"] = self.random.choice([0.001, 0.01])
        if draw() < 0.2:
            fields["max_output_tokens"] = self.random.choice([30, 300])
        if alone and draw() < 0.2:
            fields["policy"] = self.random.choice(["cheapest", "round_robin"])
        return fields

    async def answered(self, call: Any) -> Any:
        """Awaits a call; None: it was refused for a reason that is one here."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSED:
                raise
            return None

    async def route(self) -> None:
        """Routes one request."""
        prompt = self.random.choice(PROMPTS)
        reply = await self.answered(self.running.route(prompt, **self.fields(alone=True)))
        if reply is not None:
            asked = [(one.model, one.arm.name) for one in (reply, *reply.fallbacks)]
            assert len(set(asked)) == len(asked)
            self.open.append(reply)

    async def batch(self) -> None:
        """Routes a batch, with constraints of its own or without."""
        requests = [
            route_pb2.RouteRequest(prompt=self.random.choice(PROMPTS), **self.fields(alone=False))
            for _ in range(self.random.randrange(2, 9))
        ]
        message = batch_pb2.RouteBatchRequest(requests=requests)
        if self.random.random() < 0.5:
            message.budget_usd = 0.01 * len(requests)
        message.dry_run = self.random.random() < 0.2
        reply = await self.answered(self.running.stub.RouteBatch(message, timeout=HANG_S))
        if reply is not None and not message.dry_run:
            self.open += reply.responses

    async def escalate(self) -> None:
        """Asks for another answer."""
        if not self.open:
            return
        asked = self.random.choice(self.open)
        ask = outcome_pb2.EscalateRequest(decision_id=asked.decision_id)
        reply = await self.running.stub.Escalate(ask, timeout=HANG_S)
        if reply.HasField("response"):
            assert not reply.response.fallbacks
            self.open.append(reply.response)

    async def report(self) -> None:
        """Reports a decision: a failure, an answer, or an answer of its first fallback."""
        if not self.open:
            return
        one = self.open.pop(self.random.randrange(len(self.open)))
        told: dict[str, Any] = {}
        if self.random.random() < 0.35:
            told = dict(self.random.choice(FAILURES))
        else:
            told = {
                "input_tokens": self.random.randrange(1, 60),
                "output_tokens": self.random.randrange(1, 400),
                "latency_ms": self.random.uniform(300, 6000),
                "time_to_first_token_ms": 200,
            }
            if one.fallbacks and self.random.random() < 0.4:
                other = one.fallbacks[0]
                arm = f"@{other.arm.name}" if other.HasField("arm") else ""
                told["model"] = f"{other.model}{arm}"
        message = outcome_pb2.ReportOutcomeRequest(decision_id=one.decision_id, **told)
        await self.running.stub.ReportOutcome(message, timeout=HANG_S)


async def check_money(running: Running) -> None:
    """Checks that no budget is promised beyond its end."""
    for state, _ in await running.service.engine.budgets():
        assert state.reserved_usd <= state.terms.limit_usd + 1e-9


async def route_past_a_failed_model(running: Running, settings: Callable[[], Settings]) -> None:
    """Has one decision made while a breaker is open: those before may all be closed again by then.

    Args:
        running: the service.
        settings: makes those with limits that nothing reaches and breakers that stay open.
    """
    assert await running.service.reloader.start(settings) == "switched"
    one = await running.route("easy", allowed_models=["small"])
    failed = outcome_pb2.ReportOutcomeRequest(decision_id=one.decision_id, status_code=503)
    await running.stub.ReportOutcome(failed, timeout=HANG_S)
    async with asyncio.timeout(HANG_S):
        # The other one may have failed before, too, and is asked again after its own pause.
        while (await running.route("easy", allowed_models=["small", "large"])).model != "large":
            other = await running.route("easy", allowed_models=["large"])
            answered = {"input_tokens": 9, "output_tokens": 9, "decision_id": other.decision_id}
            message = outcome_pb2.ReportOutcomeRequest(**answered)
            await running.stub.ReportOutcome(message, timeout=HANG_S)


def told_in(path: Path) -> set[str]:
    """Returns all that is told in the lines of decisions that are written whole by now."""
    whole = map(orjson.loads, path.read_bytes().rpartition(b"\n")[0].splitlines())
    return {name for line in whole if line["kind"] == "decision" for name in line}


async def fill_a_limit(caller: Caller, path: Path) -> None:
    """Goes on until a limit of one request at a time has turned a decision, and the log has it."""
    async with asyncio.timeout(HANG_S):
        while "limited" not in told_in(path):
            await caller.answered(caller.running.route("easy", allowed_models=["large"]))
            await caller.answered(caller.running.route("easy"))


async def meet_the_rest(running: Running, path: Path) -> None:
    """Goes on until the log has all that is to act; drawn requests may not have met all of it."""
    requests = [route_pb2.RouteRequest(prompt="easy") for _ in range(3)]
    joint = batch_pb2.RouteBatchRequest(requests=requests, budget_usd=1.0)
    fields = {"tenant": "loose", "session_id": "last", "latency_percentile": 95}
    async with asyncio.timeout(HANG_S):
        while True:
            await running.stub.RouteBatch(joint)
            one = await running.route("easy", max_latency_ms=60_000.0, **fields)
            took = {"input_tokens": 9, "output_tokens": 399, "latency_ms": 900.0}
            told = outcome_pb2.ReportOutcomeRequest(decision_id=one.decision_id, **took)
            await running.stub.ReportOutcome(told, timeout=HANG_S)
            if told_in(path) >= ALL_TOLD:
                return


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_that_decides_acts_together_and_is_replayed(tmp_path: Path, seed: int) -> None:
    settings, path = settings_of(tmp_path, LIMITS), tmp_path / "decisions.jsonl"
    async with serving(settings) as running:
        caller = Caller(running, seed)
        kinds = (caller.route, caller.route, caller.route, caller.report, caller.report)
        more = (*kinds, caller.batch, caller.escalate)
        for number in range(ROUNDS):
            if number == ROUNDS // 2:
                reload = running.service.reloader.start
                reloading = reload(lambda: settings_of(tmp_path, OTHER_LIMITS))
                await asyncio.gather(*(caller.random.choice(more)() for _ in range(10)))
                assert await reloading == "switched"
            together = caller.random.choice([1, 1, 12])
            await asyncio.gather(*(caller.random.choice(more)() for _ in range(together)))
            await check_money(running)
        tight = lambda: settings_of(tmp_path, TIGHT_LIMITS)  # noqa: E731
        assert await running.service.reloader.start(tight) == "switched"
        await fill_a_limit(caller, path)
        await route_past_a_failed_model(
            running, lambda: settings_of(tmp_path, WIDE_LIMITS, LONG_HEALTH, usd=1000.0)
        )
        await meet_the_rest(running, path)
    log = read_logs([path])
    found = reproduce(log)
    assert (found.mismatches, found.findings) == ([], [])
    assert found.joint_batches > 0
    told = {name for line in lines_of(path) for name in line}
    assert told >= ALL_TOLD
    assert any(line["fallbacks"] for line in lines_of(path))
    assert any(line["reason"] == "BUDGET_SPENT" for line in lines_of(path))
    assert what_if(log, OtherPolicy("")).same > 0
