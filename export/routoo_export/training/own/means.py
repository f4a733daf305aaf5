"""Empirical-Bayes means: a mean of few scores is drawn to its prior mean, by a pseudo-count.

A group's true mean is N(prior, v / k), its observed mean N(true, v / n); k, the pseudo-count, is
common to all groups and maximises the marginal likelihood (Efron and Morris, "Data analysis using
Stein's estimator", JASA 1975).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

FloatArray = NDArray[np.float64]

LEAST_COUNT: Final = 0.5
MOST_COUNT: Final = 4096.0
_LEAST_VARIANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class ShrunkMeans:
    """Posterior of the groups' means.

    Attributes:
        mean: Any shape.
        variance: Of the same shape.
        pseudo_count: Observations that the prior counts as.
    """

    mean: FloatArray
    variance: FloatArray
    pseudo_count: float


def shrink_means(
    total: FloatArray, count: FloatArray, prior: FloatArray, variance: FloatArray
) -> ShrunkMeans:
    """Shrink the means of groups.

    Args:
        total: Sum of the scores of each group.
        count: Their number, at least 0; of the same shape.
        prior: Prior mean of each group, of a shape that broadcasts to it.
        variance: Variance of one score of each group; broadcasts.
    """
    variance = np.maximum(np.broadcast_to(variance, total.shape), _LEAST_VARIANCE)
    prior = np.broadcast_to(prior, total.shape)
    k = likeliest_count(total, count, prior, variance)
    return ShrunkMeans((total + k * prior) / (count + k), variance / (count + k), k)


def likeliest_count(
    total: FloatArray, count: FloatArray, prior: FloatArray, variance: FloatArray
) -> float:
    """The pseudo-count of the greatest marginal likelihood, from LEAST_COUNT to MOST_COUNT."""
    seen = count > 0
    if not seen.any():
        return LEAST_COUNT
    away = np.square(total[seen] / count[seen] - prior[seen]) / variance[seen]
    inverse = 1.0 / count[seen]

    def loss(count_of_prior: float) -> float:
        spread = inverse + 1.0 / count_of_prior
        return float((np.log(spread) + away / spread).sum())

    grid = np.geomspace(LEAST_COUNT, MOST_COUNT, 25)
    at = int(np.argmin([loss(one) for one in grid.tolist()]))
    around = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    return float(minimize_scalar(loss, bounds=around, method="bounded").x)
