"""Calibration of the policy ``lp``: the mean cost that its price is set for.

A service finds its price on the predictor's calibration sample, so every price that it can have is
the slope of an edge of that sample's cost-quality frontier. The edges are tried on the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.calibration.target import Positions
from routoo.selector.lp.frontier import frontier
from routoo.selector.policies.lp import decide

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.calibration.target import Target
    from routoo.routing.money.operating_point import PricedSample
    from routoo.selector.arrays import FloatArray, IndexArray

# Enough positions for any use; each of them costs a pass over the prompts.
MOST_EDGES = 400


@dataclass(frozen=True, slots=True)
class LpSetting:
    """A value of the setting ``max_mean_cost_usd``, with its effect.

    Attributes:
        max_mean_cost_usd: the setting.
        price: the score per USD that a service derives from it.
        choice: int [n], the models of the prompts.
    """

    max_mean_cost_usd: float
    price: float
    choice: IndexArray


def find_mean_cost(sample: PromptSample, priced: PricedSample, target: Target) -> LpSetting:
    """Finds the setting that meets a target cost or score best.

    Args:
        sample: n prompts.
        priced: the predictor's calibration sample at the pool's prices.
        target: a cost or a score.

    Raises:
        InfeasibleError: the target is out of reach; tells the reachable range.
    """
    settings = mean_costs(priced)
    prices = np.array([priced.price_for(setting) for setting in settings.tolist()])
    rows = np.arange(len(sample))
    choices = [decide(sample.scores, sample.costs_usd, sample.mask, one) for one in prices.tolist()]
    positions = Positions(
        shares=np.zeros(len(prices)),
        costs_usd=np.array([sample.costs_usd[rows, choice].mean() for choice in choices]),
        scores=np.array([sample.scores[rows, choice].mean() for choice in choices]),
    )
    best = positions.best_for(target)
    return LpSetting(float(settings[best]), float(prices[best]), choices[best])


def mean_costs(priced: PricedSample) -> FloatArray:
    """Returns mean costs, one within each edge of the frontier and one beyond its end; [k]."""
    mask = np.ones(priced.scores.shape, np.bool_)
    curve = frontier(priced.scores, priced.costs_usd, mask, points=MOST_EDGES)
    costs = curve.mean_cost_usd
    inside = (costs[:-1] + costs[1:]) / 2.0
    settings = np.append(inside, costs[-1] * 1.01)
    return np.array([float(f"{setting:.6g}") for setting in settings.tolist()])


def price_grid(priced: PricedSample, count: int) -> FloatArray:
    """Returns prices from 0, the most quality, to that of the cheapest choice; [<= count].

    Their mean costs on the predictor's calibration sample fall by equal factors, so the grid does
    not depend on any label.
    """
    mask = np.ones(priced.scores.shape, np.bool_)
    costs = frontier(priced.scores, priced.costs_usd, mask).mean_cost_usd
    steps = np.geomspace(costs[-1], costs[0], count)[1:-1] if count > 2 else np.empty(0)
    prices = [0.0, *(priced.price_for(float(cost)) for cost in steps.tolist())]
    top = priced.price_for(float(costs[0]) * (1.0 + 1e-9))
    return np.unique(np.array([*prices, top]))
