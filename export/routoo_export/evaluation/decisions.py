"""Decisions of the service's own selector (``routoo.selector``) on predictions.

The decisions use predicted scores and costs; ``curves`` evaluates them with the true ones.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from routoo.errors import InfeasibleError
from routoo.selector.lp.frontier import frontier, price_for_mean_cost
from routoo.selector.policies.lp import decide
from routoo_export.evaluation.bootstrap import FloatArray, Resamples
from routoo_export.evaluation.curves import Truth, arena_score
from routoo_export.evaluation.metrics import IntArray

PRICES: Final = 400
_ABOVE_TIE: Final = 1.0 + 1.0e-9
"""Moves the price of a vertex to just above it, where the vertex is what is chosen."""


@dataclass(frozen=True, slots=True)
class PoolPredictions:
    """Predictions for n prompts and the m models of a pool.

    Attributes:
        scores: Predicted scores, [n, m].
        cost_usd: Predicted costs in USD, [n, m].
    """

    scores: FloatArray
    cost_usd: FloatArray

    def choose(self, price: float) -> IntArray:
        """The model of each prompt, int64 [n], at ``price`` (score per USD)."""
        everyone = np.ones(self.scores.shape, dtype=np.bool_)
        return decide(self.scores, self.cost_usd, everyone, price).astype(np.int64)

    def prices(self) -> FloatArray:
        """Prices at which the optimum of the LP under one budget changes, at most PRICES of them.

        Spread evenly along the predicted cost-quality curve, from expensive to cheap models.
        """
        everyone = np.ones(self.scores.shape, dtype=np.bool_)
        vertices = frontier(self.scores, self.cost_usd, everyone, points=PRICES)
        return vertices.price[::-1] * _ABOVE_TIE

    def sweep(self) -> IntArray:
        """Choices int64 [p, n] at each of the ``prices``."""
        return np.stack([self.choose(float(price)) for price in self.prices()])


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Cost and quality on the evaluated prompts at a price that was set beforehand, [r] each.

    Attributes:
        price: The price, in score per USD.
        cost_share: Cost as a share of the reference's cost.
        points: Mean score minus the reference's, in 1/100.
        arena: RouterArena's score.
    """

    price: float
    cost_share: FloatArray
    points: FloatArray
    arena: FloatArray

    @classmethod
    def of(
        cls, price: float, prompts: PoolPredictions, truth: Truth, resamples: Resamples
    ) -> "OperatingPoint":
        choice = prompts.choose(price)
        rows = np.arange(len(choice))
        weights = resamples.weights.astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        score = weights @ truth.scores[rows, choice]
        cost = weights @ truth.cost_usd[rows, choice]
        reference = truth.reference
        return cls(
            price=price,
            cost_share=cost / (weights @ truth.cost_usd[:, reference]),
            points=100.0 * (score - weights @ truth.scores[:, reference]),
            arena=arena_score(score, cost),
        )


def price_for_share(sample: PoolPredictions, reference: int, share: float) -> float | None:
    """The price that keeps to ``share`` of the reference's predicted mean cost on ``sample``.

    This is the shadow price over the sample, as the service takes it from its calibration sample.
    Returns None where even the cheapest models cost more.
    """
    everyone = np.ones(sample.scores.shape, dtype=np.bool_)
    mean_cost_usd = share * float(sample.cost_usd[:, reference].mean())
    try:
        return price_for_mean_cost(sample.scores, sample.cost_usd, everyone, mean_cost_usd)
    except InfeasibleError:
        return None


def price_for_arena(sample: PoolPredictions) -> float:
    """The price of the best predicted RouterArena score on ``sample``."""
    rows = np.arange(len(sample.scores))
    prices = sample.prices()
    chosen = [sample.choose(float(price)) for price in prices]
    score = np.array([sample.scores[rows, choice].mean() for choice in chosen])
    cost = np.array([sample.cost_usd[rows, choice].mean() for choice in chosen])
    return float(prices[int(arena_score(score, cost).argmax())])
