"""Cost curves: the cost of requests at each price of a fixed grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.lp.hull import hull_steps

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray, FloatArray

# The curve is interpolated between the prices, so they may lie some per cent apart.
GRID_PRICES = 128
# The grid goes on above the highest ratio of the sample, for requests that are unlike the sample.
_ROOM = 10.0
# The highest ratio of a sample is taken to be at least this, and the lowest at least its square.
_LEAST_TOP_PRICE = 1e-3


class PriceGrid:
    """Ascending prices, float64 [g], in score per USD: 0, then evenly spaced logarithms.

    The cost of a request falls with the price in steps, one per vertex of its upper hull. Summed
    over requests the steps make a curve, and the price that keeps to a mean cost is read off it:
    the same price that the linear program over those requests has as its dual, but from sums that
    can be kept, mixed and weighted.
    """

    def __init__(self, scores: FloatArray, costs_usd: FloatArray) -> None:
        """Chooses prices that cover the steps of a sample.

        Args:
            scores: float64 [r, m], of the sample.
            costs_usd: float64 [r, m].
        """
        ratio = hull_steps(scores, costs_usd).ratio
        # The outermost steps are between models that hardly differ in score, or in cost.
        low, high = np.quantile(ratio, [0.01, 0.99]) if ratio.size else (1.0, 1.0)
        high = max(float(high), _LEAST_TOP_PRICE) * _ROOM
        low = min(max(float(low), _LEAST_TOP_PRICE**2), high / _ROOM)
        self.prices = np.append(0.0, np.geomspace(low, high, GRID_PRICES - 1))

    def costs(self, scores: FloatArray, costs_usd: FloatArray, mask: BoolArray) -> FloatArray:
        """Returns the cost of each request at each price, float64 [n, g], not rising in the price.

        Args:
            scores: float64 [n, m], rounded to 1e-4.
            costs_usd: float64 [n, m].
            mask: bool [n, m], eligible cells, at least one in each row.
        """
        n, g = len(scores), len(self.prices)
        if not n:
            return np.zeros((0, g))
        values = np.where(mask, scores, -np.inf)
        usage = np.where(mask, costs_usd, 0.0)
        steps = hull_steps(values, usage)
        # A step is taken at every price below its ratio: it adds to the cells in front of ``at``.
        at = np.searchsorted(self.prices, steps.ratio, side="left")
        taken = np.bincount(steps.row * (g + 1) + at, steps.extra, minlength=n * (g + 1))
        beyond = taken.reshape(n, g + 1)[:, ::-1].cumsum(axis=1)[:, ::-1]
        costs: FloatArray = usage[np.arange(n), steps.start][:, None] + beyond[:, 1:]
        return costs

    def price_at(self, curve: FloatArray, mean_cost_usd: float) -> float:
        """Returns the least price at which a curve of mean costs, [g], keeps to a mean cost.

        That is 0 where even the best models keep to it, and the highest price where not even the
        cheapest ones do.
        """
        if curve[0] <= mean_cost_usd:
            return 0.0
        below = int(np.searchsorted(-curve, -mean_cost_usd, side="left"))
        if below >= len(curve):
            return float(self.prices[-1])
        step = curve[below - 1] - curve[below]
        share = (curve[below - 1] - mean_cost_usd) / step if step > 0.0 else 1.0
        low, high = self.prices[below - 1], self.prices[below]
        if low == 0.0:
            return float(share * high)
        return float(low * (high / low) ** share)

    def cost_at(self, curve: FloatArray, price: float) -> float:
        """Returns the mean cost of a curve, [g], at a price."""
        prices = self.prices
        if price <= prices[1]:
            return float(np.interp(price, prices[:2], curve[:2]))
        return float(np.interp(np.log(price), np.log(prices[1:]), curve[1:]))
