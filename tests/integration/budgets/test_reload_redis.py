"""A reload changes budgets in Redis and keeps the books; without Redis it is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from routoo.v1 import budget_pb2, outcome_pb2
from support.peers.redis_server import RedisServer
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


async def reload(running: Running, settings: Settings) -> str:
    async with asyncio.timeout(HANG_S):
        return await running.service.reloader.start(lambda: settings)


async def test_the_books_in_redis_stay_and_a_dead_redis_refuses_the_change(
    tmp_path: Path, redis: RedisServer
) -> None:
    def limited(usd: float) -> Settings:
        return tiny_settings(
            tmp_path,
            budgets=[{"name": "day", "usd": usd, "per": "365d"}],
            ledger={"backend": "redis", "redis_url": redis.url, "redis_timeout_s": HANG_S},
        )

    async with serving(limited(1.0)) as running:

        async def state() -> Any:
            (budget,) = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
            return budget

        first = await running.route("easy")
        before = await state()
        assert await reload(running, limited(0.5)) == "switched"
        after = await state()
        assert (after.limit_usd, after.reserved_usd) == (0.5, before.reserved_usd)
        report = outcome_pb2.ReportOutcomeRequest(decision_id=first.decision_id, cost_usd=0.005)
        assert (await running.stub.ReportOutcome(report)).accepted
        assert (await state()).settled_usd == pytest.approx(0.005)
        redis.stop()
        assert await reload(running, limited(0.4)) == "refused"
        (line,) = [one for one in running.logs if one.get("outcome") == "refused"]
        assert "cannot change while Redis is away" in line["detail"]
        assert (await running.route("easy")).degraded
