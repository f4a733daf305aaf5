"""The cost-quality frontier of a sample, and the price that keeps to a mean cost on it."""

from dataclasses import dataclass

import numpy as np

from routoo.errors import InvalidRequestError
from routoo.selector.arrays import BoolArray, FloatArray
from routoo.selector.lp.hull import hull_steps
from routoo.selector.lp.knapsack import UnreachableError, solve_row
from routoo.selector.lp.problem import Problem
from routoo.selector.lp.remedies import too_low
from routoo.selector.policies.lp import round_scores

# At the price itself the expensive and the cheap model of the last row tie, up to rounding. A price
# this much above it settles the tie for the cheap one; the difference is far below what scores
# resolve.
_ABOVE_TIE = 1.0 + 1e-9

# Ratios this close differ by rounding only. This is well over the step of _ABOVE_TIE, so that a
# price just above a vertex' own stays below that of the previous vertex.
_SAME_RATIO = 1.0 - 1e-8


@dataclass(frozen=True, slots=True)
class Frontier:
    """The vertices of the LP's optimum as a function of the budget, cheapest first.

    Attributes:
        mean_cost_usd: float64 [v], USD per prompt, strictly increasing.
        mean_score: float64 [v], strictly increasing and concave over the cost.
        price: float64 [v], score per USD. ``decide`` chooses the vertex at prices from just above
            this one up to the previous vertex' price; 0 at the last vertex.
    """

    mean_cost_usd: FloatArray
    mean_score: FloatArray
    price: FloatArray


def frontier(
    scores: FloatArray, costs: FloatArray, mask: BoolArray, *, points: int | None = None
) -> Frontier:
    """Compute every vertex of the frontier, or ``points`` of them spread evenly along the curve.

    Args:
        scores: float64 [n, m]; taken rounded, as ``decide`` takes them.
        costs: float64 [n, m], USD.
        mask: bool [n, m], eligible cells.
        points: number of vertices to keep, at least 2; both ends are always kept. None: all.

    Raises:
        InvalidRequestError: arrays that ``Problem`` refuses, or ``points`` below 2.
        NoEligibleModelError: rows without any eligible model.
    """
    if points is not None and points < 2:
        raise InvalidRequestError(f"points is {points}; a curve needs at least 2")
    values, usage = _open_cells(scores, costs, mask)
    steps = hull_steps(values, usage)
    rows = np.arange(len(values))
    # Steps of equal ratio make one edge: a vertex lies in front of its first step only, and after
    # the very last step.
    after = np.append(steps.ratio, 0.0)
    before = np.insert(steps.ratio, 0, np.inf)
    vertices = np.flatnonzero(after < before * _SAME_RATIO)
    cost = np.cumsum(np.insert(steps.extra, 0, usage[rows, steps.start].sum()))
    score = np.cumsum(np.insert(steps.gain, 0, values[rows, steps.start].sum()))
    # Costs that differ only in their last bits may have equal sums.
    vertices = vertices[np.diff(cost[vertices], append=np.inf) > 0.0]
    n = len(rows)
    curve = Frontier(cost[vertices] / n, score[vertices] / n, after[vertices])
    return curve if points is None else _thin(curve, points)


def price_for_mean_cost(
    scores: FloatArray, costs: FloatArray, mask: BoolArray, mean_cost_usd: float
) -> float:
    """Find the price at which ``decide`` keeps to a mean cost per prompt on a sample.

    It is the shadow price of the LP over the sample (one row: mean cost at most ``mean_cost_usd``),
    raised by 1e-9 of itself so that ties go to the cheaper model and the mean cost is kept to.

    Args:
        scores: float64 [n, m]; taken rounded, as ``decide`` takes them.
        costs: float64 [n, m], USD.
        mask: bool [n, m], eligible cells.
        mean_cost_usd: USD per prompt.

    Returns:
        Score per USD; 0 where the best model of every prompt is affordable.

    Raises:
        InfeasibleError: ``mean_cost_usd`` is below the cheapest possible mean; tells by how much.
        InvalidRequestError: arrays that ``Problem`` refuses, or a mean cost that is not finite.
        NoEligibleModelError: rows without any eligible model.
    """
    values, usage = _open_cells(scores, costs, mask)
    if not np.isfinite(mean_cost_usd):
        raise InvalidRequestError(f"mean_cost_usd is {mean_cost_usd}, not finite")
    try:
        optimum = solve_row(values, usage, mean_cost_usd * len(values))
    except UnreachableError as error:
        raise too_low("mean_cost_usd", mean_cost_usd, error.least / len(values)) from None
    return float(optimum.prices[0]) * _ABOVE_TIE


def _open_cells(
    scores: FloatArray, costs: FloatArray, mask: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Check the arrays, round the scores, and close the cells that are not eligible."""
    problem = Problem(round_scores(scores), costs, mask)
    return np.where(mask, problem.scores, -np.inf), np.where(mask, costs, 0.0)


def _thin(curve: Frontier, points: int) -> Frontier:
    """Keep the vertices nearest to equal steps of arc length, both axes scaled to [0, 1]."""
    count = len(curve.price)
    if count <= points:
        return curve
    width = curve.mean_cost_usd[-1] - curve.mean_cost_usd[0]
    height = curve.mean_score[-1] - curve.mean_score[0]
    legs = np.hypot(np.diff(curve.mean_cost_usd) / width, np.diff(curve.mean_score) / height)
    length = np.concatenate(([0.0], np.cumsum(legs)))
    wanted = np.linspace(0.0, length[-1], points)
    kept = np.unique(np.searchsorted(length, wanted[:-1]))
    kept = np.append(kept[kept < count - 1], count - 1)
    return Frontier(curve.mean_cost_usd[kept], curve.mean_score[kept], curve.price[kept])
