"""Single requests are granted out of the lease at once, and the books are as exact as without."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from routoo.budget.ledger import Settled
from routoo.budget.redis import ledger as ledger_module
from routoo.budget.redis.store import RedisStore
from support.budgets import all_figures, budget, figures, grants, reserve, usd
from support.peers.redis_replica import come_back, renewed, replica
from support.peers.redis_server import RedisServer
from support.peers.split_replica import StillLedger, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo.budget.redis.ledger import RedisLedger

# Nothing is booked before a test wants it, or the ledger itself does.
LATER = {"book_delay_s": 1.0}
STRICT = budget(usd=1.0, per="30d", window="sliding", on_exhausted="refuse")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as running:
        yield running


def ahead_of(server: RedisServer, *budgets: Any, **more: Any) -> RedisLedger:
    found = replica(server, *(budgets or (STRICT,)), **{**LATER, **more})
    renewed(found)
    return found


def test_a_request_within_the_lease_does_not_wait_for_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ahead_of(server)
    monkeypatch.setattr(RedisStore, "reserve", lambda *_, **__: pytest.fail("asked Redis"))
    with ledger._asking._booking:  # what is booked leaves the lease less to grant
        found = grants(ledger, {"a": 0.0625})
        assert (found.refused_by.tolist(), found.degraded) == ([-1], False)
        assert reserve(ledger, {"a": 0.0625}) == [-1]  # the same decision
        assert ledger.settle("a", 0.03125) is Settled.SETTLED
        assert ledger.settle("a", 0.5) is Settled.TWICE
        assert reserve(ledger, {"b": 0.03125}) == [-1]
    assert figures(ledger.states()[0]) == (0.03125, 0.03125, 0.0, 2)
    assert ledger.settle("b", 0.03125) is Settled.SETTLED
    assert ledger.settle("b", 0.5) is Settled.TWICE
    ledger.close()


def test_the_last_nano_dollar_can_be_had_and_none_more(server: RedisServer) -> None:
    ledger, other = ahead_of(server), replica(server, STRICT)
    renewed(ledger, other)
    other.close()  # and gives its lease back
    assert reserve(ledger, {"a": 0.01}) == [-1]
    assert reserve(ledger, {"b": 0.02, "c": 0.5}) == [-1, -1]
    assert reserve(ledger, {"d": 0.5}) == [0]
    assert reserve(ledger, {"e": 0.47}) == [-1]
    assert reserve(ledger, {"f": 1e-9}) == [0]
    assert figures(ledger.states()[0]) == (1.0, 0.0, 0.0, 4)
    ledger.close()


def test_a_budget_over_its_limit_grants_nothing_ahead(server: RedisServer) -> None:
    ledger = ahead_of(server)
    assert reserve(ledger, {"a": 0.5}) == [-1]
    renewed(ledger)
    assert ledger.settle("a", 2.0) is Settled.SETTLED
    assert reserve(ledger, {"b": 1e-9}) == [0]
    ledger.close()


def test_every_budget_of_the_row_needs_a_lease(server: RedisServer) -> None:
    x = budget("x", 0.1, "30d", tenant="x", window="sliding")
    ledger = ahead_of(server, STRICT, x)
    assert reserve(ledger, {"a": 0.008}, tenant="x") == [-1]
    assert reserve(ledger, {"b": 0.05}, tenant="x") == [-1]  # more than the lease
    assert reserve(ledger, {"c": 0.05}, tenant="x") == [1]
    assert reserve(ledger, {"d": 0.05}, tenant="y") == [-1]
    assert all_figures(ledger.states()) == [
        pytest.approx((0.108, 0.0, 0.0, 3)),
        pytest.approx((0.058, 0.0, 0.0, 2)),
    ]
    ledger.close()


def test_what_is_not_booked_when_redis_goes_away_is_told_later(server: RedisServer) -> None:
    ledger, other = ahead_of(server), replica(server, STRICT)
    renewed(ledger, other)
    assert reserve(ledger, {"a": 0.03125, "b": 0.5}) == [-1, -1]
    renewed(ledger, other)
    ledger._asking._booking.acquire()
    assert reserve(ledger, {"c": 0.0078125}) == [-1]
    assert ledger.settle("c", 0.00390625) is Settled.SETTLED
    server.stop()
    ledger._asking._booking.release()
    ledger.book()
    assert ledger.degraded
    (state,) = ledger.states()
    assert state.reserved_usd + state.settled_usd == 0.53125 + 0.00390625
    # The lease was 0.0234375 USD.
    assert reserve(ledger, {"d": 0.021, "e": 0.0078125}) == [0, -1]
    server.start()
    come_back(ledger)
    come_back(other)
    assert figures(other.states()[0]) == (0.5390625, 0.00390625, 0.0, 4)
    ledger.close()
    other.close()


def test_a_loss_of_the_books_loses_nothing_that_is_not_booked(server: RedisServer) -> None:
    ledger = ahead_of(server)
    ledger._asking._booking.acquire()
    assert reserve(ledger, {"a": 0.0625}) == [-1]
    server.client.flushall()
    ledger._asking._booking.release()
    ledger.book()
    come_back(ledger)
    assert figures(ledger.states()[0]) == (0.0625, 0.0, 0.0, 1)
    ledger.close()


def test_a_stop_books_all_and_gives_the_lease_back(server: RedisServer) -> None:
    ledger, other = ahead_of(server), replica(server, STRICT)
    assert reserve(ledger, {"a": 0.03125}) == [-1]
    ledger.close()
    assert figures(other.states()[0]) == (0.03125, 0.0, 0.0, 1)
    assert reserve(other, {"b": 0.96875}) == [-1]
    other.close()


class RenewingLock:
    """A lock after which the leases are renewed whenever nothing is granted ahead."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger, self._lock = ledger, ledger._lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not self._ledger._alone.ahead._open:
            self._ledger.renew()


