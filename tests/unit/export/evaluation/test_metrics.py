"""Metrics compared with direct computations of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples, Weights
from routoo_export.evaluation.metrics import (
    PairCurves,
    Reliability,
    auc,
    expected_calibration_error,
    first_crossings,
    log_loss,
    weighted_auc,
    weighted_brier,
    weighted_calibration_error,
    weighted_log_loss,
    weighted_pair_curves,
)

SIXTHS = st.integers(0, 6).map(lambda k: k / 6)
BINARY = st.sampled_from([0.0, 1.0])


def ones(prompts: int) -> Weights:
    """Weights [1, prompts] under which every prompt counts once."""
    return np.ones((1, prompts), dtype=np.float32)


def unweighted_curves(preference: FloatArray, weak: FloatArray, strong: FloatArray) -> PairCurves:
    """Curves of one row in which every prompt counts once."""
    return weighted_pair_curves(preference, weak, strong, ones(len(preference)))


@given(st.lists(st.tuples(BINARY, SIXTHS), min_size=2, max_size=30))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[float, float]]) -> None:
    truth, score = (np.array(column) for column in zip(*rows, strict=True))
    assume(0 < truth.sum() < len(truth))
    gaps = score[truth == 1][:, None] - score[truth == 0][None, :]
    assert auc(truth, score) == pytest.approx(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


def test_auc_refuses_a_single_outcome() -> None:
    with pytest.raises(ValueError, match="both outcomes"):
        auc(np.ones(3), np.arange(3.0))


def test_log_loss_brier_and_ece_of_a_known_case() -> None:
    truth = np.array([1.0, 0.0, 1.0, 1.0])
    score = np.array([0.75, 0.75, 0.25, 1.0])
    want = -(np.log(0.75) + np.log(0.25) + np.log(0.25) + np.log(1 - 1e-6)) / 4
    assert log_loss(truth, score) == pytest.approx(want)
    # Bins: {.75, .75} off by |1 - 1.5|, {.25} by .75, {1.0} by 0.
    assert expected_calibration_error(truth, score) == pytest.approx((0.5 + 0.75) / 4)
    assert weighted_brier(truth, score, ones(4))[0] == pytest.approx(
        (0.0625 + 0.5625 + 0.5625 + 0.0) / 4
    )
    bins = Reliability.of(truth, score)
    assert bins.share[7] == 0.5
    assert (bins.predicted[7], bins.actual[7]) == (0.75, 0.5)
    assert np.isnan(bins.predicted[0])


@given(
    st.lists(st.tuples(BINARY, BINARY, SIXTHS, SIXTHS, st.integers(0, 3)), min_size=2, max_size=15)
)
def test_a_weight_is_so_many_copies_of_the_prompt(rows: list[tuple[float, ...]]) -> None:
    weak, strong, score, other, count = (np.array(column) for column in zip(*rows, strict=True))
    copies = np.repeat(np.arange(len(count)), count.astype(int))
    kept = weak[copies]
    assume(0 < kept.sum() < len(kept))
    weights = count[None].astype(np.float32)
    assert weighted_auc(weak, score, weights)[0] == pytest.approx(auc(kept, score[copies]))
    for weighted, plain in (
        (weighted_log_loss, log_loss),
        (weighted_calibration_error, expected_calibration_error),
    ):
        assert weighted(weak, score, weights)[0] == pytest.approx(plain(kept, score[copies]))
    squares = weighted_brier(kept, score[copies], ones(len(kept)))
    assert weighted_brier(weak, score, weights)[0] == pytest.approx(squares[0])
    assume((strong - weak)[copies].sum() != 0)
    curves = weighted_pair_curves(score - other, weak, strong, weights)
    one = unweighted_curves((score - other)[copies], kept, strong[copies])
    assert curves.apgr[0] == pytest.approx(one.apgr[0])
    for p in (20, 50, 80):
        assert curves.calls_for[p][0] == pytest.approx(one.calls_for[p][0], nan_ok=True)
        assert curves.recovered_at[p][0] == pytest.approx(one.recovered_at[p][0])


def test_apgr_of_random_oracle_and_reverse() -> None:
    weak = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    strong = np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    # Constant preference: everything is sent at once, so the curve is the diagonal.
    level = unweighted_curves(np.zeros(5), weak, strong)
    assert level.apgr[0] == pytest.approx(0.5)
    for p in (20, 50, 80):
        assert level.calls_for[p][0] == pytest.approx(p / 100)
        assert level.recovered_at[p][0] == pytest.approx(p / 100)
    gain_sum = 2.0
    curve = np.array([0, 1, 2, 3, 3, 2]) / gain_sum
    oracle = unweighted_curves(strong - weak + np.array([0.3, 0, 0.2, 0, 0.1]), weak, strong)
    assert oracle.apgr[0] == pytest.approx(((curve[1:] + curve[:-1]) / 2).mean())
    assert oracle.calls_for[50][0] == pytest.approx(0.2)
    assert oracle.calls_for[80][0] == pytest.approx(0.2 + 0.2 * 0.6)
    assert oracle.recovered_at[20][0] == pytest.approx(0.5)


@given(st.lists(st.tuples(SIXTHS, SIXTHS, SIXTHS), min_size=2, max_size=20), st.randoms())
def test_apgr_does_not_depend_on_the_order_of_rows(
    rows: list[tuple[float, float, float]], random: object
) -> None:
    preference, weak, strong = (np.array(column) for column in zip(*rows, strict=True))
    assume(abs((strong - weak).sum()) > 0.1)
    order = np.arange(len(rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = unweighted_curves(preference, weak, strong)
    other = unweighted_curves(preference[order], weak[order], strong[order])
    assert one.apgr[0] == pytest.approx(other.apgr[0], abs=1e-9)


def test_first_crossings() -> None:
    levels = np.array([0.2, 0.5, 0.9, -1.0])
    x = np.tile([0.0, 1.0, 2.0, 3.0], (4, 1))
    y = np.tile([0.0, 0.4, 0.2, 0.8], (4, 1))
    assert first_crossings(x, y, levels) == pytest.approx([0.5, 2.5, np.nan, 0.0], nan_ok=True)
    assert first_crossings(x, y, 0.2) == pytest.approx([0.5] * 4)


def test_the_error_and_the_interval_are_those_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(size=900)
    found = Resamples.draw(900, seed=4).estimate(lambda w: w @ values / w.sum(axis=1))
    assert found.value == pytest.approx(values.mean(), abs=1e-6)
    assert found.se == pytest.approx(1 / 30, rel=0.15)
    assert found.high - found.low == pytest.approx(2 * 1.96 / 30, rel=0.2)
    assert found.low < found.value < found.high


def test_resamples_pair_and_keep_their_prompts() -> None:
    resamples = Resamples.draw(50, seed=1)
    assert (resamples.weights[0] == 1).all()
    assert (resamples.weights.sum(axis=1) == 50).all()
    again = Resamples.draw(50, seed=1)
    np.testing.assert_array_equal(resamples.weights, again.weights)
    keep = np.arange(50) < 20
    np.testing.assert_array_equal(resamples.of(keep).weights, resamples.weights[:, :20])


def test_resamples_without_a_figure_do_not_count() -> None:
    found = Estimate.of(np.array([0.5, np.nan, 0.4, 0.6, np.inf]))
    assert found.value == 0.5
    assert found.se == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert np.isnan(Estimate.of(np.array([0.5, np.nan])).se)
