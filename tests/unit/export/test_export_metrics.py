"""Figures against definitions worked out the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routoo_export.decisions import Predicted, Truth, gain, gain_estimate, half_budget, sweep
from routoo_export.metrics import (
    auc,
    bootstrap,
    expected_calibration_error,
    first_crossing,
    log_loss,
    pair_curve,
)

SIXTHS = st.integers(0, 6).map(lambda k: k / 6)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), SIXTHS), min_size=2, max_size=30))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[float, float]]) -> None:
    truth, score = (np.array(column) for column in zip(*rows, strict=True))
    assume(0 < truth.sum() < len(truth))
    gaps = score[truth == 1][:, None] - score[truth == 0][None, :]
    assert auc(truth, score) == pytest.approx(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


def test_auc_refuses_a_single_outcome() -> None:
    with pytest.raises(ValueError, match="both outcomes"):
        auc(np.ones(3), np.arange(3.0))


def test_log_loss_and_ece_of_a_known_case() -> None:
    truth = np.array([1.0, 0.0, 1.0, 1.0])
    score = np.array([0.75, 0.75, 0.25, 1.0])
    want = -(np.log(0.75) + np.log(0.25) + np.log(0.25) + np.log(1 - 1e-6)) / 4
    assert log_loss(truth, score) == pytest.approx(want)
    # Bins: {.75, .75} off by |1 - 1.5|, {.25} by .75, {1.0} by 0.
    assert expected_calibration_error(truth, score) == pytest.approx((0.5 + 0.75) / 4)


def test_apgr_of_random_oracle_and_reverse() -> None:
    weak = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    strong = np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    # Constant preference: everything is sent at once, so the curve is the diagonal.
    level = pair_curve(np.zeros(5), weak, strong)
    assert level.apgr == pytest.approx(0.5)
    assert level.calls_for == pytest.approx({20: 0.2, 50: 0.5, 80: 0.8})
    gain_sum = 2.0
    curve = np.array([0, 1, 2, 3, 3, 2]) / gain_sum
    oracle = pair_curve(strong - weak + np.array([0.3, 0, 0.2, 0, 0.1]), weak, strong)
    assert oracle.apgr == pytest.approx(((curve[1:] + curve[:-1]) / 2).mean())
    assert oracle.calls_for[50] == pytest.approx(0.2)
    assert oracle.calls_for[80] == pytest.approx(0.2 + 0.2 * 0.6)


@given(st.lists(st.tuples(SIXTHS, SIXTHS, SIXTHS), min_size=2, max_size=20), st.randoms())
def test_apgr_does_not_depend_on_the_order_of_rows(
    rows: list[tuple[float, float, float]], random: object
) -> None:
    preference, weak, strong = (np.array(column) for column in zip(*rows, strict=True))
    assume(abs((strong - weak).sum()) > 0.1)
    order = np.arange(len(rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = pair_curve(preference, weak, strong)
    other = pair_curve(preference[order], weak[order], strong[order])
    assert one.apgr == pytest.approx(other.apgr, abs=1e-9)


def test_first_crossing() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.4, 0.2, 0.8])
    assert first_crossing(x, y, 0.2) == pytest.approx(0.5)
    assert first_crossing(x, y, 0.5) == pytest.approx(2.5)
    assert np.isnan(first_crossing(x, y, 0.9))
    assert first_crossing(x, y, -1.0) == 0.0


def test_bootstrap_error_is_that_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(size=900)
    found = bootstrap(len(values), np.random.default_rng(4), lambda rows: values[rows].mean())
    assert found.value == pytest.approx(values.mean())
    assert found.se == pytest.approx(1 / 30, rel=0.2)


def two_models() -> tuple[np.ndarray, np.ndarray]:
    """The dear model is right everywhere, the cheap one on the first half."""
    scores = np.array([[1.0, 1.0]] * 50 + [[0.0, 1.0]] * 50)
    return scores, np.tile([0.1, 1.0], (100, 1))


def test_perfect_predictions_pay_only_where_it_matters() -> None:
    scores, cost_usd = two_models()
    found = gain(sweep(scores, cost_usd), Truth(scores, cost_usd, reference=1))
    assert found.cost_share == pytest.approx(0.55)
    # Between the cheap end (0.1, 0.5) and the match at (0.55, 1.0).
    assert found.half_cost_points == pytest.approx(100 * (0.5 + 0.5 * 0.4 / 0.45 - 1.0))
    assert found.best_to_half_points == pytest.approx(found.half_cost_points)


def test_predictions_without_information_mix_the_two_ends() -> None:
    scores, cost_usd = two_models()
    flat = np.tile(scores.mean(axis=0), (100, 1))
    found = gain(sweep(flat, cost_usd), Truth(scores, cost_usd, reference=1))
    assert found.cost_share == pytest.approx(1.0)
    assert found.half_cost_points == pytest.approx(100 * (0.5 + 0.5 * 0.4 / 0.9 - 1.0))


def test_the_estimate_of_a_gain_has_its_value_and_an_error() -> None:
    rng = np.random.default_rng(5)
    scores = (rng.random((300, 2)) < [0.5, 0.8]).astype(np.float64)
    cost_usd = np.tile([0.1, 1.0], (300, 1))
    world = Truth(scores, cost_usd, reference=1)
    choices = sweep(0.5 * scores + 0.2, cost_usd)
    found = gain_estimate(choices, world, rng)
    whole = gain(choices, world)
    assert found.half_cost_points.value == whole.half_cost_points
    assert found.cost_share.value == whole.cost_share
    assert 0 < found.half_cost_points.se < 10
    assert found.matched_share > 0.9


def test_the_best_point_up_to_half_is_no_worse_than_half() -> None:
    # Three models; the one in the middle is the best, the dear one is the reference.
    scores = np.tile([0.2, 0.9, 0.5], (10, 1))
    cost_usd = np.tile([0.1, 0.3, 1.0], (10, 1))
    mistaken = np.tile([0.2, 0.5, 0.9], (10, 1))
    found = gain(sweep(mistaken, cost_usd), Truth(scores, cost_usd, reference=2))
    assert found.best_to_half_points == pytest.approx(40.0)
    assert found.half_cost_points < 40.0


def test_half_budget_is_kept_on_the_sample_and_judged_on_the_prompts() -> None:
    scores, cost_usd = two_models()
    informed = Predicted(scores, cost_usd)
    found = half_budget(informed, informed, Truth(scores, cost_usd, reference=1))
    # 0.5 per prompt is below what perfection costs (0.55): ties go to the cheap model.
    assert found.cost_share <= 0.5
    assert found.price == pytest.approx(1 / 0.9)
    world = Truth(scores[:, ::-1], cost_usd, reference=1)
    assert half_budget(informed, informed, world).points.value == pytest.approx(50.0)
