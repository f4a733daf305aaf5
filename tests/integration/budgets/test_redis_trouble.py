"""No money is lost or booked twice while Redis is away, slow or restarted."""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from routoo.budget.ledger import Settled
from routoo.budget.redis.replies import StoreError
from routoo.budget.redis.store import RedisStore
from routoo.errors import ConfigError
from support.budgets import (
    FakeClock,
    all_figures,
    budget,
    figures,
    grants,
    opened,
    overdraw,
    reserve,
    usd,
)
from support.peers.redis_replica import (
    BIG,
    PATIENT_S,
    come_back,
    renewed,
    replica,
    without_renewals,
)
from support.peers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo.budget.redis.ledger import RedisLedger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture
def lasting_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Yields a server that writes each change to the disk before it answers."""
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as running:
        yield running


class TestAway:
    def test_a_replica_spends_its_share_of_what_was_left_and_tells_redis_later(
        self, lasting_server: RedisServer
    ) -> None:
        server = lasting_server
        ledger = replica(server)
        reserve(ledger, {"before": 0.5, "open": 0.1})
        renewed(ledger)
        server.stop()
        assert ledger.states()[0].degraded
        # The lease is a tenth of the 0.4 USD that were left.
        found = grants(ledger, {"a": 0.03, "b": 0.02, "c": 0.01})
        assert found.refused_by.tolist() == [-1, 0, -1]
        assert found.degraded
        overdraw(ledger, {"o": 2.0})
        assert ledger.settle("a", 0.01) is Settled.SETTLED
        assert ledger.settle("a", 0.5) is Settled.TWICE
        assert ledger.settle("before", 0.25) is Settled.SETTLED
        (state,) = ledger.states()
        assert state.degraded
        assert figures(state)[2:] == (2.0, 4)
        assert reserve(ledger, {"d": 0.02}) == [-1]  # fits, as a cost less than was reserved
        server.start()
        come_back(ledger)
        expected = (0.1 + 0.01 + 0.02, 0.01 + 0.25, 2.0, 5)
        assert figures(ledger.states()[0]) == pytest.approx(expected)
        assert not ledger.states()[0].degraded
        assert not grants(ledger, {"e": 0.1}).degraded
        assert ledger.settle("o", 1.0) is Settled.SETTLED
        assert ledger.settle("a", 1.0) is Settled.TWICE
        ledger.close()

    def test_replicas_together_stay_within_the_limit(self, lasting_server: RedisServer) -> None:
        ledgers = [replica(lasting_server, local_share=1.0) for _ in range(4)]
        renewed(*ledgers)
        # What the others have leased is not to be had, and the own lease is.
        with without_renewals(*ledgers):  # which would give it some of what the others have
            assert reserve(ledgers[0], {"a": 0.26, "b": 0.25}) == [0, -1]
            assert reserve(ledgers[0], {"c": 0.01}) == [0]
        assert ledgers[0].settle("b", 0.2) is Settled.SETTLED
        renewed(*ledgers)
        lasting_server.stop()
        for ledger in ledgers:
            ledger.states()
        for name, ledger in zip("defg", ledgers, strict=True):
            assert reserve(ledger, {name: 0.2, name * 2: 0.01}) == [-1, 0]
        lasting_server.start()
        for ledger in ledgers:
            come_back(ledger)
        assert figures(ledgers[0].states()[0]) == pytest.approx((0.8, 0.2, 0.0, 5))
        for ledger in ledgers:
            ledger.close()

    def test_tenants_keep_their_own_shares(self, server: RedisServer) -> None:
        x = budget("x", 0.2, "30d", tenant="x", window="sliding")
        ledger = replica(server, x, BIG)
        renewed(ledger)
        server.stop()
        ledger.states()
        assert reserve(ledger, {"a": 0.02, "b": 0.01}, tenant="x") == [-1, 0]
        assert reserve(ledger, {"c": 0.08, "d": 0.01}, tenant="y") == [-1, 1]
        found = ledger.reserve(["e", "f"], ["x", "y"], usd([0.0, 0.01]), all_or_nothing=True)
        assert found.refused_by.tolist() == [1, 1]
        ledger.close()

    def test_nothing_waits_for_redis_once_it_is_known_to_be_away(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = replica(server)
        server.stop()
        assert grants(ledger, {"a": 0.01}).degraded
        for name in ("reserve", "settle"):
            monkeypatch.setattr(RedisStore, name, lambda *_, **__: pytest.fail("asked Redis"))
        assert grants(ledger, {"b": 0.01}).degraded
        assert ledger.settle("b", 0.01) is Settled.SETTLED
        monkeypatch.undo()
        ledger.close()

    def test_a_start_without_redis_grants_nothing_it_cannot_know(self, server: RedisServer) -> None:
        server.stop()
        ledger = replica(server)
        found = grants(ledger, {"a": 0.01})
        assert (found.refused_by.tolist(), found.degraded) == ([0], True)
        overdraw(ledger, {"a": 0.01})
        assert ledger.settle("a", 0.02) is Settled.SETTLED
        server.start()
        come_back(ledger)
        assert reserve(ledger, {"b": 1.0}) == [-1]
        assert figures(ledger.states()[0]) == (1.0, 0.0, 0.02, 1)
        ledger.close()

    def test_what_is_kept_meanwhile_is_bounded(self, server: RedisServer) -> None:
        ledger = replica(server, budget(usd=1e6, per="30d"), max_decisions=1000)
        server.stop()
        assert set(reserve(ledger, {str(row): 1e-9 for row in range(900)})) == {-1}
        assert set(reserve(ledger, {f"x{row}": 1e-9 for row in range(101)})) == {0}
        assert ledger.settle("0", 1e-9) is Settled.SETTLED
        server.start()
        come_back(ledger)
        assert ledger.states()[0].granted == 900
        ledger.close()

    def test_closing_hands_over_what_is_left(self, server: RedisServer) -> None:
        ledger = replica(server, redis_max_probe_s=3600)
        other = replica(server)
        fail_next(ledger, "reserve", before=True)
        hold_off(ledger)
        assert grants(ledger, {"a": 0.01}).degraded
        let_go(ledger)
        ledger.close()
        assert figures(other.states()[0]) == (0.01, 0.0, 0.0, 1)
        other.close()


def hold_off(ledger: RedisLedger) -> None:
    """Keeps the ledger's thread from calling Redis."""
    ledger._reconciling.acquire()


