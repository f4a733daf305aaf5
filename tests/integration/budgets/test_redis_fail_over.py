"""Budgets in a cluster and under a Sentinel: nothing is granted again when a replica takes over."""

from __future__ import annotations

from contextlib import ExitStack
from time import time_ns
from typing import TYPE_CHECKING, Any

import pytest

from routoo.budget.ledger import Settled
from routoo.config.sections.budget import LedgerSettings
from routoo.server.budgets import booked_spending
from support.budgets import FakeClock, all_figures, budget, figures, opened, reserve
from support.peers.redis_replica import BIG, PATIENT_S, come_back, renewed
from support.peers.redis_replicated import MASTER_NAME, Replicated, cluster, under_a_sentinel

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.budget.redis.ledger import RedisLedger

KEY = "{routoo}:meta"
WAYS: dict[str, Any] = {
    "backend": "redis",
    "redis_timeout_s": PATIENT_S,
    "redis_max_probe_s": 0.2,
    "local_share": 0.1,
}


def two(**settings: object) -> list[RedisLedger]:
    found = [opened(FakeClock(), BIG, **WAYS, **settings) for _ in range(2)]
    renewed(*found)  # type: ignore[arg-type]
    return found  # type: ignore[return-value]


def spend(ledgers: list[RedisLedger], name: str) -> float:
    """Takes a hundredth of the limit at a time, in turn, while there is something left."""
    total = 0.0
    for turn in range(110):
        for at, ledger in enumerate(ledgers):
            if reserve(ledger, {f"{name}-{at}-{turn}": 0.01}) == [-1]:
                total += 0.01
        renewed(*ledgers)
    return total


def lose_the_last_calls(pair: Replicated, ledgers: list[RedisLedger]) -> float:
    """Grants what the replica that takes over does not know, and returns all that was granted."""
    assert reserve(ledgers[0], {"known": 0.25}) == [-1]
    pair.lag()
    # The other ledger sees neither of these, and none of its own calls gets lost.
    assert reserve(ledgers[0], {"a": 0.25, "b": 0.125}) == [-1, -1]
    there, here = (one.client.info("replication") for one in (pair.replica, pair.master))
    assert there["slave_repl_offset"] < here["master_repl_offset"]
    return 0.625


def judge(ledgers: list[RedisLedger], granted: float) -> None:
    for ledger in ledgers:
        come_back(ledger)
    for ledger in ledgers:
        reserved, settled, _, _ = figures(ledger.states()[0])
        assert reserved + settled >= granted - 1e-9
    granted += spend(ledgers, "rest")
    assert granted <= 1.0 + 1e-9
    assert granted >= 0.95
    for ledger in ledgers:
        ledger.close()


def test_a_cluster_of_three_holds_all_keys_on_one_node(tmp_path: Path) -> None:
    with cluster(tmp_path, KEY) as servers:
        x = budget("x", 0.5, "1d", tenant="x", window="sliding")
        settings = {"redis_url": servers.url, "redis_cluster": True}
        ledger = opened(FakeClock(), budget(), x, **WAYS, **settings)
        assert reserve(ledger, {"a": 0.25, "b": 0.5}, tenant="x") == [-1, 1]
        assert ledger.settle("a", 0.125) is Settled.SETTLED
        assert all_figures(ledger.states()) == [(0.0, 0.125, 0.0, 1)] * 2
        assert not ledger.states()[0].degraded
        keys = [server.client.dbsize() for server in servers.masters]
        assert sorted(keys)[:2] == [0, 0]
        assert servers.master.client.dbsize() == max(keys) > 4
        ledger.close()


@pytest.mark.parametrize("way", ["cluster", "sentinel"])
def test_what_was_spent_is_read_where_the_books_are(tmp_path: Path, way: str) -> None:
    with ExitStack() as stack:
        if way == "cluster":
            url = stack.enter_context(cluster(tmp_path, KEY)).url
            ways: dict[str, Any] = {"redis_url": url, "redis_cluster": True}
        else:
            _, sentinel = stack.enter_context(under_a_sentinel(tmp_path))
            ways = {
                "redis_url": "redis://ignored:1/0",
                "redis_sentinels": (sentinel.url,),
                "redis_master": MASTER_NAME,
            }
        ledger = opened(FakeClock(), budget(), **WAYS, **ways)
        assert reserve(ledger, {"a": 0.25}) == [-1]
        assert ledger.settle("a", 0.125) is Settled.SETTLED
        (day,) = booked_spending([budget()], LedgerSettings(**WAYS, **ways), time_ns())
        assert day.settled_usd == 0.125
        ledger.close()


@pytest.mark.parametrize("first", ["reserve", "renew"])
def test_a_node_that_takes_over_and_lags_grants_nothing_again(tmp_path: Path, first: str) -> None:
    with cluster(tmp_path, KEY) as servers:
        ledgers = two(redis_url=servers.url, redis_cluster=True)
        granted = lose_the_last_calls(servers, ledgers)
        servers.fail_over()
        for ledger in reversed(ledgers):
            if first == "renew":
                ledger.renew()
            elif reserve(ledger, {"after": 0.5}) == [-1]:
                granted += 0.5
        judge(ledgers, granted)


def test_a_replica_that_a_sentinel_promotes_grants_nothing_again(tmp_path: Path) -> None:
    with under_a_sentinel(tmp_path) as (pair, sentinel):
        ledgers = two(
            redis_url="redis://ignored:1/0",
            redis_sentinels=(sentinel.url,),
            redis_master=MASTER_NAME,
        )
        granted = lose_the_last_calls(pair, ledgers)
        pair.master.stop()
        sentinel.lose_patience()
        for ledger in reversed(ledgers):
            if reserve(ledger, {"after": 0.5}) == [-1]:
                granted += 0.5
        judge(ledgers, granted)
        assert pair.replica.client.info("replication")["role"] == "master"
