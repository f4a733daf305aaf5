"""The ledger of one process: periods, tenants, costs, expiry, wrong calls."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from routoo.budget.ledger import Settled
from routoo.errors import InvalidRequestError
from support.budgets import (
    FakeClock,
    all_figures,
    budget,
    figures,
    opened,
    overdraw,
    reserve,
    usd,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_rows_are_granted_in_order_as_long_as_there_is_money(clock: FakeClock) -> None:
    ledger = opened(clock, budget(usd=1.0))
    assert reserve(ledger, {"a": 0.5, "b": 0.6, "c": 0.4, "d": 0.2, "e": 0.1}) == [-1, 0, -1, 0, -1]
    assert reserve(ledger, {"b": 1e-9, "f": 0.0}) == [0, -1]
    (state,) = ledger.states()
    assert figures(state) == (1.0, 0.0, 0.0, 4)
    assert state.period_left_s == 3600.0
    assert not state.degraded


def test_a_row_is_granted_by_all_its_budgets_or_by_none(clock: FakeClock) -> None:
    ledger = opened(clock, budget("x", 0.3, tenant="x"), budget("y", 5.0, tenant="y"), budget())
    ids, tenants = ["1", "2", "3", "4", "5"], ["x", "x", "y", "z", "y"]
    found = ledger.reserve(ids, tenants, usd([0.2, 0.2, 0.7, 0.2, 0.1]))
    # The second lacks money of its tenant and takes none of the common budget.
    assert found.refused_by.tolist() == [-1, 0, -1, 2, -1]
    assert not found.degraded
    assert [row[0] for row in all_figures(ledger.states())] == [0.2, 0.8, 1.0]
    assert ledger.applies("x") == (2, 0)


def test_a_tenant_without_a_budget_spends_freely_and_is_not_booked(clock: FakeClock) -> None:
    ledger = opened(clock, budget("x", 1.0, tenant="x"))
    assert ledger.applies("free") == ()
    assert reserve(ledger, {"a": 1_000.0}, tenant="free") == [-1]
    found = ledger.reserve(["b", "c"], ["free", "x"], usd([1_000.0, 0.5]))
    assert found.refused_by.tolist() == [-1, -1]
    overdraw(ledger, {"d": 5.0}, tenant="free")
    assert all_figures(ledger.states()) == [(0.5, 0.0, 0.0, 1)]
    assert ledger.settle("a", 1.0) is Settled.UNKNOWN


def test_all_or_nothing(clock: FakeClock) -> None:
    ledger = opened(clock, budget("x", 0.5, tenant="x"), budget(usd=1.0))
    rows: dict[str, Any] = {"all_or_nothing": True}
    assert reserve(ledger, {"a": 0.3, "b": 0.3}, tenant="x", **rows) == [0, 0]
    assert reserve(ledger, {"a": 0.6, "b": 0.6, "c": 0.0}, tenant="y", **rows) == [1, 1, 1]
    assert all_figures(ledger.states()) == [(0.0, 0.0, 0.0, 0)] * 2
    assert reserve(ledger, {"a": 0.6, "b": 0.4}, tenant="y", **rows) == [-1, -1]


def test_a_true_cost_replaces_the_estimate(clock: FakeClock) -> None:
    ledger = opened(clock, budget(usd=1.0))
    reserve(ledger, {"a": 0.6, "b": 0.4})
    assert ledger.settle("a", 0.1) is Settled.SETTLED
    assert figures(ledger.states()[0]) == (0.4, 0.1, 0.0, 2)
    assert reserve(ledger, {"c": 0.6, "d": 0.5}) == [0, -1]


def test_a_second_report_changes_nothing(clock: FakeClock) -> None:
    ledger = opened(clock)
    reserve(ledger, {"a": 0.6})
    assert ledger.settle("a", 0.5) is Settled.SETTLED
    assert ledger.settle("a", 0.1) is Settled.TWICE
    assert figures(ledger.states()[0]) == (0.0, 0.5, 0.0, 1)


def test_an_unknown_report_changes_nothing(clock: FakeClock) -> None:
    ledger = opened(clock)
    assert ledger.settle("nobody", 0.5) is Settled.UNKNOWN
    assert reserve(ledger, {"a": 2.0}) == [0]
    assert ledger.settle("a", 0.5) is Settled.UNKNOWN
    assert figures(ledger.states()[0]) == (0.0, 0.0, 0.0, 0)


def test_a_cost_of_a_thousand_times_the_estimate_is_booked_and_stops_the_budget(
    clock: FakeClock,
) -> None:
    ledger = opened(clock, budget(usd=1.0))
    reserve(ledger, {"a": 0.01})
    assert ledger.settle("a", 10.0) is Settled.SETTLED
    assert figures(ledger.states()[0]) == (0.0, 10.0, 0.0, 1)
    assert reserve(ledger, {"b": 1e-9, "c": 0.0}) == [0, 0]
    clock.forward_s(3600)
    assert reserve(ledger, {"b": 1.0}) == [-1]


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_a_cost_that_is_none_is_refused(clock: FakeClock, cost: float) -> None:
    ledger = opened(clock)
    reserve(ledger, {"a": 0.5})
    for call in (
        lambda: ledger.settle("a", cost),
        lambda: reserve(ledger, {"b": cost}),
        lambda: overdraw(ledger, {"b": cost}),
    ):
        with pytest.raises(InvalidRequestError, match="cost_usd"):
            call()
    assert figures(ledger.states()[0]) == (0.5, 0.0, 0.0, 1)


def test_an_id_is_booked_once(clock: FakeClock) -> None:
    ledger = opened(clock)
    reserve(ledger, {"a": 0.5})
    with pytest.raises(ValueError, match="booked already"):
        reserve(ledger, {"b": 0.1, "a": 0.1})
    with pytest.raises(ValueError, match="stands twice"):
        ledger.reserve(["b", "b"], ["t", "t"], usd([0.1, 0.1]))
    with pytest.raises(ValueError, match="each row has one of each"):
        ledger.reserve(["b"], ["t", "t"], usd([0.1, 0.1]))
    assert figures(ledger.states()[0]) == (0.5, 0.0, 0.0, 1)


def test_overdraft_is_beside_the_budget(clock: FakeClock) -> None:
    ledger = opened(clock, budget(usd=1.0))
    overdraw(ledger, {"a": 3.0, "b": 1.0})
    assert figures(ledger.states()[0]) == (0.0, 0.0, 4.0, 0)
    assert ledger.settle("a", 2.5) is Settled.SETTLED
    assert ledger.settle("a", 2.5) is Settled.TWICE
    assert reserve(ledger, {"c": 1.0}) == [-1]
    assert figures(ledger.states()[0]) == (1.0, 0.0, 3.5, 1)


class TestFixedPeriods:
    def test_they_start_at_whole_multiples_of_their_length(self, clock: FakeClock) -> None:
        clock.forward_s(3599.5)
        ledger = opened(clock, budget(per="1h"))
        assert reserve(ledger, {"a": 1.0}) == [-1]
        assert ledger.states()[0].period_left_s == 0.5
        clock.forward_s(0.4)
        assert reserve(ledger, {"b": 1.0}) == [0]
        clock.forward_s(0.1)
        assert reserve(ledger, {"b": 1.0}) == [-1]
        assert ledger.states()[0].granted == 1

    def test_a_cost_counts_in_the_period_of_its_decision(self, clock: FakeClock) -> None:
        clock.forward_s(3599)
        ledger = opened(clock, budget(per="1h"), budget("day", 5.0, "1d"))
        reserve(ledger, {"a": 1.0})
        clock.forward_s(2)
        reserve(ledger, {"b": 0.5})
        assert ledger.settle("a", 2.0) is Settled.SETTLED
        assert all_figures(ledger.states()) == [(0.5, 0.0, 0.0, 1), (0.5, 2.0, 0.0, 2)]


class TestSlidingPeriods:
    def test_money_comes_back_a_period_after_it_was_spent_and_never_earlier(
        self, clock: FakeClock
    ) -> None:
        ledger = opened(clock, budget(per="1m", window="sliding"))
        clock.forward_s(0.9)
        reserve(ledger, {"a": 0.7})
        clock.forward_s(30)
        reserve(ledger, {"b": 0.3})
        assert ledger.states()[0].period_left_s == pytest.approx(30.1)
        clock.forward_s(29.999)
        assert reserve(ledger, {"c": 0.1}) == [0]
        clock.forward_s(1.0)  # at most one step, a sixtieth, later
        assert reserve(ledger, {"c": 0.8, "d": 0.7}) == [0, -1]

    def test_no_window_holds_more_than_the_limit(self, clock: FakeClock) -> None:
        rng = np.random.default_rng(5)
        ledger = opened(clock, budget(per="1m", window="sliding"))
        spent: list[tuple[int, int]] = []
        for number, (wait_s, amount) in enumerate(
            zip(rng.exponential(0.7, 600), rng.integers(1, 60_000_000, 600), strict=True)
        ):
            clock.forward_s(wait_s)
            if reserve(ledger, {str(number): amount / 1e9}) == [-1]:
                spent.append((clock.now_ns, int(amount)))
        assert 100 < len(spent) < 600
        for end, _ in spent:
            window = sum(amount for at, amount in spent if end - 60 * 10**9 < at <= end)
            assert window <= 10**9

    def test_an_empty_window_has_its_whole_length_left(self, clock: FakeClock) -> None:
        assert opened(clock, budget(per="1m", window="sliding")).states()[0].period_left_s == 60.0


class TestExpiry:
    def test_what_is_never_reported_counts_as_estimated(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(usd=1.0), reservation_ttl_s=60)
        reserve(ledger, {"a": 0.4})
        overdraw(ledger, {"o": 3.0})
        clock.forward_s(59.9)
        assert figures(ledger.states()[0]) == (0.4, 0.0, 3.0, 1)
        clock.forward_s(0.1)
        assert figures(ledger.states()[0]) == (0.0, 0.4, 3.0, 1)
        assert reserve(ledger, {"b": 0.7}) == [0]

    def test_or_counts_nothing(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(usd=1.0), reservation_ttl_s=60, on_expiry="release")
        reserve(ledger, {"a": 0.4})
        overdraw(ledger, {"o": 3.0})
        clock.forward_s(60)
        assert figures(ledger.states()[0]) == (0.0, 0.0, 0.0, 1)
        assert reserve(ledger, {"b": 1.0}) == [-1]

    @pytest.mark.parametrize("on_expiry", ["settle", "release"])
    def test_a_late_report_is_booked_once_in_place_of_it(
        self, clock: FakeClock, on_expiry: str
    ) -> None:
        ledger = opened(clock, reservation_ttl_s=60, on_expiry=on_expiry)
        reserve(ledger, {"a": 0.4})
        overdraw(ledger, {"o": 3.0})
        clock.forward_s(100)
        assert ledger.settle("a", 0.3) is Settled.EXPIRED
        assert ledger.settle("a", 0.9) is Settled.TWICE
        assert ledger.settle("o", 1.0) is Settled.EXPIRED
        assert figures(ledger.states()[0]) == (0.0, 0.3, 1.0, 1)

    def test_in_the_end_it_is_forgotten(self, clock: FakeClock) -> None:
        ledger = opened(clock, reservation_ttl_s=60)
        reserve(ledger, {"a": 0.4, "b": 0.1})
        ledger.settle("b", 0.1)
        clock.forward_s(120)
        assert ledger.settle("a", 0.3) is Settled.UNKNOWN
        assert ledger.settle("b", 0.3) is Settled.UNKNOWN
        assert figures(ledger.states()[0]) == (0.0, 0.5, 0.0, 2)

    def test_a_full_memory_lets_the_oldest_expire_early(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(usd=1000.0), max_decisions=1000)
        for start in range(0, 5000, 500):
            assert set(reserve(ledger, {str(start + row): 0.125 for row in range(500)})) == {-1}
        reserved, settled, _, granted = figures(ledger.states()[0])
        assert reserved + settled == 5000 * 0.125
        assert granted == 5000
        assert reserved <= 1024 * 0.125
        assert ledger.settle("0", 0.1) is Settled.UNKNOWN
        assert ledger.settle("4999", 0.1) is Settled.SETTLED

    def test_one_call_may_be_larger_than_the_memory(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(usd=1000.0), max_decisions=1000)
        assert set(reserve(ledger, {str(row): 0.125 for row in range(5000)})) == {-1}
        reserved, settled, _, granted = figures(ledger.states()[0])
        assert (reserved + settled, granted) == (625.0, 5000)
        assert ledger.settle("4999", 0.1) is Settled.SETTLED


class TestClock:
    def test_a_small_step_back_is_waited_out(self, clock: FakeClock) -> None:
        clock.forward_s(1)
        ledger = opened(clock, budget(per="1h"))
        reserve(ledger, {"a": 1.0})
        clock.forward_s(-30)  # into the hour before, whose budget is not spent
        assert reserve(ledger, {"b": 0.1}) == [0]
        assert ledger.settle("a", 0.5) is Settled.SETTLED
        assert reserve(ledger, {"b": 0.5}) == [-1]
        clock.forward_s(30)
        assert ledger.states()[0].period_left_s == 3599.0

    def test_behind_a_large_step_back_periods_keep_their_length(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(per="1h"))
        reserve(ledger, {"a": 1.0})
        clock.forward_s(-365 * 86_400)
        assert reserve(ledger, {"b": 0.1}) == [0]
        clock.forward_s(3599)
        assert reserve(ledger, {"b": 0.1}) == [0]
        clock.forward_s(1)
        assert reserve(ledger, {"b": 1.0}) == [-1]

    def test_a_leap_forward_lets_everything_expire(self, clock: FakeClock) -> None:
        ledger = opened(clock, budget(), budget("s", 1.0, "30d", window="sliding"))
        reserve(ledger, {str(row): 1e-6 for row in range(3000)})
        clock.forward_s(400 * 86_400)
        assert all_figures(ledger.states()) == [(0.0, 0.0, 0.0, 0)] * 2
        assert reserve(ledger, {"b": 1.0}) == [-1]


def test_threads_never_get_more_than_there_is(clock: FakeClock) -> None:
    ledger = opened(clock, budget(usd=1.0), budget("x", 0.6, tenant="x"))
    granted = [0] * 8
    start = threading.Barrier(8)

    def hammer(thread: int) -> None:
        start.wait()
        for call in range(50):
            ids = [f"{thread}-{call}-{row}" for row in range(8)]
            tenants = ["x", "y"] * 4
            found = ledger.reserve(ids, tenants, usd([0.001] * 8)).refused_by
            granted[thread] += int((found < 0).sum())

    threads = [threading.Thread(target=hammer, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 1000
    everyone, x = ledger.states()
    assert figures(everyone) == (1.0, 0.0, 0.0, 1000)
    assert x.reserved_usd <= 0.6


def test_enormous_amounts_do_not_overflow(clock: FakeClock) -> None:
    ledger = opened(clock, budget(usd=9_000_000.0), reservation_ttl_s=60)
    rows = {str(row): 9_000_000.0 for row in range(3000)}
    assert reserve(ledger, rows).count(-1) == 1
    overdraw(ledger, {f"o{key}": amount for key, amount in rows.items()})
    ledger.settle("0", 9_000_000.0)
    clock.forward_s(100)
    assert figures(ledger.states()[0]) == (0.0, 9e6, 2.7e10, 1)
