"""Capacities that just fit: a whole assignment is found whenever the linear program has one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from routoo.selector.lp.problem import Objective, Problem, budget, capacity
from routoo.selector.lp.solve import solve


def best_in_places(scores: np.ndarray, mask: np.ndarray, places: np.ndarray) -> float | None:
    """Best summed score when each model has so many places, by the Hungarian method."""
    models = np.repeat(np.arange(len(places)), places)
    values = np.where(mask, scores, -1e6)[:, models]
    if values.shape[1] < len(values):
        return None
    prompts, taken = linear_sum_assignment(values, maximize=True)
    found = float(values[prompts, taken].sum())
    return None if found < -1e5 else found


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), m=st.integers(2, 6), data=st.data())
def test_whole_capacities_alone_are_always_solved_to_the_optimum(
    seed: int, n: int, m: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    steps = data.draw(st.sampled_from([1, 4, 10_000]))
    scores = rng.integers(0, steps + 1, (n, m)) / steps
    mask = rng.random((n, m)) < data.draw(st.sampled_from([0.5, 0.8, 1.0]))
    # The places are those of a drawn assignment, so that a whole assignment exists.
    home = rng.integers(0, m, n)
    mask[np.arange(n), home] = True
    places = np.bincount(home, minlength=m)
    rows = tuple(capacity(f"requests:{j}", j, m, float(places[j])) for j in range(m))

    answer = solve(Problem(scores, np.ones((n, m)), mask, rows))

    assert (np.bincount(answer.choice, minlength=m) == places).all()
    assert answer.value == pytest.approx(best_in_places(scores, mask, places), abs=1e-9)
    assert answer.gap < 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [1, 10_000])
def test_a_large_batch_fits_exactly(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = 3_000, 8
    scores = rng.integers(0, steps + 1, (n, m)) / steps
    costs = rng.lognormal(-7.0, 1.5, (n, m))
    mask = rng.random((n, m)) < 0.9
    mask[:, 0] = True
    places = rng.multinomial(n, np.ones(m) / m)
    rows = tuple(capacity(f"requests:{j}", j, m, float(places[j])) for j in range(m))

    most = solve(Problem(scores, costs, mask, rows))
    least = solve(Problem(scores, costs, mask, rows), Objective.LEAST_COST)

    for answer in (most, least):
        assert (np.bincount(answer.choice, minlength=m) == places).all()
        assert answer.gap < 1e-9
    # With a budget in addition, prompts can only change places with each other.
    limit = 0.5 * (most.cost_usd + least.cost_usd)
    both = solve(Problem(scores, costs, mask, (budget(costs, limit), *rows)))
    assert (np.bincount(both.choice, minlength=m) == places).all()
    assert both.cost_usd <= limit
    assert both.gap < 1e-3


def test_a_chain_of_three_moves_is_found() -> None:
    # All places are taken, and the only choice within the budget moves all three prompts to their
    # next model; one or two moves alone break a capacity or the budget.
    costs = np.array([[9.0, 1.0, 9.0], [9.0, 9.0, 1.0], [1.0, 9.0, 9.0]])
    scores = np.eye(3) * 0.8 + 0.1
    rows = tuple(capacity(f"requests:{j}", j, 3, 1.0) for j in range(3))

    answer = solve(Problem(scores, costs, np.ones((3, 3), bool), (budget(costs, 10.0), *rows)))

    assert answer.choice.tolist() == [1, 2, 0]
