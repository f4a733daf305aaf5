"""Money is not forgotten when Redis loses its books, once or often, or goes back to older ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from routoo.budget.ledger import Settled
from support.budgets import budget, figures, grants, reserve
from support.peers.redis_replica import BIG, come_back, renewed, replica
from support.peers.redis_server import REPLY_TIMEOUT_S, RedisServer
from support.peers.split_replica import World, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from routoo.budget.redis.ledger import RedisLedger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


def flush(server: RedisServer) -> None:
    server.client.flushall()


def crash(server: RedisServer) -> None:
    server.stop()
    server.start()


def evict(server: RedisServer) -> None:
    server.client.delete(*server.client.keys("{routoo}:*"))


LOSSES = {"flushed": flush, "restarted without data": crash, "evicted": evict}


def spend_all(ledgers: list[RedisLedger], name: str) -> float:
    """Takes all that can be had, a hundredth of the limit at a time, and returns it in USD."""
    total = 0.0
    for turn in range(110):
        for at, ledger in enumerate(ledgers):
            if reserve(ledger, {f"{name}-{at}-{turn}": 0.01}) == [-1]:
                total += 0.01
        renewed(*ledgers)
    return total


def spent(ledger: RedisLedger) -> float:
    reserved, settled, _, _ = figures(ledger.states()[0])
    return reserved + settled


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_books_lost_are_raised_to_what_was_granted(
    server: RedisServer, lose: Callable[[RedisServer], None], times: int
) -> None:
    ledgers = [replica(server, local_share=0.0) for _ in range(3)]
    renewed(*ledgers)
    total = 0.0
    with capture_logs() as logs:
        for turn in range(times):
            for at, ledger in enumerate(ledgers):
                assert reserve(ledger, {f"{turn}-{at}": 0.0625}) == [-1]
                total += 0.0625
            lose(server)
            for at, ledger in enumerate(ledgers):
                reserve(ledger, {f"{turn}-{at}-after": 1.0})
            for ledger in ledgers:
                come_back(ledger)
            assert spent(ledgers[turn]) == pytest.approx(total)
    assert any("lost the books" in entry.get("reason", "") for entry in logs)
    assert total + spend_all(ledgers, "rest") == pytest.approx(1.0, abs=0.01)
    for ledger in ledgers:
        ledger.close()


def test_nothing_beyond_leases_is_granted_until_all_have_told(server: RedisServer) -> None:
    one, two = replica(server), replica(server)
    renewed(one, two)
    two._reconciling.acquire()
    assert reserve(two, {"b": 0.75}) == [-1]  # the replica ``one`` has not seen this
    flush(server)
    grants(one, {"a": 0.001})
    come_back(one)
    found = grants(one, {"c": 0.0625})
    assert (found.refused_by.tolist(), found.degraded) == ([0], True)
    found = grants(one, {"d": 0.03})  # the lease is 0.05
    assert (found.refused_by.tolist(), found.degraded) == ([-1], True)
    assert reserve(one, {"e": 0.03}) == [0]
    two._reconciling.release()
    grants(two, {"f": 0.001})
    come_back(two)
    assert spent(one) == pytest.approx(0.75 + 0.03 + 0.002, abs=0.0011)
    found = grants(one, {"g": 0.125})
    assert (found.refused_by.tolist(), found.degraded) == ([-1], False)
    assert 0.9 < spent(one) + spend_all([one, two], "rest") <= 1.0 + 1e-9
    one.close()
    two.close()


def test_a_replica_that_starts_after_the_loss_does_not_hide_it(server: RedisServer) -> None:
    old = replica(server, local_share=0.0)
    old._reconciling.acquire()
    assert reserve(old, {"a": 0.5}) == [-1]
    flush(server)
    new = replica(server, local_share=0.0)
    assert reserve(new, {"b": 0.25}) == [-1]  # books that it has to take for new ones
    old._reconciling.release()
    reserve(old, {"c": 1.0})
    come_back(old)
    reserve(new, {"d": 1.0})
    come_back(new)
    assert spent(old) == spent(new) == 0.75
    assert reserve(new, {"e": 0.375}) == [0]
    assert reserve(old, {"f": 0.25}) == [-1]
    old.close()
    new.close()


@pytest.mark.parametrize("times", [1, 2])
def test_an_older_snapshot_is_noticed_and_raised(tmp_path: Path, times: int) -> None:
    with RedisServer(tmp_path, "--dbfilename", "books.rdb") as server:
        ledgers = [replica(server, local_share=0.0) for _ in range(3)]
        renewed(*ledgers)
        total = 0.0
        for turn in range(times):
            assert reserve(ledgers[0], {f"{turn}-saved": 0.125}) == [-1]
            server.client.save()
            for at, ledger in enumerate(ledgers):
                assert reserve(ledger, {f"{turn}-{at}": 0.0625}) == [-1]
            total += 0.125 + 3 * 0.0625
            crash(server)
            for at, ledger in enumerate(ledgers):
                reserve(ledger, {f"{turn}-{at}-after": 1.0})
            for ledger in ledgers:
                come_back(ledger)
            assert spent(ledgers[0]) == pytest.approx(total)
        assert total + spend_all(ledgers, "rest") == pytest.approx(1.0, abs=0.01)
        for ledger in ledgers:
            ledger.close()


def test_books_that_go_back_while_connections_last_are_noticed(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--dbfilename", "books.rdb") as server:
        ledger = replica(server, local_share=0.0)
        assert reserve(ledger, {"a": 0.25}) == [-1]
        server.client.save()
        assert reserve(ledger, {"b": 0.5}) == [-1]
        # Loads the file that was saved, and keeps running.
        server.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert reserve(ledger, {"c": 0.5}) == [0]
        come_back(ledger)
        assert spent(ledger) == 0.75
        assert reserve(ledger, {"d": 0.5}) == [0]
        assert reserve(ledger, {"e": 0.25}) == [-1]
        ledger.close()


def test_an_answer_that_comes_after_the_loss_is_not_forgotten(server: RedisServer) -> None:
    ledger = replica(server, redis_max_probe_s=3600)
    renewed(ledger)
    reserve_call = ledger._store.reserve

    def slow(*arguments: Any, **named: Any) -> Any:
        reply = reserve_call(*arguments, **named)
        ledger._store.reserve = reserve_call  # type: ignore[method-assign]
        flush(server)
        ledger.renew()
        come_back(ledger)
        return reply

    ledger._store.reserve = slow  # type: ignore[method-assign]
    assert reserve(ledger, {"a": 0.0625}) == [-1]  # out of the lease
    come_back(ledger)
    assert spent(ledger) == 0.0625
    ledger._store.reserve = slow  # type: ignore[method-assign]
    assert reserve(ledger, {"b": 0.5}) == [0]
    come_back(ledger)
    assert spent(ledger) == 0.0625
    ledger.close()


@pytest.mark.parametrize("first", ["renewal", "request"])
def test_a_budget_that_redis_threw_away_is_noticed(server: RedisServer, first: str) -> None:
    ledger = replica(server, BIG, budget("day", 0.5, "30d"))
    ledger._renewing.acquire()
    assert reserve(ledger, {"a": 0.25}) == [-1]
    (key,) = server.client.keys("{routoo}:budget:day:*")
    server.client.delete(key)
    if first == "request":
        assert reserve(ledger, {"b": 0.375}) == [0]
    ledger._renewing.release()
    renewed(ledger)
    come_back(ledger)
    assert [figures(state)[0] + figures(state)[1] for state in ledger.states()] == [0.25, 0.25]
    ledger.close()


def test_a_redis_that_forgets_at_a_restart_is_warned_of(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, capture_logs() as logs:
        replica(server).close()
        server.client.config_set("save", "3600 1")
        replica(server).close()
        server.client.config_set("appendonly", "yes")
        deadline_s = time.monotonic() + REPLY_TIMEOUT_S
        while server.client.info("persistence")["aof_rewrite_in_progress"]:
            assert time.monotonic() < deadline_s
        replica(server).close()
    reasons = [entry["reason"] for entry in logs if "appendonly" in entry["event"]]
    assert len(reasons) == 2
    assert "saves nothing" in reasons[0]
    assert "snapshots only" in reasons[1]


def test_what_is_put_back_late_ends_no_earlier_than_it_was_spent(server: RedisServer) -> None:
    """Two replicas put back what they saw at different times, with an end of spending between."""
    # A step of this test may take minutes before it changes what counts.
    world = World(server, (budget(usd=1.0, per="1h", window="sliding"),), 0.0, 900.0)
    one, two = world.join(), world.join()
    assert reserve(one, {"a": 0.5}) == [-1]
    world.wait_s(1200)
    assert reserve(one, {"b": 0.25}) == [-1]  # its last answer: 0.75
    world.wait_s(2700)  # "a" counts no longer
    assert reserve(two, {"c": 0.125}) == [-1]  # its last answer: 0.375
    world.lose(all_of_it=True)
    for ledger in (one, two):
        reserve(ledger, {f"after-{ledger is one}": 1.0})
        assert ledger.reconcile()
    assert spent(two) == pytest.approx(0.375)
    world.wait_s(1200)  # "b" counts no longer
    assert 0.125 <= spent(two) <= 0.375
    assert reserve(two, {"d": 0.9}) == [0]
    world.close()


def test_a_lease_that_is_spent_is_not_to_be_had_again_after_a_loss(server: RedisServer) -> None:
    """Its holder tells what it has spent while nobody knows what the other one has."""
    money = (budget(usd=1.0, per="30d"),)
    world = World(server, money, 1.0, 900.0, book_delay_s=1.0)
    one, two = world.join(), world.join()
    renewed(one, two)
    assert reserve(one, {"a": 0.375}) == reserve(two, {"b": 0.4375}) == [-1]  # not booked yet
    world.lose(all_of_it=True)
    one.renew()
    assert one.reconcile()
    # 0.125 USD of its lease are left.
    assert reserve(one, {f"c{row}": 0.0625 for row in range(8)}).count(-1) == 2
    two.renew()
    assert two.reconcile()
    renewed(one, two)
    for name, ledger in (("d", one), ("e", two)):  # half of the rest is the other one's lease
        assert reserve(ledger, {f"{name}{row}": 0.03125 for row in range(8)}).count(-1) == 1
    assert spent(one) == pytest.approx(1.0)
    world.close()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("seen", [True, False])
def test_a_loss_that_a_replica_has_missed_hides_nothing_that_was_told_before(
    server: RedisServer,
    seen: bool,  # noqa: FBT001 - pytest passes by name
    first: int,
) -> None:
    """One replica has told after the first of two losses, when the other was away."""
    world = World(server, (budget(usd=1.0, per="30d"),), 0.25, 900.0)
    one, two = world.join(), world.join()
    renewed(one, two)
    assert reserve(one, {"a": 0.25}) == [-1]
    renewed(one, two)
    if not seen:
        store_of(one).cut = True
    assert reserve(two, {"b": 0.125}) == [-1]
    if seen:
        renewed(one, two)
    for name, ledger in (("c", one), ("d", two)):
        store_of(ledger).cut = True
        assert reserve(ledger, {name: 0.0625}) == [-1]  # of its lease
    world.lose(all_of_it=True)
    store_of(one).cut = False
    assert one.reconcile()
    assert reserve(one, {"e": 0.0078125}) == [-1]  # of its lease, in books that are not whole
    assert one.settle("c", 0.03125) is Settled.SETTLED
    world.lose(all_of_it=True)
    for ledger in (one, two)[first:] + (one, two)[:first]:
        store_of(ledger).cut = False
        ledger.renew()  # it finds that Redis is another one
        assert ledger.reconcile()
    renewed(one, two)
    assert spent(one) == spent(two) == pytest.approx(0.4765625)
    world.close()
