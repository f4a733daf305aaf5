"""Very many prompts: the same optimum as the knapsack's, however wrong the sample is."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InfeasibleError
from routoo.selector.lp import knapsack_large
from routoo.selector.lp import solve as solve_module
from routoo.selector.lp.knapsack import UnreachableError, solve_row
from routoo.selector.lp.knapsack_large import solve_large
from routoo.selector.lp.problem import Optimum, Problem, budget


def check_is_the_knapsack_s(values: Any, usage: Any, limit: float) -> Optimum:
    rows = np.arange(len(values))
    expected = solve_row(values, usage, limit)

    found = solve_large(values, usage, limit)

    # The rest of the limit, which depends on the order of summing, has a value at the price.
    close = 1e-11 * max(1.0, abs(expected.relaxed_value)) + 2e-12 * limit * expected.prices[0]
    assert found.relaxed_value == pytest.approx(expected.relaxed_value, abs=close)
    assert found.bound == pytest.approx(expected.bound, abs=1e-9 + 2.0 * close)
    assert np.isfinite(values[rows, found.choice]).all()
    assert usage[rows, found.choice].sum() <= limit + 2e-12 * abs(limit)
    return found


@given(data=st.data(), share=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0)))
def test_small_batches_are_the_knapsack_s(
    instances: st.SearchStrategy[Any], data: st.DataObject, share: float
) -> None:
    instance = data.draw(instances)
    values = np.where(instance.mask, instance.scores, -np.inf)
    usage = np.where(instance.mask, instance.costs, 0.0)

    check_is_the_knapsack_s(values, usage, instance.budget_usd(share) * (1.0 + 1e-9))


def figures(kind: str, n: int, m: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    values, usage = rng.random((n, m)), rng.lognormal(-7.0, 1.5, (n, m))
    match kind:
        case "outcomes":
            values = np.round(values)
        case "alike":
            values[:], usage[:] = values[0], usage[0]
        case "free":
            usage[rng.random((n, m)) < 0.5] = 0.0
        case "few expensive prompts":
            usage[:20] *= 1e6
        case "closed cells":
            values[rng.random((n, m)) < 0.5] = -np.inf
            values[:, 0] = 0.1
            usage[np.isinf(values)] = 0.0
        case "periodic":
            # Every prompt of the sample is more expensive than the others.
            usage[::2] *= 100.0
    return values, usage


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.1, 0.5, 0.999, 1.0])
@pytest.mark.parametrize(
    "kind",
    ["plain", "outcomes", "alike", "free", "few expensive prompts", "closed cells", "periodic"],
)
def test_large_batches_are_the_knapsack_s(
    monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    monkeypatch.setattr(knapsack_large, "_SAMPLE", 1_000)
    values, usage = figures(kind, 2_000, 5)
    rows = np.arange(len(values))
    least = np.where(np.isinf(values), np.inf, usage).min(axis=1).sum()
    most = usage[rows, values.argmax(axis=1)].sum()

    found = check_is_the_knapsack_s(values, usage, float(least + share * (most - least)))

    assert found.bound - values[rows, found.choice].sum() <= 1.0


def test_a_limit_below_the_least_tells_the_least() -> None:
    values, usage = figures("plain", 2_000, 5)

    with pytest.raises(UnreachableError) as caught:
        solve_large(values, usage, 1e-6)

    assert caught.value.least == pytest.approx(usage.min(axis=1).sum())


def test_large_problems_take_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, costs = figures("plain", 2_000, 5)
    mask = np.ones((2_000, 5), bool)
    limit = float(costs.min(axis=1).sum() * 2.0)
    expected = solve_module.solve(Problem(scores, costs, mask, (budget(costs, limit),)))
    monkeypatch.setattr(solve_module, "_LARGE_CELLS", 10_000)

    answer = solve_module.solve(Problem(scores, costs, mask, (budget(costs, limit),)))

    assert answer.bound == pytest.approx(expected.bound, rel=1e-12)
    assert answer.gap < 1e-4
    with pytest.raises(InfeasibleError, match="budget_usd 1e-06 is below the least possible"):
        solve_module.solve(Problem(scores, costs, mask, (budget(costs, 1e-6),)))