def let_go(ledger: RedisLedger) -> None:
    ledger._reconciling.release()


def fail_next(ledger: RedisLedger, name: str, *, before: bool) -> None:
    """Loses the next call of the store on its way there, or its answer on the way back."""
    store = ledger._store
    call = getattr(store, name)

    def lost(*arguments: Any, **named: Any) -> Any:
        setattr(store, name, call)
        if not before:
            call(*arguments, **named)
        raise StoreError("away", "lost", doubtful=True)

    setattr(store, name, lost)


@pytest.mark.parametrize("before", [True, False], ids=["call lost", "answer lost"])
class TestLostCalls:
    """A lost call is booked once in the end, whether Redis has executed it or not."""

    @pytest.fixture
    def ledger(self, server: RedisServer) -> Iterator[RedisLedger]:
        found = replica(server)
        reserve(found, {"first": 0.25})
        renewed(found)
        yield found
        found.close()

    def test_reserve(self, ledger: RedisLedger, before: bool) -> None:  # noqa: FBT001
        fail_next(ledger, "reserve", before=before)
        # The lease is 0.075 USD: the replica grants a and refuses b, whatever Redis has done.
        assert reserve(ledger, {"a": 0.05, "b": 0.5}) == [-1, 0]
        come_back(ledger)
        assert figures(ledger.states()[0]) == pytest.approx((0.3, 0.0, 0.0, 2))
        # The abandoned call may still arrive.
        ledger._store.reserve(["a", "b"], [0, 0], [50_000_000, 500_000_000], "any")
        assert figures(ledger.states()[0]) == pytest.approx((0.3, 0.0, 0.0, 2))
        assert ledger.settle("b", 0.5) is Settled.UNKNOWN
        assert ledger.settle("a", 0.125) is Settled.SETTLED

    def test_reserve_again_with_less(self, ledger: RedisLedger, before: bool) -> None:  # noqa: FBT001
        fail_next(ledger, "reserve", before=before)
        hold_off(ledger)
        assert reserve(ledger, {"a": 0.5}) == [0]
        assert reserve(ledger, {"a": 0.0625}) == [-1]
        let_go(ledger)
        come_back(ledger)
        assert figures(ledger.states()[0]) == (0.3125, 0.0, 0.0, 2)

    def test_overdraw_after_reserve(self, ledger: RedisLedger, before: bool) -> None:  # noqa: FBT001
        fail_next(ledger, "reserve", before=before)
        hold_off(ledger)
        assert reserve(ledger, {"a": 0.5}) == [0]
        overdraw(ledger, {"a": 0.125})
        let_go(ledger)
        come_back(ledger)
        assert figures(ledger.states()[0]) == (0.25, 0.0, 0.125, 1)

    def test_settle(self, ledger: RedisLedger, before: bool) -> None:  # noqa: FBT001
        fail_next(ledger, "settle", before=before)
        assert ledger.settle("first", 0.125) is Settled.SETTLED
        come_back(ledger)
        assert figures(ledger.states()[0]) == (0.0, 0.125, 0.0, 1)
        assert ledger.settle("first", 0.5) is Settled.TWICE

    def test_a_batch_that_needs_several_calls(self, ledger: RedisLedger, before: bool) -> None:  # noqa: FBT001
        amounts = {str(row): 0.25 / 1024 for row in range(1024)}
        reserve_call = ledger._store.reserve
        calls = threading.Semaphore(0)

        def second_fails(*arguments: Any, **named: Any) -> Any:
            calls.release()
            if calls._value == 2:
                if not before:
                    reserve_call(*arguments, **named)
                raise StoreError("away", "lost", doubtful=True)
            return reserve_call(*arguments, **named)

        ledger._store.reserve = second_fails  # type: ignore[method-assign]
        # The rows of the second call do not fit into the replica's lease.
        assert set(reserve(ledger, amounts, all_or_nothing=True)) == {0}
        come_back(ledger)
        assert figures(ledger.states()[0]) == (0.25, 0.0, 0.0, 1)

    @pytest.mark.parametrize("name", ["adopt", "settle", "cancel"])
    def test_reconciling(self, ledger: RedisLedger, before: bool, name: str) -> None:  # noqa: FBT001
        hold_off(ledger)
        fail_next(ledger, "reserve", before=False)
        assert reserve(ledger, {"a": 0.05, "b": 0.5}) == [-1, 0]
        overdraw(ledger, {"o": 2.0})
        ledger.settle("a", 0.125)
        ledger.settle("first", 0.125)
        fail_next(ledger, name, before=before)
        let_go(ledger)
        come_back(ledger)
        assert figures(ledger.states()[0]) == (0.0, 0.25, 2.0, 2)