def test_a_renewal_at_any_moment_keeps_no_money_from_a_request(server: RedisServer) -> None:
    ledger = ahead_of(server)
    ledger._asking._lock = RenewingLock(ledger)  # type: ignore[assignment]
    assert reserve(ledger, {"a": 1.0}) == [-1]  # its own lease is a part of it
    ledger.close()


def drain(ledger: RedisLedger) -> float:
    """Takes a thousandth of the limit at a time, twice in a call, while there is something left."""
    total = 0.0
    for row in range(600):
        total += 0.001 * reserve(ledger, {f"d{row}": 0.001, f"e{row}": 0.001}).count(-1)
    return total


def judge(ledgers: list[StillLedger], total: float) -> None:
    """Compares what was granted with the books, when all of it is booked."""
    for ledger in ledgers:
        ledger.book()
    assert figures(ledgers[0].states()[0])[0] == pytest.approx(total)
    assert total <= 1.0 + 1e-9


@pytest.fixture
def world(server: RedisServer) -> Iterator[World]:
    found = World(server, (budget(usd=1.0, per="30d"),), 0.1, 900.0, book_delay_s=1.0)
    renewed(found.join(), found.join())
    yield found
    found.close()


def test_a_lease_is_not_lowered_below_what_is_granted_ahead(world: World) -> None:
    one, two = world.replicas
    assert reserve(one, {"a": 0.04}) == [-1]
    assert reserve(two, {"b": 0.9, "c": 0.001}) == [-1, -1]
    renewed(one, two)
    judge([one, two], 0.941 + drain(two))


def test_a_lease_is_granted_ahead_once(world: World) -> None:
    one, two = world.replicas
    total = 0.01 * sum(reserve(one, {f"a{row}": 0.01}) == [-1] for row in range(20))
    assert total == pytest.approx(0.2)
    judge([one, two], total + drain(two))


def test_what_is_granted_ahead_counts_in_the_period_that_a_clock_put_forward_begins(
    world: World,
) -> None:
    one, two = world.replicas
    assert reserve(one, {"a": 0.04}) == [-1]
    world.step_s(31 * 86_400)
    renewed(two)
    judge([one, two], 0.04 + drain(two))


@pytest.mark.parametrize("settles", [True, False])
def test_replicas_hammering_scarce_budgets_keep_to_the_limits(
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    settles: bool,  # noqa: FBT001
) -> None:
    # Leases change all the time, so that every order of calls and answers comes up.
    monkeypatch.setattr(ledger_module, "_RENEWAL_INTERVAL_S", 0.002)
    x = budget("x", 0.4, "30d", tenant="x", window="sliding")
    more = {"book_delay_s": 0.001, "local_share": 0.5, "redis_connections": 4}
    ledgers = [replica(server, STRICT, x, **more) for _ in range(3)]
    spent: list[dict[str, tuple[str, int]]] = [{} for _ in range(9)]

    def spend(thread: int) -> None:
        rng = random.Random(thread)  # noqa: S311
        own, ledger = spent[thread], ledgers[thread % 3]
        for call in range(250):
            ids = [f"{thread}-{call}-{row}" for row in range(rng.choice([1, 1, 1, 4]))]
            tenants = [rng.choice("xy") for _ in ids]
            amounts = [rng.randrange(2_000_000) for _ in ids]
            found = ledger.reserve(ids, tenants, usd(amount / 1e9 for amount in amounts))
            for key, tenant, amount, by in zip(
                ids, tenants, amounts, found.refused_by.tolist(), strict=True
            ):
                if by < 0:
                    own[key] = (tenant, amount)
                if by < 0 and settles and rng.random() < 0.5:
                    assert ledger.settle(key, amount / 2 / 1e9) is Settled.SETTLED
                    own[key] = (tenant, round(amount / 2 / 1e9 * 1e9))

    threads = [threading.Thread(target=spend, args=(thread,)) for thread in range(len(spent))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ledger in ledgers:
        ledger.book()
    everyone, own_x = all_figures(ledgers[0].states())
    rows = [row for one in spent for row in one.values()]
    total, total_x = (sum(n for tenant, n in rows if tenant in which) for which in ("xy", "x"))
    assert round(1e9 * (everyone[0] + everyone[1])) == pytest.approx(total, abs=len(rows))
    assert round(1e9 * (own_x[0] + own_x[1])) == pytest.approx(total_x, abs=len(rows))
    assert everyone[3] == len(rows)
    assert total <= 1_000_000_000
    assert total_x <= 400_000_000
    assert total >= 980_000_000
    for ledger in ledgers:
        ledger.close()
