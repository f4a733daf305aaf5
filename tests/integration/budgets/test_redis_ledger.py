"""Replicas share a ledger on a real Redis that has no faults."""

from __future__ import annotations

import multiprocessing
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routoo.budget.ledger import Settled
from routoo.errors import InvalidRequestError
from support.budgets import (
    FakeClock,
    all_figures,
    all_reports,
    budget,
    figures,
    opened,
    overdraw,
    reserve,
    usd,
)
from support.peers.redis_replica import PATIENT_S
from support.peers.redis_server import RedisServer, free_port_below_the_bus
from support.processes.hammer import hammer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.budget.ledger import Ledger


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Replicas:
    """Opens ledgers of one test's own keys, and moves Redis' time forward.

    It begins at the start of 30 days, so that no period ends before a test moves the time.
    """

    def __init__(self, server: RedisServer) -> None:
        self.prefix = uuid.uuid4().hex
        self.server = server
        self.ledgers: list[Ledger] = []
        self.align(30 * 86_400)

    def open(self, *budgets: Any, **more: Any) -> Ledger:
        ledger = opened(
            FakeClock(),
            *budgets,
            **{
                "backend": "redis",
                "redis_url": self.server.url,
                "redis_timeout_s": PATIENT_S,
                "key_prefix": self.prefix,
                # Nothing is leased: the tests of leases are in files of their own.
                "local_share": 0.0,
                **more,
            },
        )
        self.ledgers.append(ledger)
        return ledger

    def key(self, name: str) -> str:
        return f"{{{self.prefix}}}:{name}"

    def forward_s(self, seconds: float) -> None:
        self.server.client.hincrby(self.key("meta"), "ahead", round(seconds * 1e6))

    def align(self, per_s: int) -> None:
        """Moves the time to the start of a period."""
        seconds, micros = self.server.client.time()
        ahead = int(self.server.client.hget(self.key("meta"), "ahead") or 0)
        now_us = seconds * 1_000_000 + micros + ahead
        self.forward_s(per_s - now_us % (per_s * 1_000_000) / 1e6 + 0.001)

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()


@pytest.fixture
def replicas(server: RedisServer) -> Iterator[Replicas]:
    found = Replicas(server)
    yield found
    found.close()


def test_replicas_share_a_budget(replicas: Replicas) -> None:
    one, two = replicas.open(budget()), replicas.open(budget())
    assert reserve(one, {"a": 0.5, "b": 0.6, "c": 0.25}) == [-1, 0, -1]
    assert reserve(two, {"d": 0.5, "e": 0.25}) == [0, -1]
    assert two.settle("a", 0.25) is Settled.SETTLED
    assert one.settle("a", 0.5) is Settled.TWICE
    assert one.settle("d", 0.5) is Settled.UNKNOWN
    for ledger in (one, two):
        (state,) = ledger.states()
        assert figures(state) == (0.5, 0.25, 0.0, 3)
        assert not state.degraded
        assert 0 < state.period_left_s <= 3600


def test_tenants_and_everyone(replicas: Replicas) -> None:
    ledger = replicas.open(budget("x", 0.3, tenant="x"), budget("y", 5, tenant="y"), budget())
    found = ledger.reserve(
        ["1", "2", "3", "4", "5"], ["x", "x", "y", "z", "y"], usd([0.2, 0.2, 0.7, 0.2, 0.1])
    )
    assert found.refused_by.tolist() == [-1, 0, -1, 2, -1]
    assert [row[0] for row in all_figures(ledger.states())] == [0.2, 0.8, 1.0]


def test_a_tenant_without_a_budget_is_not_booked(replicas: Replicas) -> None:
    ledger = replicas.open(budget("x", 1.0, tenant="x"))
    found = ledger.reserve(["a", "b"], ["free", "x"], usd([5.0, 0.5]))
    assert found.refused_by.tolist() == [-1, -1]
    assert ledger.settle("a", 5.0) is Settled.UNKNOWN
    assert all_figures(ledger.states()) == [(0.5, 0.0, 0.0, 1)]


def test_overdraft_and_a_thousandfold_cost(replicas: Replicas) -> None:
    ledger = replicas.open(budget())
    reserve(ledger, {"a": 0.01})
    assert ledger.settle("a", 10.0) is Settled.SETTLED
    assert reserve(ledger, {"b": 0.0}) == [0]
    overdraw(ledger, {"b": 3.0})
    overdraw(ledger, {"b": 3.0})  # the same decision again
    assert figures(ledger.states()[0]) == (0.0, 10.0, 3.0, 1)
    assert ledger.settle("b", 1.0) is Settled.SETTLED
    assert figures(ledger.states()[0]) == (0.0, 10.0, 1.0, 1)


