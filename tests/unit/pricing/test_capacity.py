"""Prices of limits: the duals of the program over the latest requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron

from routoo.pricing.capacity import (
    CapacityDemand,
    CapacityPrices,
    CapacityPricing,
    CapacityTerms,
    prices_of,
)
from support.watched import HANG_S

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray

KINDS = 3
ONE = np.ones((1, 1))


def terms(limits: list[float], kinds: list[int], members: list[list[bool]]) -> CapacityTerms:
    return CapacityTerms(
        np.array(limits),
        np.eye(KINDS)[kinds],
        np.array(members, np.bool_),
        np.array([kind == 2 for kind in kinds]),
    )


def optimum(values: FloatArray, usage: list[FloatArray], sums: FloatArray) -> float:
    """Returns the value of the whole program; each request may be refused at its loss."""
    n, m = values.shape
    loss = float(values[np.isfinite(values)].min()) - 1.0
    worth = np.column_stack((values, np.full(n, loss)))
    open_cells = np.isfinite(worth).ravel()
    cells = [np.column_stack((one, np.zeros(n))).ravel() for one in usage]
    found = linprog(
        -np.where(np.isfinite(worth), worth, 0.0).ravel(),
        A_ub=np.array(cells),
        b_ub=sums,
        A_eq=kron(eye_array(n), np.ones((1, m + 1)), format="csr"),
        b_eq=np.ones(n),
        bounds=[(0, 1 if one else 0) for one in open_cells],
        method="highs",
    )
    return -float(found.fun)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 40) | st.integers(400, 500),
    st.integers(2, 5),
    st.integers(1, 4),
)
def test_the_prices_are_the_duals_of_the_whole_program(seed: int, n: int, m: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.random((n, m)), 4)
    values[rng.random((n, m)) < 0.2] = -np.inf
    values[0, 0] = 0.5
    amounts = [ONE, rng.integers(0, 100, (n, m)).astype(float), rng.random((n, m))]
    kinds = rng.integers(0, KINDS, k).tolist()
    of = terms([1.0] * k, kinds, (rng.random((k, m)) < 0.5).tolist())
    allowed = rng.random(k) * np.array([1.0, 30.0, 0.4])[kinds]
    usage = [
        np.where(members, np.broadcast_to(amounts[kind], (n, m)), 0.0)
        for kind, members in zip(kinds, of.members, strict=True)
    ]

    prices = prices_of(values, amounts, of, allowed)

    loss = float(values[np.isfinite(values)].min()) - 1.0
    net = values - sum(price * one for price, one in zip(prices, usage, strict=True))
    dual = float(np.maximum(net.max(axis=1), loss).sum() + prices @ (allowed * n))
    best = optimum(values, usage, allowed * n)
    assert (prices >= 0.0).all()
    # No price beats the optimum, and these come within a temperature of it per request.
    assert best - 1e-6 <= dual <= best + 2e-3 * n


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def pricing_of(of: CapacityTerms, clock: Clock, left: list[float] | None = None) -> CapacityPricing:
    room = (np.array(of.limits if left is None else left), np.zeros(len(of.limits)))
    return CapacityPricing(of, lambda _: room, 0.5, clock)


def demand(values: FloatArray, seconds: float = 1.0) -> CapacityDemand:
    shape = values.shape
    return CapacityDemand(
        scores=values,
        costs_usd=np.zeros(shape),
        prices=np.zeros(len(values)),
        mask=np.ones(shape, np.bool_),
        amounts=[ONE, np.full(shape, 10.0), np.full(shape, seconds)],
    )


def shares(pricing: CapacityPricing, values: FloatArray, seconds: float = 1.0) -> FloatArray:
    """Returns the part of requests that choose each column at the prices in force."""
    charges = pricing.in_force.charges(demand(values, seconds).amounts)
    net = values if charges is None else values - charges
    return np.bincount(net.argmax(axis=1), minlength=values.shape[1]) / len(values)


def test_nothing_has_a_price_before_a_limit_binds() -> None:
    clock = Clock()
    pricing = pricing_of(terms([600.0], [0], [[True, False]]), clock)
    assert pricing.in_force.charges([ONE, ONE, ONE]) is None
    clock.now_s = 1.0
    pricing.observe(demand(np.tile([0.9, 0.5], (5, 1))))  # 300 a minute
    pricing.step()
    assert pricing.in_force.charges([ONE, ONE, ONE]) is None


@pytest.mark.parametrize("kind", [0, 1])
def test_those_who_gain_most_get_the_scarce_model(kind: int) -> None:
    rng, clock = np.random.default_rng(7), Clock()
    limit = 600.0 if kind == 0 else 6000.0
    pricing = pricing_of(terms([limit], [kind], [[True, False]]), clock)
    for _ in range(20):  # 30 a second, three times the limit
        clock.now_s += 1.0
        pricing.observe(demand(np.column_stack((rng.random(30), np.zeros(30)))))
        pricing.step()
    values = np.column_stack((np.linspace(0.0, 1.0, 1000), np.zeros(1000)))
    assert shares(pricing, values)[0] == pytest.approx(1 / 3, abs=0.06)


def test_less_is_planned_where_less_is_left() -> None:
    rng, clock = np.random.default_rng(7), Clock()
    pricing = pricing_of(terms([600.0], [0], [[True, False]]), clock, left=[0.0])
    clock.now_s = 1.0
    pricing.observe(demand(np.column_stack((rng.random(30), np.zeros(30)))))
    pricing.step()
    assert shares(pricing, np.column_stack((np.linspace(0, 0.9, 100), np.zeros(100))))[0] == 0.0


def test_concurrent_requests_are_priced_by_their_seconds() -> None:
    rng, clock = np.random.default_rng(7), Clock()
    pricing = pricing_of(terms([100.0], [2], [[True, False]]), clock)
    for _ in range(20):  # 30 a second for 10 s each would be 300 at a time
        clock.now_s += 1.0
        pricing.observe(demand(np.column_stack((rng.random(30), np.zeros(30))), 10.0))
        pricing.step()
    values = np.column_stack((np.linspace(0.0, 1.0, 1000), np.zeros(1000)))
    # Within what is left of 100 after their deviation.
    assert shares(pricing, values, 10.0)[0] == pytest.approx(0.3, abs=0.06)
    assert shares(pricing, values, 1.0)[0] > 0.8


def test_equal_requests_do_not_leave_the_limit_unused() -> None:
    clock = Clock()
    pricing = pricing_of(terms([60.0], [0], [[True, False]]), clock)
    values = np.tile([0.9, 0.5], (30, 1))
    clock.now_s = 1.0
    pricing.observe(demand(values))
    pricing.step()
    assert pricing.in_force.per_row[0] > 0.0
    assert shares(pricing, values)[0] == 1.0


def test_prices_fall_when_the_traffic_has_gone() -> None:
    clock = Clock()
    pricing = pricing_of(terms([60.0], [0], [[True, False]]), clock)
    pricing.observe(demand(np.tile([0.9, 0.5], (300, 1))))
    clock.now_s = 1.0
    pricing.step()
    assert pricing.in_force.per_row[0] > 0.0
    clock.now_s = 120.0
    pricing.step()
    assert pricing.in_force.per_row[0] == 0.0


def test_a_charge_is_the_sum_over_the_limits_of_a_column() -> None:
    of = terms([1.0, 1.0, 1.0], [0, 1, 1], [[True, True], [True, False], [False, True]])
    prices = CapacityPrices.of(of, np.array([0.1, 0.01, 0.02]))
    charges = prices.charges([ONE, np.array([[10.0, 20.0]]), ONE])
    assert charges is not None
    np.testing.assert_allclose(charges, [[0.2, 0.5]])


def test_the_thread_solves_until_it_is_closed() -> None:
    clock = Clock()
    solved = threading.Event()

    def room(_: float) -> tuple[FloatArray, FloatArray]:
        solved.set()
        return np.array([60.0]), np.zeros(1)

    pricing = CapacityPricing(terms([60.0], [0], [[True, False]]), room, 0.001, clock)
    pricing.observe(demand(np.tile([0.9, 0.5], (300, 1))))
    clock.now_s = 1.0
    pricing.start()
    assert solved.wait(HANG_S)
    pricing.close()
    assert pricing.in_force.per_row[0] > 0.0
