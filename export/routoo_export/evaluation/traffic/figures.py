"""Figures of one way of choosing on one source."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples, Weights
from routoo_export.evaluation.curves import Curve, Gains, Truth, arena_score
from routoo_export.evaluation.decisions import OperatingPoint, PoolPredictions, price_for_arena
from routoo_export.evaluation.metrics import weighted_pair_curves

LEAST_GAP: Final = 0.02
"""Pairs whose mean scores are nearer have no gap to recover."""


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """Figures of one method; None = it has none, for want of costs or of predictions.

    Attributes:
        points: Mean score of the choice by score alone less the best single model's, in points
            (1/100).
        full_cost_points: The same at the best single model's mean cost.
        perf_gain: Best mean score at any cost over the best single model's, less 1, in percent
            (PerfGain).
        cost_share: Share of the best single model's cost at which its mean score is reached.
        cost_save: 1 less that share, in percent (CostSave).
        gap_closed: Share of the gap from the best single model to the oracle that is closed at the
            best single model's cost.
        arena: RouterArena's score at the price that promises the best one.
        apgr: RouteLLM's average performance gap recovered, mean over pairs of the best single model
            and each model that is worse by LEAST_GAP, weighted by their gaps; a random order has
            0.5.
        worst_pair_apgr: The lowest of these pairs.
    """

    points: Estimate | None = None
    full_cost_points: Estimate | None = None
    perf_gain: Estimate | None = None
    cost_share: Estimate | None = None
    cost_save: Estimate | None = None
    gap_closed: Estimate | None = None
    arena: Estimate | None = None
    apgr: Estimate | None = None
    worst_pair_apgr: float | None = None


FIGURES: Final = tuple(name for name in MethodFigures.__slots__ if name != "worst_pair_apgr")
"""The figures that have an error and a mean over sources."""


def choice_points(scores: FloatArray, truth: Truth, resamples: Resamples) -> Estimate:
    """``MethodFigures.points`` of predicted scores [n, m]; of equal ones the cheapest is chosen."""
    cheapest = np.lexsort((_mean_costs(truth),))
    choice = cheapest[scores[:, cheapest].argmax(axis=1)]
    rows = np.arange(len(choice))
    gaps = 100.0 * (truth.scores[rows, choice] - truth.scores[:, truth.reference])
    return resamples.estimate(lambda weights: weights @ gaps / weights.sum(axis=1))


def _mean_costs(truth: Truth) -> FloatArray:
    """Mean cost of each model [m]; models of unknown cost come last."""
    means: FloatArray = np.where(np.isnan(truth.cost_usd), np.inf, truth.cost_usd).mean(axis=0)
    return means


def curve_figures(
    choices: NDArray[np.integer], truth: Truth, resamples: Resamples
) -> dict[str, Estimate]:
    """The figures that are read off the curve of ``choices`` [p, n]."""
    curve = Curve.of(choices, truth, resamples)
    gains = Gains.of(curve, truth, resamples)
    weights = resamples.weights.astype(np.float64)
    single = weights @ truth.scores[:, truth.reference] / weights.sum(axis=1)
    best = curve.score.max(axis=1)
    return {
        "full_cost_points": Estimate.of(gains.full_cost_points),
        "perf_gain": Estimate.of(100.0 * (best / np.maximum(single, 1e-12) - 1.0)),
        "cost_share": Estimate.of(gains.cost_share),
        "cost_save": Estimate.of(100.0 * (1.0 - gains.cost_share)),
        "gap_closed": Estimate.of(gains.gap_closed),
    }


def arena_figure(predictions: PoolPredictions, truth: Truth, resamples: Resamples) -> Estimate:
    """``MethodFigures.arena``: the price is set by the predictions, the score is the true one."""
    price = price_for_arena(predictions)
    return Estimate.of(OperatingPoint.of(price, predictions, truth, resamples).arena)


def single_arena(truth: Truth, resamples: Resamples) -> Estimate:
    """RouterArena's score of the best single model."""
    weights = resamples.weights.astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    at = truth.reference
    return Estimate.of(arena_score(weights @ truth.scores[:, at], weights @ truth.cost_usd[:, at]))


def pair_figures(
    scores: FloatArray, truth: Truth, resamples: Resamples
) -> tuple[Estimate | None, float | None]:
    """``MethodFigures.apgr`` and ``worst_pair_apgr``; None where no pair has a gap."""
    strong = truth.reference
    means = truth.scores.mean(axis=0)
    weak = np.flatnonzero(means <= means[strong] - LEAST_GAP)
    if not len(weak):
        return None, None
    recovered, gaps, alone = [], [], []
    for at in weak.tolist():
        pair = truth.scores[:, [at, strong]]
        found = resamples.values(partial(_apgr, scores[:, strong] - scores[:, at], pair))
        gap = resamples.values(partial(_gap, pair))
        recovered.append(np.nan_to_num(found) * gap)
        gaps.append(gap)
        alone.append(float(found[0]))
    return Estimate.of(np.sum(recovered, axis=0) / np.sum(gaps, axis=0)), min(alone)


def _apgr(preference: FloatArray, scores: FloatArray, weights: Weights) -> FloatArray:
    """APGR [r] of a pair by the preference [n] for the second of two models, ``scores`` [n, 2]."""
    return weighted_pair_curves(preference, scores[:, 0], scores[:, 1], weights).apgr


def _gap(scores: FloatArray, weights: Weights) -> FloatArray:
    gaps: FloatArray = weights @ (scores[:, 1] - scores[:, 0]) / weights.sum(axis=1)
    return gaps
