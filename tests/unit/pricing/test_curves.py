"""Cost curves, and the prices of nested budgets that are read off them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from routoo.pricing.curves import PriceGrid
from routoo.pricing.duals import MeanCostLimit, solve_nested
from routoo.selector.policies.lp import decide, round_scores


def draw_requests(seed: int, n: int) -> tuple[Any, Any]:
    """Scores and costs of n prompts on four models; expensive ones are usually better."""
    rng = np.random.default_rng(seed)
    usual = np.array([1e-5, 1e-4, 6e-4, 6e-3])
    costs = usual * rng.lognormal(0.0, 0.5, (n, 4))
    scores = round_scores(np.clip(rng.normal([0.4, 0.55, 0.65, 0.75], 0.15, (n, 4)), 0.0, 1.0))
    return scores, costs


SCORES, COSTS = draw_requests(0, 400)
GRID = PriceGrid(SCORES, COSTS)
CURVE = GRID.costs(SCORES, COSTS, np.ones(SCORES.shape, np.bool_)).mean(axis=0)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), n=st.integers(0, 6), closed=st.integers(0, 15))
def test_a_curve_is_what_decide_spends_at_each_price(seed: int, n: int, closed: int) -> None:
    scores, costs = draw_requests(seed, n)
    scores, costs = np.round(scores, 1), np.round(costs, 4)  # ties, and costs of 0
    mask = np.ones(scores.shape, np.bool_)
    mask[:, 1:] = [not closed >> one & 1 for one in range(1, 4)]
    curves = GRID.costs(scores, costs, mask)
    rows = np.arange(n)
    for curve, price in zip(curves.T, GRID.prices, strict=True):
        assert curve.tolist() == pytest.approx(
            costs[rows, decide(scores, costs, mask, float(price))].tolist(), abs=1e-15
        )


@given(share=st.floats(0.0, 1.2))
def test_the_price_at_a_cost_has_that_cost(share: float) -> None:
    wanted = float(CURVE[-1] + share * (CURVE[0] - CURVE[-1]))
    price = GRID.price_at(CURVE, wanted)
    if wanted >= CURVE[0]:
        assert price == 0.0
    else:
        assert GRID.cost_at(CURVE, price) == pytest.approx(wanted, rel=1e-9)


def test_what_nothing_keeps_to_gets_the_highest_price() -> None:
    assert GRID.price_at(CURVE, 0.0) == GRID.prices[-1]


def test_a_sample_of_one_model_has_a_grid() -> None:
    grid = PriceGrid(np.full((3, 1), 0.5), np.full((3, 1), 0.001))
    curve = grid.costs(np.full((2, 1), 0.5), np.full((2, 1), 0.001), np.ones((2, 1), np.bool_))
    assert np.unique(curve).tolist() == [0.001]
    assert np.all(np.diff(grid.prices) > 0)


# Two budgets for all tenants, one each for two tenants, and a second one for the first of them.
PAYERS = ((0, 1, 2, 3), (0, 1, 4), (0, 1))
COMMON = (True, True, False, False, False)


def best_score(requests: list[tuple[Any, Any]], limits: list[float]) -> float:
    """Solves the linear program with one row per budget, every x[i, j] a variable."""
    scores = np.concatenate([one[0] for one in requests])
    n, m = scores.shape
    usage = np.zeros((len(limits), n, m))
    at = 0
    for (_, costs), budgets in zip(requests, PAYERS, strict=True):
        for budget in budgets:
            usage[budget, at : at + len(costs)] = costs
        at += len(costs)
    found = linprog(
        -scores.ravel(),
        A_ub=usage.reshape(len(limits), -1) / np.array(limits)[:, None],
        b_ub=np.ones(len(limits)),
        A_eq=np.kron(np.eye(n), np.ones(m)),
        b_eq=np.ones(n),
        method="highs",
    )
    assert found.status == 0
    return -float(found.fun)


@pytest.mark.parametrize("seed", range(6))
def test_nested_prices_are_the_duals_of_the_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (60, 40, 50)
    requests = [draw_requests(100 * seed + i, size) for i, size in enumerate(sizes)]
    curves = np.array(
        [GRID.costs(*one, np.ones(one[0].shape, np.bool_)).mean(axis=0) for one in requests]
    )
    payers_of = [[g for g, budgets in enumerate(PAYERS) if b in budgets] for b in range(5)]
    counts = [sum(sizes[g] for g in groups) for groups in payers_of]
    means = rng.uniform(2e-4, 5e-3, 5)
    limits = [float(mean * count) for mean, count in zip(means, counts, strict=True)]
    duals = solve_nested(
        GRID,
        curves,
        np.array(sizes) / sum(sizes),
        PAYERS,
        [MeanCostLimit(float(mean), common) for mean, common in zip(means, COMMON, strict=True)],
    )
    assert min(duals.prices) >= 0.0
    # Any prices give an upper bound of the program; the duals give one without a gap. Whole prompts
    # of a small sample and the interpolation of the grid leave a small gap.
    bound = sum(price * limit for price, limit in zip(duals.prices, limits, strict=True))
    for (scores, costs), budgets in zip(requests, PAYERS, strict=True):
        price = sum(duals.prices[budget] for budget in budgets)
        bound += float((scores - price * costs).max(axis=1).sum())
    best = best_score(requests, limits)
    assert best <= bound + 1e-9
    assert bound <= best * 1.002
    for mean, limit, price in zip(duals.mean_costs_usd, means, duals.prices, strict=True):
        assert mean <= limit * (1 + 1e-9)
        assert price == 0.0 or mean == pytest.approx(limit, rel=1e-9)
