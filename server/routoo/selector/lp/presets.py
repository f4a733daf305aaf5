"""Named points of a cost-quality curve: economy, balanced and quality.

All three are points of the curve of one pool on one sample of prompts, so that no number of them
grows old with a pool or its prices:

- ``balanced`` is the knee: the vertex of the greatest distance to the chord from the cheapest point
  to the best one (Kneedle: Satopaa et al. 2011, "Finding a Kneedle in a haystack", for a concave
  curve on axes scaled to [0, 1]). As the curve is concave, that is where its slope passes the slope
  of the chord, which is therefore the price of the point.
- ``quality`` is the cheapest vertex whose mean score is within one standard error of the best
  vertex' mean score (the rule of one standard error: Breiman et al. 1984, "Classification and
  regression trees"); it is never cheaper than the knee.
- ``economy`` is the cheapest vertex that keeps 80 % of the gain from the cheapest point to the
  best; it is never more expensive than the knee.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray
from routoo.selector.lp.frontier import Frontier, frontier
from routoo.selector.policies.lp import decide

PRESETS: Final = ("economy", "balanced", "quality")
"""The names of the points, the cheapest first."""
ECONOMY_SHARE: Final = 0.8
"""The share of the gain from the cheapest point to the best that ``economy`` keeps."""
QUALITY_STANDARD_ERRORS: Final = 1.0
"""How far below the best mean score ``quality`` may be, in standard errors of that mean."""
# At a vertex' own price two choices tie; just above it the cheap one wins, see ``Frontier.price``.
_ABOVE_TIE = 1.0 + 1e-9


@dataclass(frozen=True, slots=True)
class PresetPoint:
    """A named point of the curve.

    Attributes:
        name: one of ``PRESETS``.
        price: score per USD; ``lp`` at this price works at the point.
        mean_cost_usd: mean cost per prompt of the sample at that price.
        mean_score: mean score there.
    """

    name: str
    price: float
    mean_cost_usd: float
    mean_score: float


def preset_points(scores: FloatArray, costs: FloatArray, mask: BoolArray) -> list[PresetPoint]:
    """Finds the named points on the curve of a sample.

    Args:
        scores: float64 [n, m]; taken rounded, as ``decide`` takes them.
        costs: float64 [n, m], USD.
        mask: bool [n, m], eligible cells.

    Returns:
        The points in the order of ``PRESETS``; costs do not fall from one to the next.

    Raises:
        InvalidRequestError: arrays that ``Problem`` refuses.
        NoEligibleModelError: rows without any eligible model.
    """
    curve = frontier(scores, costs, mask)
    best = np.where(mask, scores, -np.inf).max(axis=1)
    error = float(best.std(ddof=1)) / len(best) ** 0.5 if len(best) > 1 else 0.0
    return [
        _point(name, price, scores, costs, mask)
        for name, price in zip(PRESETS, _prices(curve, error), strict=True)
    ]


def _prices(curve: Frontier, standard_error: float) -> tuple[float, float, float]:
    """Returns the prices of the points on a curve, in the order of ``PRESETS``."""
    cost, score = curve.mean_cost_usd, curve.mean_score
    if len(cost) == 1:
        return 0.0, 0.0, 0.0  # the best models of all prompts are the cheapest ones, too
    gain = float(score[-1] - score[0])
    knee = gain / float(cost[-1] - cost[0])
    kept = _vertex(curve, float(score[0]) + ECONOMY_SHARE * gain)
    near = _vertex(curve, float(score[-1]) - QUALITY_STANDARD_ERRORS * standard_error)
    return max(kept, knee), knee, min(near, knee)


def _vertex(curve: Frontier, mean_score: float) -> float:
    """Returns the price of the cheapest vertex of at least a mean score."""
    # A sum of scores is exact to some last bits only.
    at = int(np.searchsorted(curve.mean_score, mean_score - 1e-12))
    return float(curve.price[min(at, len(curve.price) - 1)]) * _ABOVE_TIE


def _point(
    name: str, price: float, scores: FloatArray, costs: FloatArray, mask: BoolArray
) -> PresetPoint:
    choice = decide(scores, costs, mask, price)
    rows = np.arange(len(choice))
    return PresetPoint(
        name, price, float(costs[rows, choice].mean()), float(scores[rows, choice].mean())
    )