def test_wrong_amounts_and_ids_are_refused(replicas: Replicas) -> None:
    ledger = replicas.open(budget())
    with pytest.raises(InvalidRequestError, match="cost_usd"):
        reserve(ledger, {"a": -1.0})
    with pytest.raises(InvalidRequestError, match="cost_usd"):
        ledger.settle("a", float("nan"))
    with pytest.raises(ValueError, match="stands twice"):
        ledger.reserve(["a", "a"], ["t", "t"], usd([0.1, 0.1]))
    with pytest.raises(ValueError, match="one of each"):
        ledger.reserve(["a"], ["t", "t"], usd([0.1, 0.1]))
    # A known id is the same decision, which is booked once.
    assert reserve(ledger, {"a": 0.5}) == reserve(ledger, {"a": 0.5}) == [-1]
    assert figures(ledger.states()[0]) == (0.5, 0.0, 0.0, 1)


@pytest.mark.parametrize("whole", [False, True])
def test_tens_of_thousands_of_rows(replicas: Replicas, whole: bool) -> None:  # noqa: FBT001
    ledger = replicas.open(budget(usd=30.0))
    ids = [str(row) for row in range(30_001)]
    found = ledger.reserve(ids, ["t"] * 30_001, usd(np.full(30_001, 0.001)), all_or_nothing=whole)
    if whole:
        assert set(found.refused_by.tolist()) == {0}
        assert figures(ledger.states()[0]) == (0.0, 0.0, 0.0, 0)
        assert ledger.settle("0", 1.0) is Settled.UNKNOWN
    else:
        assert np.flatnonzero(found.refused_by + 1).tolist() == [30_000]
        assert figures(ledger.states()[0]) == (30.0, 0.0, 0.0, 30_000)


def test_fixed_periods(replicas: Replicas) -> None:
    ledger = replicas.open(budget(per="1h"), budget("day", 5.0, "30d"))
    replicas.align(3600)
    reserve(ledger, {"a": 0.75, "b": 0.25})
    assert ledger.states()[0].period_left_s == pytest.approx(3600, abs=60)
    replicas.forward_s(3600)
    assert reserve(ledger, {"c": 0.5}) == [-1]
    assert ledger.settle("a", 2.0) is Settled.EXPIRED
    hour, day = all_figures(ledger.states())
    assert hour == (0.5, 0.0, 0.0, 1)
    assert day == (0.5, 2.25, 0.0, 3)


def test_sliding_periods(replicas: Replicas) -> None:
    ledger = replicas.open(budget(per="1d", window="sliding"), reservation_ttl_s=86_400)
    replicas.align(86_400)
    reserve(ledger, {"a": 0.75})
    replicas.forward_s(43_200)
    reserve(ledger, {"b": 0.25})
    assert ledger.states()[0].period_left_s == pytest.approx(43_200 + 1440, abs=60)
    replicas.forward_s(43_200)
    assert reserve(ledger, {"c": 0.01}) == [0]
    replicas.forward_s(1440)
    assert reserve(ledger, {"c": 0.8, "d": 0.75}) == [0, -1]
    replicas.forward_s(30 * 86_400)
    assert figures(ledger.states()[0]) == (0.0, 0.0, 0.0, 0)
    # Steps of the sliding period that no longer count are deleted.
    (key,) = replicas.server.client.keys(replicas.key("budget:*").replace("{", "?"))
    assert replicas.server.client.hlen(key) <= 5 + 4


@pytest.mark.parametrize("on_expiry", ["settle", "release"])
def test_expiry(replicas: Replicas, on_expiry: str) -> None:
    ledger = replicas.open(budget(per="30d"), reservation_ttl_s=60, on_expiry=on_expiry)
    reserve(ledger, {"a": 0.5, "b": 0.25})
    overdraw(ledger, {"o": 2.0})
    replicas.forward_s(60)
    kept = on_expiry == "settle"
    assert figures(ledger.states()[0]) == (0.0, 0.75 * kept, 2.0 * kept, 2)
    assert all_reports(ledger.states()) == [(0.0, 0.0, 2)]
    assert ledger.settle("a", 0.125) is Settled.EXPIRED
    assert all_reports(ledger.states()) == [(0.125 * kept, 0.5 * kept, 1)]
    assert ledger.settle("a", 0.5) is Settled.TWICE
    assert ledger.settle("o", 1.0) is Settled.EXPIRED
    assert figures(ledger.states()[0]) == (0.0, 0.125 + 0.25 * kept, 1.0 + 0.0, 2)
    replicas.forward_s(60)
    ledger.states()
    assert ledger.settle("b", 0.125) is Settled.UNKNOWN
    assert replicas.server.client.hlen(replicas.key("decisions")) == 0
    assert replicas.server.client.llen(replicas.key("known")) == 0


def test_a_call_expires_a_bounded_number(replicas: Replicas) -> None:
    ledger = replicas.open(budget(usd=100.0, per="30d"), reservation_ttl_s=60)
    reserve(ledger, {str(row): 0.125 for row in range(400)})
    replicas.forward_s(60)
    settled = []
    for _ in range(8):
        reserved, now_settled, _, _ = figures(ledger.states()[0])
        assert reserved + now_settled == 50.0
        settled.append(now_settled)
    assert settled[0] < 50.0
    assert settled[-1] == 50.0