def test_a_frozen_redis_is_not_waited_for_and_not_counted_twice(server: RedisServer) -> None:
    patient = replica(server)
    assert reserve(patient, {"first": 0.25}) == [-1]
    patient.close()
    ledger = replica(server, redis_timeout_s=0.2)
    while True:  # a machine that stalls may have it take Redis for away
        come_back(ledger)
        renewed(ledger)
        if not ledger.degraded:
            break
    server.freeze()
    # Redis gets this call when it is thawed, and would grant both.
    found = grants(ledger, {"a": 0.05, "b": 0.5})
    assert (found.refused_by.tolist(), found.degraded) == ([-1, 0], True)
    assert ledger.settle("first", 0.125) is Settled.SETTLED
    server.thaw()
    come_back(ledger)
    assert figures(ledger.states()[0]) == pytest.approx((0.05, 0.125, 0.0, 2))
    ledger.close()


def test_a_restart_in_the_middle_loses_nothing(lasting_server: RedisServer) -> None:
    ledger = replica(lasting_server)
    total = 0.0
    rng = random.Random(3)  # noqa: S311
    for call in range(60):
        if call % 20 == 10:
            lasting_server.stop()
        if call % 20 == 15:
            lasting_server.start()
        amounts = {f"{call}-{row}": rng.random() / 1000 for row in range(4)}
        for amount, refused in zip(amounts.values(), reserve(ledger, amounts), strict=True):
            total += amount if refused < 0 else 0.0
    come_back(ledger)
    reserved, settled, _, _ = figures(ledger.states()[0])
    assert reserved + settled == pytest.approx(total, abs=1e-6)
    ledger.close()


