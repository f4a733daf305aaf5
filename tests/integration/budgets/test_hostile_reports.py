"""A tenant that reports what it likes spends neither others' budgets nor the common one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from math import inf, nan
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.cli.output.reply_screens import budgets as shown
from routoo.v1 import budget_pb2, outcome_pb2, route_pb2
from support.peers.redis_server import RedisServer
from support.processor_stream import chat_body, reply_body, reply_headers, stream, usage_body
from support.tiny_processor import all_ended, with_settings
from support.tiny_service import Running, refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    Shown = tuple[tuple[str, str], ...]

BUDGETS = [
    {"name": "everyone", "usd": 1000.0, "per": "365d"},
    {"name": "team-a", "tenant": "a", "usd": 100.0, "per": "365d"},
    {"name": "team-b", "tenant": "b", "usd": 100.0, "per": "365d"},
]
HUGE = 100_000.0
# Ten answers of small that fill its window of 4,096 tokens.
SMALL_MOST_USD = 10 * 4096 * 0.2e-6


def credentials(folder: Path) -> tuple[Path, Shown, Shown, Shown]:
    """Makes a file of tokens; returns it, and what a, b and an admin show."""
    file = folder / "tokens.jsonl"
    shown_by: list[Any] = []
    for tenant, roles in (("a", ["route"]), ("b", ["route"]), ("", ["admin", "route"])):
        text, stored = new_token(tenant, roles, time())
        append_token(file, stored)
        shown_by.append((("authorization", f"Bearer {text}"),))
    return file, *shown_by


async def decided(running: Running, shows: Shown, **fields: Any) -> str:
    request = route_pb2.RouteRequest(prompt="easy", **fields)
    reply = await running.stub.Route(request, metadata=shows, timeout=HANG_S)
    assert reply.model == "small"
    return str(reply.decision_id)


async def report(running: Running, shows: Shown, decision_id: str, **fields: Any) -> bool:
    message = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **fields)
    reply = await running.stub.ReportOutcome(message, metadata=shows, timeout=HANG_S)
    return bool(reply.accepted)


async def arrived(running: Running, shows: Shown, decision_id: str, **fields: Any) -> None:
    """Reports a decision of another replica, as soon as the shared books know it."""
    async with asyncio.timeout(HANG_S):
        while not await report(running, shows, decision_id, **fields):
            pass


async def states(running: Running, shows: Shown) -> dict[str, budget_pb2.Budget]:
    reply = await running.stub.GetBudget(budget_pb2.GetBudgetRequest(), metadata=shows)
    return {one.name: one for one in reply.budgets}


async def test_absurd_reports_leave_the_others_their_money(tmp_path: Path) -> None:
    file, a, b, admin = credentials(tmp_path)
    settings = tiny_settings(tmp_path, security={"tokens": file}, budgets=BUDGETS)
    async with serving(settings) as running:
        for told in ({"cost_usd": HUGE}, {"input_tokens": 10**8, "output_tokens": 10**8}):
            one = await decided(running, a)
            assert await report(running, a, one, **told)
            assert not await report(running, a, one, **told)
        for cost_usd in (nan, inf, -1.0):
            call = report(running, a, await decided(running, a), cost_usd=cost_usd)
            assert (await refusal(call))[0] is grpc.StatusCode.INVALID_ARGUMENT
        theirs = await decided(running, b)
        assert not await report(running, a, theirs, cost_usd=HUGE)
        found = await states(running, admin)
        settled = {name: one.settled_usd for name, one in found.items()}
        assert (
            settled["everyone"] == settled["team-a"] == pytest.approx(2 * SMALL_MOST_USD, rel=0.01)
        )
        assert settled["team-b"] == 0.0
        assert {name: one.capped_reports for name, one in found.items()} == {
            "everyone": 2,
            "team-a": 2,
            "team-b": 0,
        }
        assert found["team-a"].capped_usd > HUGE
        text = "\n".join(
            str(block) for block in shown(budget_pb2.GetBudgetResponse(budgets=found.values()))
        )
        assert "team-a: 2 reports told more than the request could have cost" in text
        assert "team-b: 2 reports" not in text
        await decided(running, b)


async def test_a_reply_with_absurd_usage_books_a_bounded_amount(tmp_path: Path) -> None:
    async with with_settings(tmp_path, budgets=BUDGETS[:1]) as running:
        async with stream(running.channel) as one:
            await one.routed(chat_body(max_tokens=100))
            await one.say(reply_headers())
            await one.say(reply_body(usage_body(99_000_000, 99_000_000)))
        await all_ended(running)
        (budget,) = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        # A window of input, 100 tokens of output, ten times.
        most_usd = 10 * (4096 * 0.1e-6 + 100 * 0.2e-6)
        assert budget.settled_usd == pytest.approx(most_usd)
        assert budget.capped_reports == 1


async def test_another_replicas_decision_is_still_its_tenants(tmp_path: Path) -> None:
    file, a, b, admin = credentials(tmp_path)
    with RedisServer(tmp_path) as redis:
        ledger = {"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S}
        settings = tiny_settings(
            tmp_path, security={"tokens": file}, budgets=BUDGETS, ledger=ledger
        )
        async with AsyncExitStack() as stack:
            maker, other = [await stack.enter_async_context(serving(settings)) for _ in range(2)]
            one = await decided(maker, a)
            assert not await report(other, b, one, cost_usd=0.0001)
            assert not await report(other, b, one, cost_usd=HUGE)
            assert (await states(maker, admin))["team-a"].settled_usd == 0.0
            await arrived(other, a, one, cost_usd=0.0001)
            assert (await states(maker, admin))["team-a"].settled_usd == pytest.approx(0.0001)
            # What any request of the pool could have cost bounds what nobody here has decided.
            await arrived(other, a, await decided(maker, a), cost_usd=HUGE)
            settled_usd = (await states(maker, admin))["everyone"].settled_usd
            assert settled_usd < 10 * 131_072 * (10 + 30) * 1e-6 + 0.001
            assert (await states(other, admin))["everyone"].capped_reports == 1
