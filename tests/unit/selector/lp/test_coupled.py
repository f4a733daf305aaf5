"""Several coupling rows: the optimum against scipy's LP solver, rounding, infeasibility."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InfeasibleError
from routoo.selector.lp.problem import (
    Assignment,
    Objective,
    Problem,
    Resource,
    budget,
    capacity,
    mean_latency,
)
from routoo.selector.lp.solve import solve
from routoo.selector.policies.lp import decide

Oracle = Callable[..., float | None]


def for_oracle(problem: Problem) -> list[tuple[Any, float]]:
    shape = problem.scores.shape
    return [(np.broadcast_to(row.usage, shape), row.limit) for row in problem.resources]


def check_keeps_its_rows(problem: Problem, answer: Assignment) -> None:
    at = np.arange(len(answer.choice))
    assert problem.mask[at, answer.choice].all()
    for usage, limit in for_oracle(problem):
        assert usage[at, answer.choice].sum() <= limit + 1e-11 * max(abs(limit), 1.0)


@st.composite
def coupled_problems(draw: st.DrawFn, instances: st.SearchStrategy[Any]) -> Problem:
    """A budget, capacities of some models and sometimes a mean latency; often infeasible."""
    instance = draw(instances)
    n, m = instance.scores.shape
    rows = [budget(instance.costs, instance.budget_usd(draw(st.floats(1e-3, 1.0))))]
    for model in range(m):
        limit = draw(st.one_of(st.none(), st.integers(0, n)))
        if limit is not None:
            rows.append(capacity(f"capacity:{model}", model, m, float(limit)))
    if draw(st.booleans()):
        latencies_ms = draw(st.integers(0, 2**32 - 1).map(lambda s: _latencies_ms(s, n, m)))
        rows.append(mean_latency(latencies_ms, draw(st.floats(100.0, 2_000.0))))
    else:
        rows.append(Resource("tokens", np.arange(1.0, m + 1.0), draw(st.floats(0.5, 6.0)) * n))
    return Problem(instance.scores, instance.costs, instance.mask, tuple(rows))


def _latencies_ms(seed: int, n: int, m: int) -> Any:
    return np.round(np.random.default_rng(seed).lognormal(6.0, 1.0, (n, m)), 1)


@given(data=st.data())
def test_most_score_is_that_of_the_whole_lp(
    instances_with_room: st.SearchStrategy[Any], best_fractional_value: Oracle, data: st.DataObject
) -> None:
    problem = data.draw(coupled_problems(instances_with_room))
    expected = best_fractional_value(problem.scores, problem.mask, for_oracle(problem))

    if expected is None:
        with pytest.raises(InfeasibleError, match=r"^[^\n]+$"):
            solve(problem)
        return
    try:
        answer = solve(problem)
    except InfeasibleError as error:
        # With few prompts and no room for rounding, only a split prompt keeps the limits.
        if "as a whole" not in str(error):
            raise
        return
    check_keeps_its_rows(problem, answer)
    assert answer.relaxed_value == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert answer.bound == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert answer.value <= answer.bound + 1e-6
    assert answer.prices.shape == (len(problem.resources),)
    assert (answer.prices >= 0).all()


@given(data=st.data(), share=st.floats(0.0, 0.9))
def test_least_cost_at_a_floor_within_capacities_is_that_of_the_whole_lp(
    instances_with_room: st.SearchStrategy[Any],
    best_fractional_value: Oracle,
    data: st.DataObject,
    share: float,
) -> None:
    instance = data.draw(instances_with_room)
    n, m = instance.scores.shape
    capped = data.draw(st.integers(0, m - 1))
    rows = (capacity("capacity:x", capped, m, float(data.draw(st.integers(0, n)))),)
    least, most = np.nanmin(instance.scores), np.nanmax(instance.scores, axis=1).mean()
    floor = float(least + share * (most - least))
    problem = Problem(instance.scores, instance.costs, instance.mask, rows, floor)
    whole = [*for_oracle(problem), (-instance.scores, -floor * n)]
    expected = best_fractional_value(-instance.costs, instance.mask, whole)

    if expected is None:
        with pytest.raises(InfeasibleError):
            solve(problem, Objective.LEAST_COST)
        return
    try:
        answer = solve(problem, Objective.LEAST_COST)
    except InfeasibleError as error:
        if "as a whole" not in str(error):
            raise
        return
    check_keeps_its_rows(problem, answer)
    assert answer.score >= floor * n * (1 - 1e-11) - 1e-11
    assert answer.relaxed_value == pytest.approx(-expected, rel=1e-6, abs=1e-8)
    assert answer.bound <= answer.value + 1e-8


def large(seed: int, n: int, m: int, *, alike: bool) -> Problem:
    rng = np.random.default_rng(seed)
    scores, costs = rng.random((n, m)), rng.lognormal(-7.0, 1.5, (n, m))
    if alike:
        scores[:], costs[:] = scores[0], costs[0]
    mask = rng.random((n, m)) < 0.9
    mask[:, 0] = True
    cheapest = np.where(mask, costs, np.inf).min(axis=1).sum()
    greatest = np.where(mask, costs, -np.inf).max(axis=1).sum()
    rows = [budget(costs, float(0.8 * cheapest + 0.2 * greatest))]
    rows += [
        capacity(f"capacity:{j}", j, m, float(n * rng.uniform(1.0, 3.0) // m)) for j in range(1, m)
    ]
    rows.append(capacity("capacity:0", 0, m, float(n)))
    return Problem(scores, costs, mask, tuple(rows))


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_large_batch_is_solved_to_the_lp_and_rounded_within_its_rows(
    best_fractional_value: Oracle, seed: int, *, alike: bool
) -> None:
    problem = large(seed, 700, 6, alike=alike)

    answer = solve(problem)

    expected = best_fractional_value(problem.scores, problem.mask, for_oracle(problem))
    check_keeps_its_rows(problem, answer)
    assert answer.relaxed_value == pytest.approx(expected, rel=1e-8)
    assert answer.bound == pytest.approx(expected, rel=1e-8)
    assert answer.gap < 1e-3


def test_prices_alone_choose_as_the_joint_optimum_does() -> None:
    problem = large(7, 3_000, 6, alike=False)

    answer = solve(problem)

    others = [
        (price, row.usage)
        for price, row in zip(answer.prices[1:], problem.resources[1:], strict=True)
    ]
    alone = decide(
        problem.scores, problem.costs, problem.mask, float(answer.prices[0]), other_rows=others
    )
    assert (alone == answer.choice).mean() > 0.99
    assert "budget_usd" in answer.binding


@pytest.mark.parametrize("n", [20, 3_000])
def test_capacities_that_do_not_hold_all_prompts_are_named_with_the_shortage(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = tuple(capacity(f"capacity:{j}", j, 2, n * 0.45) for j in range(2))
    problem = Problem(rng.random((n, 2)), rng.random((n, 2)), np.ones((n, 2), bool), rows)

    with pytest.raises(InfeasibleError, match="capacity:0 and capacity:1 cannot be kept") as caught:
        solve(problem)

    told = [float(amount) for amount in re.findall(r"by at least ([0-9.]+)", str(caught.value))]
    assert told == pytest.approx([0.1 * n, 0.1 * n], rel=0.01)


def test_row_that_no_choice_keeps_is_named_alone() -> None:
    costs = np.full((4, 2), 0.5)
    rows = (budget(costs, 1.5), capacity("capacity:0", 0, 2, 3.0))

    with pytest.raises(
        InfeasibleError, match=r"^budget_usd 1.5 is below the least possible 2; raise it by 0.5$"
    ):
        solve(Problem(np.ones((4, 2)), costs, np.ones((4, 2), bool), rows))


def test_floor_that_capacities_put_out_of_reach_is_named_with_them() -> None:
    scores = np.tile([0.2, 0.8], (10, 1))
    rows = (capacity("capacity:1", 1, 2, 5.0),)
    problem = Problem(scores, np.ones((10, 2)), np.ones((10, 2), bool), rows, 0.6)

    with pytest.raises(InfeasibleError) as caught:
        solve(problem, Objective.LEAST_COST)

    assert "lower min_mean_score by at least 0.1" in str(caught.value)
    # Five thirds of a prompt would suffice if prompts could be split.
    assert "raise capacity:1 by at least 2 " in str(caught.value)


def test_rows_that_only_a_split_prompt_keeps_say_what_a_whole_one_needs() -> None:
    costs, usage = np.array([[0.0, 2.0]]), np.array([[2.0, 0.0]])
    rows = (budget(costs, 1.0), Resource("quota", usage, 1.0))

    with pytest.raises(InfeasibleError, match=r"one model as a whole; raise .* by at least 1$"):
        solve(Problem(np.ones((1, 2)), costs, np.ones((1, 2), bool), rows))
