"""``cheapest``: the cheapest eligible model, the lower end of every cost-quality curve.

The baseline of RouterBench (Hu et al. 2024, arXiv 2403.12031), and the choice for a request whose
budget is spent.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Policy
from routoo.selector.policies.lp import explained
from routoo.selector.reason import Reason


def cheapest_of(scores: FloatArray, costs_usd: FloatArray, mask: BoolArray) -> IndexArray:
    """Chooses the eligible model of the least cost, then the highest score, then the lowest index.

    Args:
        scores: float64 [n, m].
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells.

    Returns:
        int [n]; -1 in rows where no model is eligible.
    """
    costs = np.where(mask, costs_usd, np.inf)
    least = costs.min(axis=1, keepdims=True)
    choice: IndexArray = np.where(mask & (costs == least), scores, -np.inf).argmax(axis=1)
    choice[~mask.any(axis=1)] = -1
    return choice


@dataclass(frozen=True, slots=True)
class Cheapest(Policy):
    """Chooses the least predicted cost."""

    weighs_turns: ClassVar[bool] = True

    def choose(self, case: Case) -> IndexArray:
        """Chooses the cheapest model per row, see ``Policy.choose``."""
        return cheapest_of(case.scores, case.costs_usd, case.mask)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives CHEAPEST, see ``Policy.explain``."""
        return explained(case, choice, Reason.CHEAPEST)
