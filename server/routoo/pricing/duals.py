"""The prices of nested budgets, read off cost curves.

Budgets of all tenants together and budgets of one tenant nest, and so the duals of the program with
one row per budget need no solver. A tenant's own budgets ask for one price, the least that keeps to
the tightest of them; the common budgets ask for another, the least at which all tenants together
keep to them, each paying its own price where that is higher. A request pays the higher of the two:
the common price, and what its own price is above that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.pricing.curves import PriceGrid
    from routoo.selector.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class MeanCostLimit:
    """The limit that a budget sets to the cost of its requests.

    Attributes:
        mean_cost_usd: mean cost per request that the money left allows.
        is_common: the budget is that of all tenants together.
    """

    mean_cost_usd: float
    is_common: bool


@dataclass(frozen=True, slots=True)
class Duals:
    """The solution, one entry per budget.

    Attributes:
        prices: score per USD.
        mean_costs_usd: mean cost of the budget's requests at these prices.
    """

    prices: tuple[float, ...]
    mean_costs_usd: tuple[float, ...]


def solve_nested(
    grid: PriceGrid,
    curves: FloatArray,
    shares: FloatArray,
    payers: Sequence[tuple[int, ...]],
    limits: Sequence[MeanCostLimit],
) -> Duals:
    """Finds the prices at which every budget keeps to its limit.

    Args:
        grid: the g prices at which the curves were computed.
        curves: float64 [k, g], mean cost of the requests of each group of payers.
        shares: float64 [k], each group's share of the requests that budgets apply to.
        payers: [k], the indices of the budgets that apply to each group.
        limits: one per budget.
    """
    prices = np.zeros(len(limits))
    own = np.zeros(len(payers))
    for group, budgets in enumerate(payers):
        for budget in budgets:
            if not limits[budget].is_common:
                asked = grid.price_at(curves[group], limits[budget].mean_cost_usd)
                own[group] = max(own[group], asked)
    # A group pays at least its own price, so below it the group's spending does not rise.
    caps = [grid.cost_at(curve, price) for curve, price in zip(curves, own, strict=True)]
    together = shares @ np.minimum(curves, np.array(caps)[:, None])
    shared = [index for index, limit in enumerate(limits) if limit.is_common]
    asked_of = {one: grid.price_at(together, limits[one].mean_cost_usd) for one in shared}
    common = max(asked_of.values(), default=0.0)
    if shared:
        prices[max(shared, key=asked_of.__getitem__)] = common
    mean_costs = np.full(len(limits), grid.cost_at(together, common))
    for group, budgets in enumerate(payers):
        mine = [budget for budget in budgets if not limits[budget].is_common]
        if mine:
            # Only the tightest of a tenant's budgets binds, and has a price.
            tightest = min(mine, key=lambda budget: limits[budget].mean_cost_usd)
            prices[tightest] = max(0.0, own[group] - common)
            mean_costs[mine] = grid.cost_at(curves[group], max(float(own[group]), common))
    return Duals(tuple(prices.tolist()), tuple(mean_costs.tolist()))
