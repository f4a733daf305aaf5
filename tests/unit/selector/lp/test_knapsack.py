"""One coupling row: the optimum against scipy's LP solver, and the bounds of the rounding."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InfeasibleError
from routoo.selector.lp.problem import Assignment, Objective, Problem, budget
from routoo.selector.lp.solve import solve

SHARES = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))


def pick(figures: Any, choice: Any) -> Any:
    return figures[np.arange(len(choice)), choice]


def check_is_whole_and_eligible(instance: Any, answer: Assignment) -> None:
    assert pick(instance.mask, answer.choice).all()
    assert answer.score == pytest.approx(math.fsum(pick(instance.scores, answer.choice)))
    assert answer.cost_usd == pytest.approx(math.fsum(pick(instance.costs, answer.choice)))


@given(data=st.data(), share=st.floats(1e-3, 1.0))
def test_budget_optimum_is_that_of_the_whole_lp(
    instances_with_room: st.SearchStrategy[Any],
    best_fractional_value: Callable[..., float],
    data: st.DataObject,
    share: float,
) -> None:
    instance = data.draw(instances_with_room)
    limit = instance.budget_usd(share)
    rows = (budget(instance.costs, limit),)

    answer = solve(Problem(instance.scores, instance.costs, instance.mask, rows))

    expected = best_fractional_value(instance.scores, instance.mask, [(instance.costs, limit)])
    check_is_whole_and_eligible(instance, answer)
    assert answer.relaxed_value == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert answer.bound == pytest.approx(answer.relaxed_value, rel=1e-9, abs=1e-9)
    assert answer.cost_usd <= limit * (1 + 2e-12)
    assert answer.value == answer.score <= answer.bound + 1e-9
    # Only one row is split, and rounding it down loses less than that row can gain.
    assert answer.value > answer.relaxed_value - 1.0
    assert answer.binding == (("budget_usd",) if answer.prices[0] > 0 else ())


@given(data=st.data(), share=SHARES)
def test_bound_follows_from_the_price_alone(
    instances: st.SearchStrategy[Any], data: st.DataObject, share: float
) -> None:
    instance = data.draw(instances)
    limit = instance.budget_usd(share)
    rows = (budget(instance.costs, limit),)

    answer = solve(Problem(instance.scores, instance.costs, instance.mask, rows))

    worth = np.where(instance.mask, instance.scores - answer.prices[0] * instance.costs, -np.inf)
    dual = answer.prices[0] * limit + worth.max(axis=1).sum()
    assert answer.prices[0] >= 0
    assert answer.bound == pytest.approx(dual, abs=1e-9 + 1e-11 * answer.prices[0] * limit)
    largest = max(abs(answer.bound), abs(answer.value))
    assert answer.gap * largest == pytest.approx(answer.bound - answer.value, abs=1e-9)


@given(data=st.data(), share=st.floats(0.0, 0.999))
def test_budget_below_the_cheapest_says_by_how_much(
    instances: st.SearchStrategy[Any], data: st.DataObject, share: float
) -> None:
    instance = data.draw(instances.filter(lambda drawn: drawn.cheapest_usd > 0))
    limit = instance.cheapest_usd * share

    with pytest.raises(InfeasibleError, match=r"^budget_usd .* raise it by [0-9.]+$") as caught:
        solve(
            Problem(
                instance.scores,
                instance.costs,
                instance.mask,
                (budget(instance.costs, limit),),
            )
        )

    enough = limit + float(str(caught.value).rsplit(" ", 1)[1])
    assert enough == pytest.approx(instance.cheapest_usd, rel=1e-5)
    solve(
        Problem(instance.scores, instance.costs, instance.mask, (budget(instance.costs, enough),))
    )


@given(data=st.data())
def test_budget_summed_in_another_order_just_fits(
    instances: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    instance = data.draw(instances)
    least = np.nanmin(instance.costs, axis=1, keepdims=True)
    limit = sum(sorted(least.ravel().tolist(), reverse=True))

    answer = solve(
        Problem(instance.scores, instance.costs, instance.mask, (budget(instance.costs, limit),))
    )

    assert answer.cost_usd == pytest.approx(instance.cheapest_usd, rel=1e-12)
    best_of_cheapest = np.where(instance.costs == least, instance.scores, 0.0).max(axis=1)
    assert answer.score == pytest.approx(best_of_cheapest.sum())


@given(data=st.data(), share=SHARES)
def test_least_cost_at_a_floor_is_that_of_the_whole_lp(
    instances: st.SearchStrategy[Any],
    best_fractional_value: Callable[..., float],
    data: st.DataObject,
    share: float,
) -> None:
    instance = data.draw(instances)
    n = len(instance.scores)
    least, most = np.nanmin(instance.scores), np.nanmax(instance.scores, axis=1).mean()
    floor = float(least + share * (most - least))
    problem = Problem(instance.scores, instance.costs, instance.mask, (), floor)

    answer = solve(problem, Objective.LEAST_COST)

    expected = best_fractional_value(
        -instance.costs, instance.mask, [(-instance.scores, -floor * n)]
    )
    check_is_whole_and_eligible(instance, answer)
    assert answer.relaxed_value == pytest.approx(-expected, rel=1e-6, abs=1e-9)
    assert answer.bound == pytest.approx(answer.relaxed_value, rel=1e-9, abs=1e-12)
    assert answer.value == answer.cost_usd >= answer.bound * (1 - 1e-12)
    assert answer.score >= floor * n * (1 - 2e-12)


@given(data=st.data(), excess=st.floats(1e-6, 1.0))
def test_floor_above_the_best_says_by_how_much(
    instances: st.SearchStrategy[Any], data: st.DataObject, excess: float
) -> None:
    instance = data.draw(instances)
    floor = float(np.nanmax(instance.scores, axis=1).mean()) + excess
    problem = Problem(instance.scores, instance.costs, instance.mask, (), floor)

    for objective in Objective:
        with pytest.raises(InfeasibleError, match=r"^min_mean_score .* lower it by") as caught:
            solve(problem, objective)
        lower_by = float(str(caught.value).rsplit(" ", 1)[1])
        assert lower_by == pytest.approx(excess, rel=2e-5)


@given(data=st.data(), share=SHARES, floor=st.floats(0.0, 1.0))
def test_budget_and_floor_are_both_kept_or_the_raise_that_is_named_suffices(
    instances: st.SearchStrategy[Any], data: st.DataObject, share: float, floor: float
) -> None:
    instance = data.draw(instances)
    n = len(instance.scores)
    limit = instance.budget_usd(share)

    def attempt(budget_usd: float) -> Assignment:
        rows = (budget(instance.costs, budget_usd),)
        return solve(Problem(instance.scores, instance.costs, instance.mask, rows, floor))

    if float(np.nanmax(instance.scores, axis=1).mean()) < floor:
        with pytest.raises(InfeasibleError, match="min_mean_score"):
            attempt(limit)
        return
    try:
        answer = attempt(limit)
    except InfeasibleError as error:
        limit += float(str(error).rsplit("raise budget_usd by ", 1)[1])
        answer = attempt(limit)
    assert answer.score >= floor * n * (1 - 2e-12)
    assert answer.cost_usd <= limit * (1 + 2e-12)


@pytest.mark.parametrize("seed", range(5))
def test_large_batch_loses_little_to_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.random((2_000, 8)), rng.lognormal(-7.0, 2.0, (2_000, 8))
    limit = float(costs.min(axis=1).sum() * 3)

    answer = solve(Problem(scores, costs, np.ones_like(scores, bool), (budget(costs, limit),)))

    assert answer.gap < 1e-5
    assert answer.cost_usd <= limit


def test_budget_that_a_choice_spends_to_the_cent_buys_that_choice() -> None:
    costs, scores = np.tile([0.0, 0.1], (3, 1)), np.tile([0.0, 1.0], (3, 1))
    assert costs[:, 1].sum() > 0.3  # in floating point

    answer = solve(Problem(scores, costs, np.ones((3, 2), bool), (budget(costs, 0.3),)))

    assert answer.score == 3.0


def test_what_one_row_leaves_of_the_budget_buys_in_another() -> None:
    scores = np.array([[0.0, 1.0], [0.0, 0.1]])
    costs = np.array([[0.0, 5.0], [0.0, 1.0]])

    answer = solve(Problem(scores, costs, np.ones((2, 2), bool), (budget(costs, 4.0),)))

    assert answer.choice.tolist() == [0, 1]
    assert answer.relaxed_value == pytest.approx(0.8)
