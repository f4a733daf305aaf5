"""Decisions are booked, and changed or refused where the budgets lack money."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.errors import NoBudgetError
from routoo.selector.policies.base import Case
from routoo.selector.policies.best import Best
from support.tiny_money import hourly, spending

COSTS_USD = (0.01, 0.1, 1.0)


def case_of(n: int, **given: Any) -> Case:
    """Makes a case of n equal rows and three models; the most expensive one is the best."""
    values: dict[str, Any] = {"mask": np.ones((n, 3), np.bool_), **given}
    return Case(
        scores=np.tile(np.array([0.2, 0.5, 0.8]), (n, 1)),
        costs_usd=np.tile(np.array(COSTS_USD), (n, 1)),
        prices=np.zeros(n),
        max_quality_gaps=np.full(n, np.nan),
        tickets=np.arange(n, dtype=np.int64),
        **values,
    )


def book(money: Any, n: int, tenants: list[str] | None = None, first: int = 0, **given: Any) -> Any:
    case = case_of(n, **given)
    ids = [f"d{first + row}" for row in range(n)]
    return money.book(ids, tenants or [""] * n, case, Best().choose(case))


def test_rows_are_booked_in_order_and_the_cheapest_stand_in() -> None:
    money = spending(hourly(2.05))
    booked = book(money, 8)
    assert booked.choice.tolist() == [2, 2, 0, 0, 0, 0, 0, -1]
    assert booked.spent.tolist() == [-1, -1, *[0] * 6]
    assert booked.granted.tolist() == [True] * 7 + [False]
    assert booked.refused.tolist() == [False] * 7 + [True]
    state = money.ledger.states()[0]
    assert (state.reserved_usd, state.overdraft_usd) == (2.05, 0.0)


def test_a_budget_may_let_requests_go_on_beside_it() -> None:
    money = spending(hourly(1.0, on_exhausted="cheapest"))
    booked = book(money, 3)
    assert booked.choice.tolist() == [2, 0, 0]
    assert booked.granted.tolist() == [True, False, False]
    assert not booked.refused.any()
    state = money.ledger.states()[0]
    assert (state.reserved_usd, state.overdraft_usd) == (1.0, 0.02)


def test_a_tenants_refusing_budget_is_not_passed_by_a_common_one_that_lets_go_on() -> None:
    money = spending(
        hourly(1.0, on_exhausted="cheapest"), hourly(0.02, "a", "a", on_exhausted="refuse")
    )
    booked = book(money, 5, ["b", "a", "a", "a", "b"])
    assert booked.choice.tolist() == [2, 0, 0, -1, 0]
    assert booked.refused.tolist() == [False, False, False, True, False]


def test_rows_without_a_model_are_not_booked() -> None:
    money = spending(hourly(5.0))
    mask = np.array([[True] * 3, [False] * 3])
    booked = book(money, 2, mask=mask)
    assert booked.choice.tolist() == [2, -1]
    assert not booked.refused.any()
    assert money.ledger.states()[0].reserved_usd == 1.0


def test_the_error_says_which_budget_and_until_when() -> None:
    error = spending(hourly(2.0, "team")).spent_error(0)
    assert error.budget == "team"
    assert str(error) == (
        "budget team ($2 in 3600 s) has not enough left; the next period begins in 2800 s, or"
        " raise it"
    )
    assert "grows old" in str(spending(hourly(2.0, sliding=True)).spent_error(0))
    assert str(spending(hourly(2.0, "team")).spent_error(0, degraded=True)) == (
        "budget team ($2 in 3600 s) has not enough left of this replica's lease, and Redis is away"
        " or has lost books; try again later, the log says when it is back"
    )


def test_a_tenant_without_a_budget_is_refused_where_the_settings_say_so() -> None:
    spending(hourly(1.0, "a", "a")).check("b")
    strict = spending(hourly(1.0, "a", "a"), refuses_unbudgeted=True)
    strict.check("a")
    with pytest.raises(NoBudgetError, match=r"^tenant 'b' has no budget; give it one in budgets"):
        strict.check("b")


def test_what_nobody_received_is_given_back() -> None:
    money = spending(hourly(1.0))
    book(money, 1)
    money.release(["d0", "never booked"])
    state = money.ledger.states()[0]
    assert (state.reserved_usd, state.settled_usd) == (0.0, 0.0)


@settings(max_examples=60)
@given(
    limits=st.tuples(st.floats(0.005, 4.0), st.floats(0.005, 4.0)),
    exhausted=st.tuples(*[st.sampled_from(["refuse", "cheapest"])] * 2),
    tenants=st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=12),
    data=st.data(),
)
def test_no_row_leaves_its_mask_and_no_budget_its_limit(
    limits: Any, exhausted: Any, tenants: list[str], data: st.DataObject
) -> None:
    money = spending(
        hourly(limits[0], on_exhausted=exhausted[0]),
        hourly(limits[1], "a", "a", on_exhausted=exhausted[1]),
    )
    n = len(tenants)
    cells = data.draw(st.lists(st.booleans(), min_size=3 * n, max_size=3 * n))
    mask = np.array(cells).reshape(n, 3)
    booked = book(money, n, tenants, mask=mask)
    for row, chosen in enumerate(booked.choice.tolist()):
        if chosen >= 0:
            assert mask[row, chosen]
            assert not booked.refused[row]
        else:
            assert booked.refused[row] or not mask[row].any()
    for state, limit in zip(money.ledger.states(), limits, strict=True):
        assert state.reserved_usd + state.settled_usd <= limit + 1e-9
        if state.terms.on_exhausted == "refuse" and state.terms.tenant:
            assert state.reserved_usd + state.overdraft_usd <= limit + 1e-9


def test_many_threads_never_spend_more_than_there_is() -> None:
    money = spending(hourly(20.0))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda t: book(money, 40, first=1000 * t), range(12)))
    booked_usd = sum(
        COSTS_USD[chosen] for one in found for chosen in one.choice.tolist() if chosen >= 0
    )
    state = money.ledger.states()[0]
    assert state.reserved_usd == pytest.approx(booked_usd, abs=1e-6)
    assert 19.9 < state.reserved_usd <= 20.0


def test_an_overdraft_is_booked_on_the_budget_that_allowed_it() -> None:
    money = spending(hourly(1.0), hourly(0.005, "a", "a", on_exhausted="cheapest"))
    booked = book(money, 2, ["a", "a"])
    assert booked.choice.tolist() == [0, 0]
    common, own = money.ledger.states()
    assert (common.reserved_usd + common.settled_usd, common.overdraft_usd) == (0.02, 0.0)
    assert (own.reserved_usd + own.settled_usd, own.overdraft_usd) == (0.0, 0.02)
    money.ledger.settle("d0", 0.03)
    common, own = money.ledger.states()
    assert (common.settled_usd, common.overdraft_usd) == (0.04, 0.0)
    assert own.overdraft_usd == 0.04
