"""Prompts whose labels change decisions most, drawn by chance with known probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

EVEN_SHARE: Final = 0.2
"""Share of the draws that goes to all prompts evenly, so that none is left out for certain."""


def label_values(
    utilities: FloatArray, score_std: FloatArray, asked: NDArray[np.bool_]
) -> FloatArray:
    """Returns how much utility a label of each cell is expected to gain, float64 [n, m].

    The gain of knowing one model's score, where it is normal around its prediction: the chance that
    the best choice changes, times what the change brings (the knowledge gradient of Frazier, Powell
    and Dayanik, 2008). 0 where a cell is not ``asked``, or a prompt has no second model.

    Args:
        utilities: predicted scores less price times cost, [n, m]; -inf: not eligible.
        score_std: standard deviations of the scores, [n, m].
        asked: the cells that may be labelled, bool [n, m].
    """
    n, m = utilities.shape
    if m < 2:
        return np.zeros((n, m))
    order = np.sort(utilities, axis=1)
    best, second = order[:, -1:], order[:, -2:-1]
    # The distance to the choice that would be made without this model.
    others = np.where(utilities == best, second, best)
    possible = np.isfinite(utilities) & np.isfinite(others) & asked & (score_std > 0.0)
    distance = np.abs(np.where(possible, utilities - np.where(possible, others, 0.0), 0.0))
    spread = np.where(possible, score_std, 1.0)
    z = -distance / spread
    found: FloatArray = np.where(
        possible, spread * (stats.norm.pdf(z) + z * stats.norm.cdf(z)), 0.0
    )
    return np.maximum(found, 0.0)


def inclusion(values: FloatArray, wanted: int) -> FloatArray:
    """Returns the probability with which each prompt is drawn, float64 [n]; they sum to ``wanted``.

    Proportional to ``values`` [n], with ``EVEN_SHARE`` given to all evenly; where that is above 1,
    the rest goes to the others.
    """
    n = len(values)
    if wanted >= n:
        return np.ones(n)
    total = float(values.sum())
    even = np.full(n, 1.0 / n)
    sizes = even if total <= 0.0 else (1.0 - EVEN_SHARE) * values / total + EVEN_SHARE * even
    chances = np.zeros(n)
    certain = np.zeros(n, np.bool_)
    while True:
        left = wanted - int(certain.sum())
        chances = np.where(certain, 1.0, left * sizes / sizes[~certain].sum())
        above = (chances >= 1.0) & ~certain
        if not above.any():
            return chances
        certain |= above


def draw(chances: FloatArray, strata: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws rows with given probabilities, spread over strata; returns them in order.

    Systematic sampling of the rows in the order of their strata (Madow, 1949): each row has exactly
    its probability, and each stratum its expected number, up to one.

    Args:
        chances: float64 [n], which sum to a whole number.
        strata: [n].
        rng: draws the order within strata and the start.
    """
    shuffled = rng.permutation(len(chances))
    names = np.array([strata[row] for row in shuffled.tolist()], dtype=object)
    order = shuffled[np.argsort(names.astype(str), kind="stable")]
    ends = np.cumsum(chances[order])
    count = round(float(ends[-1])) if len(ends) else 0
    ticks = rng.random() + np.arange(count)
    found = np.searchsorted(ends, ticks, side="right")
    return np.sort(order[np.unique(np.minimum(found, len(order) - 1))]).astype(np.int64)
