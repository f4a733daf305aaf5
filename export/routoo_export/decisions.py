"""What a pool costs and scores when each prompt goes to the model that the predictions favour.

The decisions are the service's own (`routoo.selector`), at every price of a sweep: the optima of
the LP under one budget row. They see predicted scores and costs; what they are worth is read off
the true ones.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from routoo.selector.frontier import price_for_mean_cost
from routoo.selector.online import decide
from routoo_export.metrics import RESAMPLES, Estimate, FloatArray, IntArray, first_crossing

PRICES: Final = 400
_LOWEST_PRICE: Final = 0.3
_HIGHEST_PRICE: Final = 1.0e5


@dataclass(frozen=True, slots=True)
class Truth:
    """True scores and costs in USD [n, m] of a pool without gaps, and the reference column."""

    scores: FloatArray
    cost_usd: FloatArray
    reference: int


@dataclass(frozen=True, slots=True)
class Gain:
    """What the realised cost-quality curve says against the reference, in points (1/100).

    cost_share: share of the reference's cost at which its mean score is matched; NaN = never.
    half_cost_points: mean score at half the reference's cost minus the reference's.
    best_to_half_points: the same at the best point up to half; picked in hindsight, so optimistic.
    """

    cost_share: float
    half_cost_points: float
    best_to_half_points: float


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predicted scores and costs in USD of a pool, [n, m] each."""

    scores: FloatArray
    cost_usd: FloatArray


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a price set beforehand ends up: share of the reference's cost, points above it."""

    price: float
    cost_share: float
    points: Estimate


@dataclass(frozen=True, slots=True)
class GainEstimate:
    """`Gain` with standard errors (bootstrap over prompts; the choices per price stay as they are).

    cost_share.se is over the resamplings in which the reference is matched at all; their share is
    matched_share.
    """

    cost_share: Estimate
    matched_share: float
    half_cost_points: Estimate
    best_to_half_points: Estimate


def sweep(scores: FloatArray, cost_usd: FloatArray) -> IntArray:
    """Choices int64 [PRICES, n] from dear to cheap, from predicted scores and costs [n, m]."""
    prices = np.append(0.0, np.geomspace(_LOWEST_PRICE, _HIGHEST_PRICE, PRICES - 1))
    eligible = np.ones(scores.shape, dtype=np.bool_)
    return np.stack([decide(scores, cost_usd, eligible, float(price)) for price in prices])


def gain(choices: IntArray, truth: Truth) -> Gain:
    """The realised cost-quality curve of `choices` [prices, n], read at two points."""
    return _weighted_gain(choices, truth, np.full(len(truth.scores), 1.0 / len(truth.scores)))


def gain_estimate(choices: IntArray, truth: Truth, rng: np.random.Generator) -> GainEstimate:
    """`gain` with standard errors."""
    n = len(truth.scores)
    weights = rng.multinomial(n, np.full(n, 1.0 / n), RESAMPLES) / n
    drawn = [_weighted_gain(choices, truth, weight) for weight in weights]
    shares = np.array([one.cost_share for one in drawn])
    half = np.array([one.half_cost_points for one in drawn])
    best = np.array([one.best_to_half_points for one in drawn])
    matched = ~np.isnan(shares)
    whole = gain(choices, truth)
    return GainEstimate(
        cost_share=Estimate(whole.cost_share, float(np.std(shares[matched], ddof=1))),
        matched_share=float(matched.mean()),
        half_cost_points=Estimate(whole.half_cost_points, float(np.std(half, ddof=1))),
        best_to_half_points=Estimate(whole.best_to_half_points, float(np.std(best, ddof=1))),
    )


def half_budget(sample: Predicted, prompts: Predicted, truth: Truth) -> OperatingPoint:
    """Decide as the service does at a mean cost of half the reference's predicted one.

    The price is the shadow price over `sample`, as the service takes it from the calibration
    sample; the decisions on `prompts` are judged by their `truth`. The standard error is the paired
    one.
    """
    everyone = np.ones(sample.scores.shape, dtype=np.bool_)
    mean_cost_usd = float(sample.cost_usd[:, truth.reference].mean()) / 2.0
    price = price_for_mean_cost(sample.scores, sample.cost_usd, everyone, mean_cost_usd)
    eligible = np.ones(prompts.scores.shape, dtype=np.bool_)
    choice = decide(prompts.scores, prompts.cost_usd, eligible, price)
    rows = np.arange(len(choice))
    gained = 100.0 * (truth.scores[rows, choice] - truth.scores[:, truth.reference])
    spent = truth.cost_usd[rows, choice].mean() / truth.cost_usd[:, truth.reference].mean()
    error = float(np.std(gained, ddof=1) / np.sqrt(len(gained)))
    return OperatingPoint(price, float(spent), Estimate(float(gained.mean()), error))


def _weighted_gain(choices: IntArray, truth: Truth, weight: FloatArray) -> Gain:
    """`gain` with `weight` [n], which sums to 1, on the prompts."""
    rows = np.arange(len(weight))
    score = truth.scores[rows, choices] @ weight
    cost = truth.cost_usd[rows, choices] @ weight
    reference_score = float(truth.scores[:, truth.reference] @ weight)
    reference_cost = float(truth.cost_usd[:, truth.reference] @ weight)
    # Realised cost falls with the price but for prediction errors.
    order = np.argsort(cost, kind="stable")
    cost, score = cost[order], score[order]
    half = float(np.interp(reference_cost / 2.0, cost, score))
    matched_at = first_crossing(cost, score, reference_score)
    best = float(score[cost <= reference_cost / 2.0].max(initial=half))
    return Gain(
        cost_share=matched_at / reference_cost,
        half_cost_points=100.0 * (half - reference_score),
        best_to_half_points=100.0 * (best - reference_score),
    )
