"""The frontier against the LP at any budget, and the price that keeps to a mean cost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InfeasibleError, InvalidRequestError, NoEligibleModelError
from routoo.selector.lp.frontier import frontier, price_for_mean_cost
from routoo.selector.policies.lp import decide


def mean_cost_usd(instance: Any, choice: Any) -> float:
    return float(instance.costs[np.arange(len(choice)), choice].mean())


@given(data=st.data(), share=st.floats(1e-3, 1.0))
def test_frontier_is_the_lp_at_any_budget(
    instances_with_room: st.SearchStrategy[Any],
    best_fractional_value: Callable[..., float],
    data: st.DataObject,
    share: float,
) -> None:
    instance = data.draw(instances_with_room)
    n = len(instance.scores)
    limit = instance.budget_usd(share)

    curve = frontier(instance.scores, instance.costs, instance.mask)

    score = n * np.interp(limit / n, curve.mean_cost_usd, curve.mean_score)
    expected = best_fractional_value(instance.scores, instance.mask, [(instance.costs, limit)])
    assert score == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(data=st.data())
def test_frontier_rises_and_bends_down(
    instances: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    instance = data.draw(instances)

    curve = frontier(instance.scores, instance.costs, instance.mask)

    assert (np.diff(curve.mean_cost_usd) > 0).all()
    assert (np.diff(curve.mean_score) > 0).all()
    assert (np.diff(curve.price) < 0).all()
    assert curve.price[-1] == 0
    assert curve.mean_cost_usd[0] == pytest.approx(instance.cheapest_usd / len(instance.mask))
    assert curve.mean_score[-1] == pytest.approx(np.nanmax(instance.scores, axis=1).mean())
    slopes = np.diff(curve.mean_score) / np.diff(curve.mean_cost_usd)
    assert slopes == pytest.approx(curve.price[:-1], rel=1e-5)


@given(data=st.data())
def test_decide_just_above_a_vertex_price_lands_on_the_vertex(
    instances: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    instance = data.draw(instances)
    curve = frontier(instance.scores, instance.costs, instance.mask)
    at = data.draw(st.integers(0, len(curve.price) - 1))

    price = float(curve.price[at]) * (1 + 1e-9)
    choice = decide(instance.scores, instance.costs, instance.mask, price)

    assert mean_cost_usd(instance, choice) == pytest.approx(curve.mean_cost_usd[at], rel=1e-9)


def test_costs_that_differ_in_their_last_bits_make_one_vertex() -> None:
    costs = np.array([[0.3, 0.1 + 0.2, np.nan], [1e6, np.nan, 2e6]])
    assert costs[0, 0] < costs[0, 1]

    curve = frontier(np.array([[0.1, 0.8, 0.0], [0.5, 0.0, 0.6]]), costs, np.isfinite(costs))

    assert curve.mean_score.tolist() == pytest.approx([0.65, 0.7])
    assert (np.diff(curve.mean_cost_usd) > 0).all()


@given(data=st.data(), points=st.integers(2, 6))
def test_thinned_frontier_keeps_its_ends(
    instances: st.SearchStrategy[Any], data: st.DataObject, points: int
) -> None:
    instance = data.draw(instances)
    whole = frontier(instance.scores, instance.costs, instance.mask)

    thin = frontier(instance.scores, instance.costs, instance.mask, points=points)

    assert len(thin.price) <= points
    assert set(zip(thin.mean_cost_usd, thin.mean_score, thin.price, strict=True)) <= set(
        zip(whole.mean_cost_usd, whole.mean_score, whole.price, strict=True)
    )
    assert thin.mean_cost_usd[0] == whole.mean_cost_usd[0]
    assert thin.mean_cost_usd[-1] == whole.mean_cost_usd[-1]


def test_thinned_frontier_has_the_points_asked_for_where_the_curve_is_long() -> None:
    rng = np.random.default_rng(3)
    scores, costs = rng.random((500, 6)), rng.lognormal(-7.0, 2.0, (500, 6))

    thin = frontier(scores, costs, np.ones_like(scores, bool), points=20)

    assert 15 <= len(thin.price) <= 20


def test_a_curve_of_one_point_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="points is 1"):
        frontier(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool), points=1)


@given(data=st.data(), share=st.floats(0.0, 1.0))
def test_price_spends_as_much_of_the_mean_cost_as_it_may(
    instances: st.SearchStrategy[Any], data: st.DataObject, share: float
) -> None:
    instance = data.draw(instances)
    limit_usd = instance.budget_usd(share) / len(instance.scores)

    price = price_for_mean_cost(instance.scores, instance.costs, instance.mask, limit_usd)

    choice = decide(instance.scores, instance.costs, instance.mask, price)
    assert mean_cost_usd(instance, choice) <= limit_usd * (1 + 2e-12)
    if price > 0:
        bolder = decide(instance.scores, instance.costs, instance.mask, price * (1 - 1e-6))
        assert mean_cost_usd(instance, bolder) > limit_usd * (1 - 2e-12)


def test_price_is_zero_where_the_best_is_affordable() -> None:
    scores, costs = np.array([[0.2, 0.9]]), np.array([[0.1, 0.5]])

    assert price_for_mean_cost(scores, costs, np.ones((1, 2), bool), 0.5) == 0.0


def test_mean_cost_below_the_cheapest_says_by_how_much() -> None:
    scores, costs = np.ones((4, 2)), np.full((4, 2), 0.25)

    with pytest.raises(
        InfeasibleError,
        match=r"^mean_cost_usd 0.1 is below the least possible 0.25; raise it by 0.15",
    ):
        price_for_mean_cost(scores, costs, np.ones((4, 2), bool), 0.1)


def test_mean_cost_must_be_finite() -> None:
    with pytest.raises(InvalidRequestError, match="mean_cost_usd is nan"):
        price_for_mean_cost(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool), np.nan)


def test_sample_with_a_row_without_models_is_refused() -> None:
    mask = np.array([[True], [False]])

    with pytest.raises(NoEligibleModelError, match="row 1"):
        frontier(np.ones((2, 1)), np.ones((2, 1)), mask)
