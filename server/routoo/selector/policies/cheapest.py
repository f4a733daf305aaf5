"""``cheapest``: the cheapest eligible model, the lower end of every cost-quality curve.

The baseline of RouterBench (Hu et al. 2024, arXiv 2403.12031), and what is left to do when a
budget is spent.
"""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.policies.base import Case, explained
from routoo.selector.reason import Reason, ReasonArray


def cheapest_of(scores: FloatArray, costs_usd: FloatArray, mask: BoolArray) -> IndexArray:
    """The eligible model of the least cost, then the highest score, then the lowest index.

    Arrays are [n, m]; returns int [n], -1 in rows where no model is eligible.
    """
    costs = np.where(mask, costs_usd, np.inf)
    least = costs.min(axis=1, keepdims=True)
    choice: IndexArray = np.where(mask & (costs == least), scores, -np.inf).argmax(axis=1)
    choice[~mask.any(axis=1)] = -1
    return choice


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The least predicted cost."""

    name: str = "cheapest"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``."""
        return cheapest_of(case.scores, case.costs_usd, case.mask)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """CHEAPEST."""
        return explained(case, choice, Reason.CHEAPEST)
