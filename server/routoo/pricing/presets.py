"""The prices of the presets: points of the curve that requests and settings name by a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.pricing.prices import MEAN_COST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.selector.arrays import FloatArray
    from routoo.selector.lp.presets import PresetPoint


def preset_constraint(name: str) -> str:
    """Returns a preset's name among the binding constraints of a reply."""
    return f"policy:{name}"


class PresetPrices:
    """The points in force; they are replaced as a whole, and reading them never waits.

    The price of a request that is decided by a preset is the greater of the preset's and of those
    that the service has to keep to: the budgets', and that of ``policy.max_mean_cost_usd`` where
    the settings name it.

    Args:
        points: one per preset.
        keeps_mean_cost: whether the settings name ``policy.max_mean_cost_usd``.
    """

    def __init__(self, points: Sequence[PresetPoint], *, keeps_mean_cost: bool) -> None:
        self._keeps_mean_cost = keeps_mean_cost
        self.points = tuple(points)
        self._prices = {one.name: one.price for one in points}

    def take(self, points: Sequence[PresetPoint]) -> None:
        """Takes on other points, one per preset."""
        self.points, self._prices = tuple(points), {one.name: one.price for one in points}

    def of(
        self, policy: str, price: float, set_by: tuple[str, ...]
    ) -> tuple[float, tuple[str, ...]]:
        """Returns the price at which a policy decides, and the constraints that it comes from.

        Args:
            policy: the name of the policy.
            price: score per USD in force for the request's tenant.
            set_by: the constraints that ``price`` comes from.
        """
        own = self._prices.get(policy)
        if own is None:
            return price, set_by
        if set_by == (MEAN_COST,) and not self._keeps_mean_cost:
            price, set_by = 0.0, ()  # a default of the settings, which the preset stands in for
        if own > price:
            return own, (preset_constraint(policy),)
        return price, set_by

    def of_rows(
        self, policies: Sequence[str], prices: FloatArray, set_by: list[tuple[str, ...]]
    ) -> tuple[FloatArray, list[tuple[str, ...]]]:
        """Returns ``of`` for n rows.

        Args:
            policies: [n], names of policies.
            prices: float64 [n], score per USD.
            set_by: [n], the constraints that each price comes from.
        """
        n, first = len(policies), policies[0]
        if policies.count(first) == n:
            if first not in self._prices:
                return prices, set_by
            if set_by.count(set_by[0]) == n and (prices == prices[0]).all():  # one tenant, mostly
                price, names = self.of(first, prices.item(0), set_by[0])
                return np.full(n, price), [names] * n
        found = [self.of(*row) for row in zip(policies, prices.tolist(), set_by, strict=True)]
        return np.array([price for price, _ in found], np.float64), [names for _, names in found]
