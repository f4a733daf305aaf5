"""Exploring, learning, an experiment, a watched promise and all else that decides, in one service.

Each part of the loop is on beside sessions, limits, fallbacks, breakers, budgets and reloads; the
log of it is replayed to the bit, its draws have odds, and no budget is exceeded.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
import yaml

from routoo.predictor.artifact import load_artifact
from routoo.routing.pool import load_pool
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import batch_pb2, budget_pb2, outcome_pb2, route_pb2
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.logged_engine import lines_of
from support.tiny_pool import CACHED_SPECS
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

PROMPTS = ("code", "math", "code and math", "easy", "code strange")
ROUNDS, TOGETHER = 60, 6
REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION)
BUDGETS: list[dict[str, Any]] = [
    {"name": "explore", "usd": 5.0, "per": "1d", "pays_for": "exploration"},
    {"name": "all", "usd": 20.0, "per": "1h"},
    {"name": "team", "tenant": "team", "usd": 0.05, "per": "1h", "on_exhausted": "cheapest"},
]
ALL_TOLD = {
    *("explore", "unexplored", "trial", "learned", "plain_scores", "score_odds", "session"),
    *("fallbacks", "reserved_usd", "tenant", "constraints", "score_std", "task"),
}
"""What has to stand in the log, for all to have acted."""
RULES = {
    route_pb2.RULE_EXPLORED: "",
    route_pb2.RULE_GUARANTEE_SHARE: "guarantee",
    route_pb2.RULE_GUARANTEE: "guarantee",
}
"""Rules of the loop, and the policies by which they come."""


def settings_of(folder: Path, *, share: float = 0.3, concurrent: int = 4) -> Settings:
    """Makes settings with all of the loop switched on, and their files."""
    if not (folder / "predictor").exists():
        write_tiny_table_artifact(folder / "predictor")
    limits = {"other": {"max_concurrent": concurrent}, "acme": {"requests_per_minute": 100_000}}
    text = yaml.safe_dump({"models": list(CACHED_SPECS), "providers": limits})
    (folder / "pool.yaml").write_text(text)
    pool = load_pool(folder / "pool.yaml")
    guarantee = {
        "reference": "large",
        "max_drop": 0.4,
        "price": 100.0,
        "predictor_version": load_artifact(folder / "predictor").version_for(pool.predictor_names),
        "pool_digest": pool.digest,
        "watch": {"share": 0.3, "path": folder / "promise.json"},
    }
    experiment = {"candidate": "best", "share": 0.4, "path": folder / "experiment.json"}
    return tiny_settings(
        folder,
        policy={
            "offered": ["best", "guarantee", "round_robin"],
            "max_mean_cost_usd": 0.01,
            "explore": {"share": share, "budget": "explore", "floor": 0.3},
            "guarantee": guarantee,
            "fallbacks": {"count": 2, "reserve": "most"},
            "shadow": "best",
        },
        budgets=BUDGETS,
        decision_log={"path": folder / "decisions.jsonl"},
        learning={"enabled": True, "interval_s": 0.01},
        experiment={"name": "trial", **experiment},
        sessions={"enabled": True},
        health={"failures": 2, "open_s": 0.02, "max_open_s": 0.1, "slow_start_s": 0.2},
        corrections={"interval_s": 0.01},
    )


class Callers:
    """Sends requests of every kind at the same time, and reports what became of them."""

    def __init__(self, running: Running, seed: int) -> None:
        self.running = running
        self.random = random.Random(seed)  # noqa: S311 - draws requests, no secrets
        self.replies: list[route_pb2.RouteResponse] = []
        self.open: list[route_pb2.RouteResponse] = []

    def request(self) -> route_pb2.RouteRequest:
        """Draws a request."""
        draw, fields = self.random.random, dict[str, Any]()
        if draw() < 0.3:
            fields["policy"] = self.random.choice(["guarantee", "guarantee", "round_robin"])
        if draw() < 0.4:
            fields["tenant"] = self.random.choice(["team", "none"])
        if draw() < 0.3:
            fields["session_id"] = str(self.random.randrange(8))
        if draw() < 0.2:
            fields["allowed_models"] = self.random.sample(["small", "medium", "large"], 2)
        return route_pb2.RouteRequest(prompt=self.random.choice(PROMPTS), **fields)

    async def route(self) -> None:
        """Routes one request."""
        try:
            reply = await self.running.stub.Route(self.request(), timeout=HANG_S)
        except grpc.aio.AioRpcError as error:
            assert error.code() in REFUSED, error.details()  # noqa: PT017 - others are expected
            return
        self.replies.append(reply)
        self.open.append(reply)

    async def batch(self) -> None:
        """Routes a batch, with a budget of its own or without."""
        requests = [self.request() for _ in range(4)]
        for one in requests:
            one.ClearField("policy")
        message = batch_pb2.RouteBatchRequest(requests=requests)
        if self.random.random() < 0.5:
            message.budget_usd = 0.1
        try:
            reply = await self.running.stub.RouteBatch(message, timeout=HANG_S)
        except grpc.aio.AioRpcError as error:
            assert error.code() in REFUSED, error.details()  # noqa: PT017 - others are expected
            return
        self.replies += reply.responses
        self.open += reply.responses

    async def meet(self) -> None:
        """Goes on until each rule of the loop has decided, and what was learned was in force.

        It may not have happened before: models fail and limits are full as it comes.
        """
        for rule, policy in RULES.items():
            async with asyncio.timeout(HANG_S):
                while True:
                    request = route_pb2.RouteRequest(prompt="math", policy=policy)
                    reply = await self.running.stub.Route(request, timeout=HANG_S)
                    self.replies.append(reply)
                    told = {"decision_id": reply.decision_id, "score": 1.0, "output_tokens": 9}
                    message = outcome_pb2.ReportOutcomeRequest(input_tokens=9, **told)
                    await self.running.stub.ReportOutcome(message, timeout=HANG_S)
                    if reply.reason.rule == rule and reply.learned_version:
                        break
        joint = [route_pb2.RouteRequest(prompt="math") for _ in range(2)]
        message = batch_pb2.RouteBatchRequest(requests=joint, budget_usd=0.1)
        self.replies += (await self.running.stub.RouteBatch(message, timeout=HANG_S)).responses

    async def report(self) -> None:
        """Reports a decision twice, of which the first one counts: a grade, or a failure."""
        if not self.open:
            return
        one = self.open.pop(self.random.randrange(len(self.open)))
        told: dict[str, Any] = {"status_code": 503}
        if self.random.random() < 0.9:
            score = self.random.uniform(0.0, 0.4) if one.model == "large" else 1.0
            tokens = self.random.randrange(1, 200)
            # An answer may cost more than was reserved for it; here none does: sums are exact.
            cost_usd = self.random.random() * one.predicted_cost_usd
            told = {
                "score": score,
                "input_tokens": 20,
                "output_tokens": tokens,
                "cost_usd": cost_usd,
            }
        message = outcome_pb2.ReportOutcomeRequest(decision_id=one.decision_id, **told)
        for accepted in (True, False):
            reply = await self.running.stub.ReportOutcome(message, timeout=HANG_S)
            assert reply.accepted is accepted


async def check_money(running: Running) -> None:
    """Checks that no budget has given out more than it has."""
    reply = await running.stub.GetBudget(budget_pb2.GetBudgetRequest())
    for one in reply.budgets:
        assert one.reserved_usd + one.settled_usd <= one.limit_usd + 1e-9, one.name


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_loop_acts_beside_all_else_and_is_replayed(tmp_path: Path, seed: int) -> None:
    async with serving(settings_of(tmp_path)) as running:
        callers = Callers(running, seed)
        kinds = (callers.route, callers.route, callers.report, callers.report, callers.batch)
        for number in range(ROUNDS):
            calls = [callers.random.choice(kinds)() for _ in range(TOGETHER)]
            if number == ROUNDS // 2:
                start = running.service.reloader.start
                other = lambda: settings_of(tmp_path, share=0.2, concurrent=5)  # noqa: E731
                reloaded, *_ = await asyncio.gather(start(other), *calls)
                assert reloaded == "switched"
            else:
                await asyncio.gather(*calls)
            await check_money(running)
        while callers.open:
            await callers.report()
        await callers.meet()
        await check_money(running)
    path = tmp_path / "decisions.jsonl"
    log = read_logs([path])
    found = reproduce(log)
    assert (found.mismatches, found.findings) == ([], [])
    assert found.joint_batches > 0
    lines = {line["id"]: line for line in lines_of(path)}
    assert {name for line in lines.values() for name in line} >= ALL_TOLD
    for reply in callers.replies:
        told = lines[reply.decision_id]["propensity"]
        assert told == (reply.propensity if reply.HasField("propensity") else None)
    graded = [line["id"] for line in lines_of(path, "outcome")]
    assert len(graded) == len(set(graded))
