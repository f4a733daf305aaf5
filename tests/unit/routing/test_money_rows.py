"""Money in the books bounds a batch: against ``linprog`` on the whole program with those rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array

from routoo.errors import InfeasibleError
from routoo.routing.estimates import Estimates
from routoo.routing.joint import JointConstraints, JointSolution, solve_jointly
from routoo.routing.money.rows import BudgetLeft, booked
from routoo.routing.request import PromptRequest
from support.tiny_pool import tiny_pool

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray

POOL = tiny_pool()
MODELS = len(POOL.names)
ALL = "budget:all"


def estimates(n: int, seed: int) -> Estimates:
    rng = np.random.default_rng(seed)
    costs_usd = np.sort(rng.lognormal(-7.0, 1.0, (n, MODELS)), axis=1)
    scores = np.round(np.sort(rng.random((n, MODELS)), axis=1), 4)
    return Estimates(
        scores=scores,
        output_tokens=np.full((n, MODELS), 90.0),
        costs_usd=costs_usd,
        latencies_ms=np.full((n, MODELS), 100.0),
        input_tokens=np.full(n, 10.0),
    )


def solved(figures: Estimates, tenants: list[str], *left: BudgetLeft) -> JointSolution:
    mask = np.ones(figures.scores.shape, np.bool_)
    requests = [PromptRequest("p", tenant=one) for one in tenants]
    return solve_jointly(figures, mask, JointConstraints(budgets_left=left), requests, POOL)


def best_score(figures: Estimates, tenants: list[str], left: tuple[BudgetLeft, ...]) -> float:
    """The optimum of the whole linear program, as the mean score."""
    n, m = figures.scores.shape
    at = np.arange(n * m)
    ones = coo_array((np.ones(n * m), (at // m, at)), shape=(n, n * m)).tocsr()
    rows: list[FloatArray] = [
        np.where(
            np.array([one.tenant in ("", tenant) for tenant in tenants])[:, None],
            booked(figures.costs_usd),
            0.0,
        ).ravel()
        for one in left
    ]
    found = linprog(
        -figures.scores.ravel(),
        A_ub=np.array(rows),
        b_ub=[one.usd for one in left],
        A_eq=ones,
        b_eq=np.ones(n),
        bounds=(0, 1),
        method="highs",
    )
    assert found.success
    return float(-found.fun / n)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    share=st.tuples(*[st.floats(0.05, 1.2)] * 3),
    n=st.integers(30, 120),
)
def test_budgets_of_all_and_of_tenants_bound_a_batch_together(
    seed: int, share: tuple[float, float, float], n: int
) -> None:
    figures = estimates(n, seed)
    tenants = ["", *(["", "a", "b"][at % 3] for at in range(n - 1))]
    least, most = booked(figures.costs_usd).min(axis=1), booked(figures.costs_usd).max(axis=1)

    def left(name: str, tenant: str, part: float) -> BudgetLeft:
        own = np.array([tenant in ("", one) for one in tenants])
        low, high = float(least[own].sum()), float(most[own].sum())
        return BudgetLeft(name, tenant, low + part * (high - low))

    # The common budget can pay for what the tenants' ones leave, so that the rows fit together.
    budgets = (left(ALL, "", share[0]), left("budget:a", "a", share[1]), left("budget:b", "b", 1.1))
    solution = solved(figures, tenants, *budgets)

    optimum = best_score(figures, tenants, budgets)
    rows = np.arange(n)
    score = float(figures.scores[rows, solution.choice].mean())
    assert solution.bound >= optimum - 1e-9
    assert solution.bound == pytest.approx(optimum, rel=1e-6)
    assert solution.gap == pytest.approx((solution.bound - score) / solution.bound, abs=1e-9)
    cost_usd = booked(figures.costs_usd)[rows, solution.choice]
    for one in budgets:
        own = np.array([one.tenant in ("", tenant) for tenant in tenants])
        assert cost_usd[own].sum() <= one.usd * (1.0 + 1e-12)


def test_a_batch_of_one_tenant_is_bound_by_the_tightest_of_its_budgets() -> None:
    figures = estimates(50, 1)
    low = float(booked(figures.costs_usd).min(axis=1).sum())
    solution = solved(
        figures,
        ["a"] * 50,
        BudgetLeft(ALL, "", 2.0 * low),
        BudgetLeft("budget:a", "a", 1.5 * low),
        BudgetLeft("budget:b", "b", -1.0),
    )
    assert solution.binding == ("budget:a",)
    assert solution.shadow_price > 0.0
    assert (solution.row_prices == solution.shadow_price).all()


def test_money_that_is_more_than_enough_binds_nothing() -> None:
    solution = solved(estimates(20, 2), [""] * 20, BudgetLeft(ALL, "", 1e6))
    assert (solution.choice == MODELS - 1).all()
    assert solution.binding == ()


def test_what_is_lacking_is_named_with_its_amount() -> None:
    figures = estimates(20, 3)
    low = float(booked(figures.costs_usd).min(axis=1).sum())
    with pytest.raises(InfeasibleError, match=r"^budget:all .*; raise it by 0\.00"):
        solved(figures, [""] * 20, BudgetLeft(ALL, "", low - 0.005))


def test_prompts_of_a_spent_budget_get_their_cheapest_models() -> None:
    figures = estimates(20, 4)
    tenants = ["a", "b"] * 10
    solution = solved(
        figures,
        tenants,
        BudgetLeft(ALL, "", 1e6),
        BudgetLeft("budget:a", "a", 0.0, is_spent=True),
    )
    assert (solution.choice[::2] == 0).all()
    assert (solution.choice[1::2] == MODELS - 1).all()