class TestClock:
    def test_a_small_step_back_is_waited_out(self, replicas: Replicas) -> None:
        ledger = replicas.open(budget())
        replicas.align(3600)
        reserve(ledger, {"a": 1.0})
        replicas.forward_s(-50)  # into the hour before
        assert reserve(ledger, {"b": 0.1}) == [0]
        assert ledger.settle("a", 0.5) is Settled.SETTLED
        assert reserve(ledger, {"b": 0.5}) == [-1]

    def test_behind_a_large_step_back_time_goes_on(self, replicas: Replicas) -> None:
        ledger = replicas.open(budget())
        replicas.align(3600)
        reserve(ledger, {"a": 1.0})
        replicas.forward_s(-86_400)
        assert reserve(ledger, {"b": 1.0}) == [0]
        replicas.forward_s(3600)
        assert reserve(ledger, {"b": 1.0}) == [-1]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    calls=st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["any", "all", "over"]),
                st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 40)), max_size=5),
            ),
            st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 90)),
        ),
        max_size=15,
    )
)
def test_it_answers_what_the_ledger_in_memory_answers(
    server: RedisServer, calls: list[tuple[Any, ...]]
) -> None:
    replicas = Replicas(server)
    budgets = (
        budget("x", 6e-8, "30d", tenant="x"),
        budget("all", 1e-7, "30d", window="sliding"),
        budget("y", 8e-8, "30d", tenant="y", window="sliding"),
    )
    ledgers = opened(FakeClock(), *budgets), replicas.open(*budgets)
    number = 0
    for kind, *rest in calls:
        if kind == "settle":
            found = [ledger.settle(str(rest[0]), rest[1] / 1e9) for ledger in ledgers]
            assert found[0] is found[1]
            continue
        ids = [str(number + row) for row in range(len(rest[0]))]
        number += len(ids)
        rows = (ids, [tenant for tenant, _ in rest[0]], usd(row[1] / 1e9 for row in rest[0]))
        if kind == "over":
            for ledger in ledgers:
                ledger.overdraw(*rows)
        else:
            whole = kind == "all"
            one, two = (ledger.reserve(*rows, all_or_nothing=whole) for ledger in ledgers)
            assert one.refused_by.tolist() == two.refused_by.tolist()
        assert all_figures(ledgers[0].states()) == all_figures(ledgers[1].states())
        assert all_reports(ledgers[0].states()) == all_reports(ledgers[1].states())
    replicas.close()


def test_processes_hammering_one_budget_never_get_more_than_there_is(
    server: RedisServer, replicas: Replicas
) -> None:
    limit = 15_000_000
    watcher = replicas.open(budget(usd=limit / 1e9))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["routoo.budget.redis.ledger", "routoo.config.sections.budget"])
    results: Any = context.Queue()
    processes = [
        context.Process(target=hammer, args=(server.url, replicas.prefix, limit, seed, results))
        for seed in range(8)
    ]
    for process in processes:
        process.start()
    looks = 0
    while any(process.is_alive() for process in processes):
        (state,) = watcher.states()
        assert round((state.reserved_usd + state.settled_usd) * 1e9) <= limit
        looks += 1
        processes[looks % 8].join(0.01)
    found = [results.get(timeout=60) for _ in processes]
    assert [process.exitcode for process in processes] == [0] * 8
    (state,) = watcher.states()
    reserved, settled = round(state.reserved_usd * 1e9), round(state.settled_usd * 1e9)
    assert reserved == sum(one["reserved"] for one in found)
    assert settled == sum(one["settled"] for one in found)
    assert state.granted == sum(one["granted"] for one in found)
    assert any(one["refused"] for one in found)  # on a busy machine some end before it is spent
    # What is left of the limit is about the smallest amount that was asked for, or less.
    assert limit - 20_000 < reserved + settled <= limit
    assert looks


def test_a_cluster_holds_all_keys_in_one_slot(tmp_path: Any) -> None:
    # A cluster needs a TCP port, and the port 10,000 above it for its bus.
    port = free_port_below_the_bus()
    with RedisServer(
        tmp_path, "--port", str(port), "--cluster-enabled", "yes", "--bind", "127.0.0.1"
    ) as server:
        server.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        server.wait_until(lambda: server.cluster_state() == "ok")
        ledger = opened(
            FakeClock(),
            budget(),
            budget("x", 0.5, "1d", tenant="x", window="sliding"),
            backend="redis",
            redis_url=f"redis://127.0.0.1:{port}",
            redis_cluster=True,
            redis_timeout_s=PATIENT_S,
        )
        assert reserve(ledger, {"a": 0.25, "b": 0.5}, tenant="x") == [-1, 1]
        assert ledger.settle("a", 0.125) is Settled.SETTLED
        assert all_figures(ledger.states()) == [(0.0, 0.125, 0.0, 1)] * 2
        assert not ledger.states()[0].degraded
        slots = {
            server.client.execute_command("CLUSTER", "KEYSLOT", key)
            for key in server.client.keys("*")
        }
        assert len(slots) == 1
        ledger.close()
