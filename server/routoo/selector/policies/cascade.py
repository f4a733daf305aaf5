"""``cascade``: starts with two cheap models where their agreement is worth its cost.

A plan asks both, and then keeps an answer or escalates, see ``routoo.selector.cascade``. Its worth
is the average gain of the better decision afterwards, minus the cost of the two. Choosing between
plans and single models by expected worth is cascade routing (Dekoninck et al. 2024, arXiv
2410.10347). Where no plan has a positive worth, the choice is that of the policy ``lp``.
"""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.cascade import CascadePlan
from routoo.selector.online import decide
from routoo.selector.policies.base import Case
from routoo.selector.reason import Reason, ReasonArray, reasons


@dataclass(frozen=True, slots=True)
class Cascade:
    """The best plan where it is worth more than any single model.

    Attributes:
        plans: at least one.
        name: the policy's name.
    """

    plans: tuple[CascadePlan, ...]
    name: str = "cascade"

    def choose(self, case: Case) -> IndexArray:
        """Choose per row; of a plan, the model ``kept``. See ``Policy.choose``."""
        best, worth = self._best(case)
        alone = decide(case.scores, case.costs_usd, case.mask, case.prices)
        kept = np.array([plan.kept for plan in self.plans], np.intp)
        return np.where(worth > 0.0, kept[best], alone)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Give CASCADE where a plan starts, else the reason of the policy ``lp``."""
        codes = reasons(case.scores, case.mask, choice)
        codes[self._best(case)[1] > 0.0] = Reason.CASCADE
        return codes

    def _best(self, case: Case) -> tuple[IndexArray, FloatArray]:
        """Return each row's best plan, int [n], and its worth, float64 [n]."""
        worths = np.stack(
            [plan.worth(case.scores, case.costs_usd, case.mask, case.prices) for plan in self.plans]
        )
        return worths.argmax(axis=0), worths.max(axis=0)