def test_flushed_scripts_are_loaded_again(server: RedisServer) -> None:
    ledger = replica(server)
    reserve(ledger, {"a": 0.25})
    with without_renewals(ledger):  # which would find it out and have them loaded
        server.client.script_flush()
        assert grants(ledger, {"b": 0.0625}).degraded
    come_back(ledger)
    assert not grants(ledger, {"c": 0.5}).degraded
    assert figures(ledger.states()[0]) == (0.8125, 0.0, 0.0, 3)
    ledger.close()


def test_threads_of_a_replica_that_loses_redis(lasting_server: RedisServer) -> None:
    ledger = replica(lasting_server, redis_connections=4)
    granted = [0] * 6
    half = threading.Barrier(7)

    def spend(thread: int) -> None:
        for call in range(60):
            if call == 20:
                half.wait()
            found = reserve(ledger, {f"{thread}-{call}-{row}": 1e-4 for row in range(3)})
            granted[thread] += found.count(-1)

    threads = [threading.Thread(target=spend, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    half.wait()
    lasting_server.stop()
    lasting_server.start()
    for thread in threads:
        thread.join()
    come_back(ledger)
    assert all_figures(ledger.states()) == [
        pytest.approx((sum(granted) * 1e-4, 0.0, 0.0, sum(granted)))
    ]
    ledger.close()


@pytest.mark.parametrize("step_s", [7200, -7200])
def test_the_clock_of_a_replica_begins_no_period(lasting_server: RedisServer, step_s: int) -> None:
    clock = FakeClock()
    settings: Any = {
        "backend": "redis",
        "redis_url": lasting_server.url,
        "redis_timeout_s": PATIENT_S,
    }
    ledger: Any = opened(clock, budget(usd=1.0, per="30d"), **settings)
    renewed(ledger)
    assert reserve(ledger, {"a": 0.9}) == [-1]
    renewed(ledger)
    clock.forward_s(step_s)
    assert reserve(ledger, {"b": 0.2}) == [0]
    lasting_server.stop()
    assert reserve(ledger, {"c": 0.02, "d": 0.01}) == [0, -1]
    clock.forward_s(step_s * 1000)
    assert reserve(ledger, {"e": 0.01}) == [0]
    lasting_server.start()
    come_back(ledger)
    assert figures(ledger.states()[0]) == pytest.approx((0.91, 0.0, 0.0, 2))
    ledger.close()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ledger\.redis_url: "):
        opened(FakeClock(), budget(), backend="redis", redis_url="redis://localhost:port")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ledger", "store", "clients", "failures"):
        monkeypatch.delitem(sys.modules, f"routoo.budget.redis.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"needs the Python package redis; .* routoo\[redis\]"):
        opened(FakeClock(), budget(), backend="redis")
