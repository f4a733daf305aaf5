"""The money for exploring: never above its budget, and nearly all of it used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import NANO_PER_USD, BudgetTerms, apart_tenant
from routoo.engine.exploring.purse import Purse
from support.tiny_money import FOREVER, hourly

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 600.0
SHARE = 0.02


def terms_of(usd: float, *, sliding: bool = False) -> BudgetTerms:
    return BudgetTerms(
        "explore",
        apart_tenant("explore"),
        round(usd * NANO_PER_USD),
        round(PERIOD_S * 1e9),
        sliding,
        "refuse",
        is_paced=False,
        is_apart=True,
    )


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def opened(usd: float, *, sliding: bool = False) -> tuple[Purse, MemoryLedger, Clock]:
    clock = Clock()
    ledger = MemoryLedger((terms_of(usd, sliding=sliding),), FOREVER, lambda: int(clock.s * 1e9))
    return Purse(ledger, "explore", SHARE, clock), ledger, clock


def spend(
    purse: Purse,
    clock: Clock,
    until_s: float,
    extra_usd: Callable[[], float],
    per_s: int,
    random: np.random.Generator,
) -> float:
    """Explores at the share in force, a step every half second; returns what was paid."""
    paid_usd = 0.0
    while clock.s < until_s:
        purse.step()
        for drawn in (random.uniform(size=per_s // 2) < purse.share).tolist():
            if drawn:
                usd = extra_usd()
                # As in the explorer, one request may take half of what is at hand.
                if usd <= 0.5 * purse.left_usd and purse.pay(usd):
                    paid_usd += usd
        clock.s += 0.5
    return paid_usd


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("demand", [1.2, 3.0, 10.0])
def test_a_budget_is_used_and_never_exceeded(demand: float, *, sliding: bool) -> None:
    random = np.random.default_rng(3)
    per_s, limit_usd = 400, 1.0
    mean_usd = demand * limit_usd / (per_s * PERIOD_S * SHARE)
    purse, ledger, clock = opened(limit_usd, sliding=sliding)
    sums = []
    for period in range(1, 4):
        paid = spend(
            purse, clock, period * PERIOD_S, lambda: random.exponential(mean_usd), per_s, random
        )
        sums.append(paid)
        state = ledger.states()[0]
        assert state.settled_usd + state.reserved_usd <= limit_usd + 1e-9
    purse.close()
    # The first one of a sliding budget starts with nothing spent.
    for paid in sums[1 if sliding else 0 :]:
        assert 0.95 * limit_usd <= paid <= 1.02 * limit_usd


def test_plenty_of_money_explores_at_the_whole_share() -> None:
    purse, _, clock = opened(100.0)
    spend(purse, clock, 60.0, lambda: 1e-6, 10, np.random.default_rng(0))
    assert purse.share == SHARE


def test_it_starts_full_and_gives_all_back_at_the_end() -> None:
    purse, ledger, _ = opened(10.0)
    assert (purse.share, purse.left_usd) == (0.0, 0.0)
    purse.step()
    assert (purse.share, purse.left_usd) == (SHARE, pytest.approx(0.2))
    assert ledger.states()[0].reserved_usd == pytest.approx(0.2)
    assert purse.pay(0.05)
    assert purse.share == pytest.approx(0.75 * SHARE)
    purse.close()
    state = ledger.states()[0]
    assert (state.reserved_usd, state.settled_usd) == (0.0, pytest.approx(0.05))
    assert (purse.share, purse.left_usd) == (0.0, 0.0)
    assert not purse.pay(1e-9)


def test_what_is_not_at_hand_is_not_paid_and_what_is_given_back_is_there_again() -> None:
    purse, ledger, _ = opened(10.0)
    purse.step()
    assert not purse.pay(0.21)
    assert purse.left_usd == pytest.approx(0.2)
    assert purse.pay(0.15)
    purse.give_back(0.15)
    assert purse.left_usd == pytest.approx(0.2)
    assert purse.pay(0.15)
    purse.step()  # it is booked now
    purse.give_back(0.15)
    purse.close()
    assert ledger.states()[0].settled_usd == pytest.approx(0.15)


def test_replicas_share_one_limit() -> None:
    clock = Clock()
    ledger = MemoryLedger((terms_of(1.0),), FOREVER, lambda: int(clock.s * 1e9))
    purses = [Purse(ledger, "explore", SHARE, clock) for _ in range(3)]
    random = np.random.default_rng(1)
    paid = 0.0
    while clock.s < PERIOD_S - 0.5:
        for purse in purses:
            purse.step()
            if random.uniform() < 50.0 * purse.share and purse.pay(min(0.004, purse.left_usd)):
                paid += 0.004
        state = ledger.states()[0]
        assert state.settled_usd + state.reserved_usd <= 1.0 + 1e-9
        clock.s += 0.5
    assert ledger.states()[0].settled_usd >= 0.9


def test_a_budget_apart_pays_for_no_request() -> None:
    ledger = MemoryLedger((hourly(5.0), terms_of(1.0)), FOREVER, lambda: 0)
    assert ledger.applies("") == (0,)
    assert ledger.applies("acme") == (0,)
    assert ledger.applies(apart_tenant("explore")) == (1,)
    ledger.reserve(["a"], ["acme"], np.array([2.0]))
    ledger.reserve(["b"], [apart_tenant("explore")], np.array([0.5]))
    assert [one.reserved_usd for one in ledger.states()] == [2.0, 0.5]


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 0.3)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_books_are_never_above_the_limit(acts: list[tuple[int, float]]) -> None:
    purse, ledger, clock = opened(1.0)
    paid = 0.0
    for act, amount in acts:
        if act == 0:
            clock.s += 1.0 + 1000.0 * amount
            purse.step()
        elif act == 1 and purse.pay(amount):
            paid += amount
        elif act == 2:
            purse.give_back(min(amount, 0.0))
        state = ledger.states()[0]
        assert state.reserved_usd + state.settled_usd <= 1.0 + 1e-9
        assert purse.left_usd >= 0.0


def test_many_threads_pay_what_is_there_and_no_more() -> None:
    purse, _, _ = opened(10.0)
    purse.step()
    paid = []

    def pay() -> None:
        paid.extend(purse.pay(0.001) for _ in range(100))

    threads = [threading.Thread(target=pay) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(paid) in {199, 200}  # 0.2 USD, but for rounding
