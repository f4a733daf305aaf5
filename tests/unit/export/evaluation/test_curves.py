"""Cost-quality curves, the figures that are read off them, and the decisions behind them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.evaluation.bootstrap import Resamples
from routoo_export.evaluation.curves import (
    Curve,
    Gains,
    Truth,
    arena_score,
    non_decreasing_hull,
    single_model_choices,
)
from routoo_export.evaluation.decisions import (
    OperatingPoint,
    PoolPredictions,
    price_for_arena,
    price_for_share,
)

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)
WHOLE = Resamples(np.ones((1, 100), dtype=np.float32))


def two_models() -> tuple[np.ndarray, np.ndarray]:
    """A pool of a cheap model, right on the first half, and an expensive one, always right."""
    scores = np.array([[1.0, 1.0]] * 50 + [[0.0, 1.0]] * 50)
    return scores, np.tile([0.1, 1.0], (100, 1))


def gains_of(predicted: PoolPredictions, truth: Truth) -> Gains:
    return Gains.of(Curve.of(predicted.sweep(), truth, WHOLE), truth, WHOLE)


def test_perfect_predictions_pay_only_where_it_matters() -> None:
    scores, cost_usd = two_models()
    found = gains_of(PoolPredictions(scores, cost_usd), Truth(scores, cost_usd, reference=1))
    assert found.cost_share[0] == pytest.approx(0.55)
    # Between the cheap end (0.1, 0.5) and the match at (0.55, 1.0).
    assert found.half_cost_points[0] == pytest.approx(100 * (0.5 + 0.5 * 0.4 / 0.45 - 1.0))
    assert found.best_to_half_points[0] == pytest.approx(found.half_cost_points[0])
    assert found.three_quarter_cost_points[0] == pytest.approx(0.0)
    # The reference already is the oracle: there is no gap to close.
    assert np.isnan(found.gap_closed[0])
    # A ramp from .5 to 1 over half of the range, then level.
    assert found.aiq[0] == pytest.approx(0.75 * 0.5 + 1.0 * 0.5)


def test_predictions_without_information_mix_the_two_ends() -> None:
    scores, cost_usd = two_models()
    flat = np.tile(scores.mean(axis=0), (100, 1))
    found = gains_of(PoolPredictions(flat, cost_usd), Truth(scores, cost_usd, reference=1))
    assert found.cost_share[0] == pytest.approx(1.0)
    assert found.half_cost_points[0] == pytest.approx(100 * (0.5 + 0.5 * 0.4 / 0.9 - 1.0))
    assert found.aiq[0] == pytest.approx(0.75)


def test_the_gap_to_the_oracle() -> None:
    # Each model is right on its own half; predictions distinguish only the first quarter.
    scores = np.array([[1.0, 0.0]] * 50 + [[0.0, 1.0]] * 50)
    cost_usd = np.tile([0.5, 1.0], (100, 1))
    predicted = np.array([[0.9, 0.1]] * 25 + [[0.4, 0.5]] * 75)
    found = gains_of(PoolPredictions(predicted, cost_usd), Truth(scores, cost_usd, reference=1))
    # 75 right instead of 50; the oracle is right on all.
    assert found.full_cost_points[0] == pytest.approx(25.0)
    assert found.gap_closed[0] == pytest.approx(0.5)


def test_the_best_point_up_to_half_is_no_worse_than_half() -> None:
    # Three models; the one in the middle is the best, the most expensive one is the reference.
    scores = np.tile([0.2, 0.9, 0.5], (100, 1))
    cost_usd = np.tile([0.1, 0.3, 1.0], (100, 1))
    mistaken = np.tile([0.2, 0.5, 0.9], (100, 1))
    found = gains_of(PoolPredictions(mistaken, cost_usd), Truth(scores, cost_usd, reference=2))
    assert found.best_to_half_points[0] == pytest.approx(40.0)
    assert found.half_cost_points[0] < 40.0


def test_a_quality_that_is_never_reached_has_no_cost() -> None:
    scores, cost_usd = two_models()
    truth = Truth(scores, cost_usd, reference=1)
    always_cheap = Curve.of(single_model_choices(np.array([0]), 100), truth, WHOLE)
    found = Gains.of(always_cheap, truth, WHOLE)
    assert np.isnan(found.cost_share[0])
    assert found.full_cost_points[0] == pytest.approx(-50.0)


@given(st.floats(1e-6, 1e6))
def test_figures_do_not_depend_on_the_currency(unit: float) -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((100, 3)) < [0.4, 0.6, 0.8]).astype(np.float64)
    cost_usd = rng.random((100, 3)) * [1.0, 3.0, 10.0]
    blurred = 0.5 * scores + 0.3 * rng.random((100, 3))
    one, other = (
        gains_of(PoolPredictions(blurred, cost_usd * by), Truth(scores, cost_usd * by, reference=2))
        for by in (1.0, unit)
    )
    for field in fields(Gains):
        found = getattr(other, field.name)[0]
        assert found == pytest.approx(getattr(one, field.name)[0], rel=1e-6, abs=1e-6), field.name


def test_a_resample_gives_what_its_prompts_give() -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random((100, 3)) < [0.4, 0.6, 0.8]).astype(np.float64)
    cost_usd = rng.random((100, 3)) * [1.0, 3.0, 10.0]
    truth = Truth(scores, cost_usd, reference=2)
    choices = PoolPredictions(0.5 * scores + 0.3 * rng.random((100, 3)), cost_usd).sweep()
    drawn = Resamples.draw(100, seed=5, count=3)
    curve = Curve.of(choices, truth, drawn)
    found = Gains.of(curve, truth, drawn)
    copies = np.repeat(np.arange(100), drawn.weights[2].astype(int))
    again = Truth(scores[copies], cost_usd[copies], reference=2)
    want = Gains.of(Curve.of(choices[:, copies], again, WHOLE), again, WHOLE)
    for field in fields(Gains):
        got = getattr(found, field.name)[2]
        assert got == pytest.approx(getattr(want, field.name)[0]), field.name


@given(POINTS)
def test_the_hull_is_concave_and_the_least_above_all_points(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=np.float64).T
    cost, score = non_decreasing_hull(x, y)
    assert (np.diff(cost) > 0).all()
    assert (np.diff(score) > 0).all()
    assert (np.diff(np.diff(score) / np.diff(cost)) < 1e-9).all()
    assert cost[0] == x.min()
    assert (np.interp(x, cost, score) >= y - 1e-9).all()
    assert {*zip(cost, score, strict=True)} <= {*zip(x, y, strict=True)}


def test_arena_score_of_the_published_formula() -> None:
    # At both ends of the cost scale, and where log cost is half way.
    middle = np.sqrt(0.0044 * 200.0) / 1000.0
    cost = np.array([0.0044, 200.0, 1000.0 * middle]) / 1000.0
    found = arena_score(np.array([0.8, 0.8, 0.8]), cost)
    assert found[0] == pytest.approx(1.1 * 0.8 / (0.08 + 1.0))
    assert found[1] == 0.0
    assert found[2] == pytest.approx(1.1 * 0.8 * 0.5 / (0.08 + 0.5))
    # A cost of 0 and one above the scale are its two ends.
    beyond = arena_score(np.array([0.8, 0.8]), np.array([0.0, 9.0]))
    np.testing.assert_allclose(beyond, found[:2])


def test_half_a_budget_is_kept_on_the_sample_and_judged_on_the_prompts() -> None:
    scores, cost_usd = two_models()
    informed = PoolPredictions(scores, cost_usd)
    price = price_for_share(informed, reference=1, share=0.5)
    assert price == pytest.approx(1 / 0.9)
    point = OperatingPoint.of(price, informed, Truth(scores, cost_usd, reference=1), WHOLE)
    # A budget of 0.5 per prompt is below the cost of being always right (0.55).
    assert point.cost_share[0] <= 0.5
    world = Truth(scores[:, ::-1], cost_usd, reference=1)
    assert OperatingPoint.of(price, informed, world, WHOLE).points[0] == pytest.approx(50.0)


def test_a_share_below_the_cheapest_model_has_no_price() -> None:
    scores, cost_usd = two_models()
    assert price_for_share(PoolPredictions(scores, cost_usd), reference=1, share=0.05) is None


def test_the_arena_price_promises_the_best_arena_score() -> None:
    scores, cost_usd = two_models()
    predicted = PoolPredictions(scores, cost_usd / 100.0)
    best = predicted.choose(price_for_arena(predicted))
    rows = np.arange(100)

    def promised(choice: np.ndarray) -> float:
        score, cost = predicted.scores[rows, choice], predicted.cost_usd[rows, choice]
        return float(arena_score(np.array([score.mean()]), np.array([cost.mean()]))[0])

    assert promised(best) == max(promised(choice) for choice in predicted.sweep())
