"""Metrics of predictions, per model and per pair of models.

Each figure takes true and predicted scores, float64 [n], and weights [r, n] on the prompts (see
``bootstrap``). It gives one value per row of weights, or NaN where it does not exist. Functions
without ``weighted_`` in their name compute the figure with every prompt counted once. APGR, CPT and
PGR are RouteLLM's (arXiv 2406.18665, section 4).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.bootstrap import FloatArray, Weights

IntArray = NDArray[np.int64]

CALL_PERCENTAGES: Final = (20, 50, 80)
ECE_BINS: Final = 10
PROBABILITY_FLOOR: Final = 1.0e-6


def weighted_auc(truth: FloatArray, score: FloatArray, weights: Weights) -> FloatArray:
    """Area under the ROC curve of ``score`` for ``truth`` >= 0.5; ties count half.

    NaN where only one of the two outcomes has weight.
    """
    order = np.argsort(score, kind="stable")
    first_of_tie = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    ordered = weights[:, order].astype(np.float64)
    is_positive = truth[order] >= 0.5
    positive = np.add.reduceat(ordered * is_positive, first_of_tie, axis=1)
    negative = np.add.reduceat(ordered * ~is_positive, first_of_tie, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2.0
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * below).sum(axis=1)
    areas = np.full(len(weights), np.nan)
    np.divide(won, pairs, out=areas, where=pairs > 0)
    return areas


def auc(truth: FloatArray, score: FloatArray) -> float:
    """``weighted_auc`` with every prompt counted once.

    Raises:
        ValueError: only one outcome occurs.
    """
    area = float(weighted_auc(truth, score, _plain(truth))[0])
    if np.isnan(area):
        raise ValueError("AUC needs both outcomes")
    return area


def weighted_log_loss(truth: FloatArray, score: FloatArray, weights: Weights) -> FloatArray:
    """Mean negative log-likelihood in nats of ``truth`` in [0, 1] under ``score``."""
    p = np.clip(score, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
    return _mean(-(truth * np.log(p) + (1.0 - truth) * np.log1p(-p)), weights)


def log_loss(truth: FloatArray, score: FloatArray) -> float:
    """``weighted_log_loss`` with every prompt counted once."""
    return float(weighted_log_loss(truth, score, _plain(truth))[0])


def weighted_brier(truth: FloatArray, score: FloatArray, weights: Weights) -> FloatArray:
    """Mean squared difference of ``truth`` and ``score`` (Brier, 1950)."""
    return _mean(np.square(truth - score), weights)


def weighted_calibration_error(
    truth: FloatArray, score: FloatArray, weights: Weights
) -> FloatArray:
    """Expected calibration error in ECE_BINS bins of equal width (Guo et al., arXiv 1706.04599)."""
    inside = _bins(score)[:, None] == np.arange(ECE_BINS)
    gaps = weights.astype(np.float64) @ (inside * (truth - score)[:, None])
    error: FloatArray = np.abs(gaps).sum(axis=1) / _total(weights)
    return error


def expected_calibration_error(truth: FloatArray, score: FloatArray) -> float:
    """``weighted_calibration_error`` with every prompt counted once."""
    return float(weighted_calibration_error(truth, score, _plain(truth))[0])


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram: figures [bins] of each bin of predicted scores.

    Attributes:
        share: Share of the prompts that fall into the bin.
        predicted: Mean predicted score; NaN in an empty bin.
        actual: Mean true score; NaN in an empty bin.
    """

    share: FloatArray
    predicted: FloatArray
    actual: FloatArray

    @classmethod
    def of(cls, truth: FloatArray, score: FloatArray) -> "Reliability":
        bins = _bins(score)
        count = np.bincount(bins, minlength=ECE_BINS).astype(np.float64)

        def mean(values: FloatArray) -> FloatArray:
            total = np.bincount(bins, weights=values, minlength=ECE_BINS)
            means = np.full(ECE_BINS, np.nan)
            np.divide(total, count, out=means, where=count > 0)
            return means

        return cls(count / max(len(truth), 1), mean(score), mean(truth))


@dataclass(frozen=True, slots=True)
class PairCurves:
    """RouteLLM's figures for a weak and a strong model, [r] each.

    Attributes:
        apgr: Mean share of the performance gap recovered over all shares of calls to the strong
            model (0 = always weak, 0.5 = at random).
        calls_for: CPT; for each percentage p, the smallest share of strong calls that recovers
            p percent of the gap.
        recovered_at: PGR; for each percentage p, the share of the gap recovered when p percent of
            the calls go to the strong model.
    """

    apgr: FloatArray
    calls_for: dict[int, FloatArray]
    recovered_at: dict[int, FloatArray]


def weighted_pair_curves(
    preference: FloatArray, weak: FloatArray, strong: FloatArray, weights: Weights
) -> PairCurves:
    """Send prompts to the strong model in the order of descending preference.

    Prompts of equal preference are sent together, so that their order does not matter.

    Args:
        preference: Preference for the strong model, [n].
        weak: True scores of the weak model, [n].
        strong: True scores of the strong model, [n].
        weights: Weights on the prompts, [r, n].
    """
    order = np.argsort(-preference, kind="stable")
    last_of_tie = np.flatnonzero(np.diff(preference[order], append=np.inf))
    ordered = weights[:, order].astype(np.float64)
    gained = np.cumsum(ordered * (strong - weak)[order], axis=1)[:, last_of_tie]
    called = np.cumsum(ordered, axis=1)[:, last_of_tie]
    zero = np.zeros((len(weights), 1))
    # In a resample without any gap, a share of the gap does not exist.
    share = np.full(gained.shape, np.nan)
    np.divide(gained, gained[:, -1:], out=share, where=gained[:, -1:] != 0)
    recovered = np.concatenate([zero, share], axis=1)
    calls = np.concatenate([zero, called / called[:, -1:]], axis=1)
    return PairCurves(
        apgr=np.trapezoid(recovered, calls, axis=1),
        calls_for={p: first_crossings(calls, recovered, p / 100.0) for p in CALL_PERCENTAGES},
        recovered_at={
            p: np.array([np.interp(p / 100.0, x, y) for x, y in zip(calls, recovered, strict=True)])
            for p in CALL_PERCENTAGES
        },
    )


def first_crossings(x: FloatArray, y: FloatArray, level: FloatArray | float) -> FloatArray:
    """Per row of x, y [r, p], the smallest x at which the curve reaches ``level``.

    The curve is linear between its points; NaN = never reached. ``level`` is one for all rows, or
    one per row, [r].
    """
    levels = np.broadcast_to(np.asarray(level, dtype=np.float64), (len(x),))
    reached = y >= levels[:, None]
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    row = np.arange(len(x))
    rise = y[row, after] - y[row, before]
    share = np.divide(levels - y[row, before], rise, out=np.zeros(len(x)), where=after > 0)
    found = x[row, before] + share * (x[row, after] - x[row, before])
    return np.where(reached.any(axis=1), found, np.nan)


def _bins(score: FloatArray) -> IntArray:
    return np.minimum((score * ECE_BINS).astype(np.int64), ECE_BINS - 1)


def _mean(values: FloatArray, weights: Weights) -> FloatArray:
    mean: FloatArray = (weights.astype(np.float64) @ values) / _total(weights)
    return mean


def _total(weights: Weights) -> FloatArray:
    total: FloatArray = weights.sum(axis=1, dtype=np.float64)
    return total


def _plain(like: FloatArray) -> Weights:
    return np.ones((1, len(like)), dtype=np.float32)
