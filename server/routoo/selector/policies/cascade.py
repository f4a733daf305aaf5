"""``cascade``: begins with two cheap models where it is worth to see whether they agree.

A plan asks both, and then keeps an answer or escalates, see ``routoo.selector.cascade``; it is
worth what the better decision afterwards gains on average, minus what the two cost. Choosing
between plans and single models by expected worth is cascade routing (Dekoninck et al. 2024, arXiv
2410.10347). Where no plan is worth it, the choice is that of the policy ``lp``.
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
    """The plans, at least one."""

    plans: tuple[CascadePlan, ...]
    name: str = "cascade"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``; of a plan, the model whose answer the other's is compared with."""
        best, worth = self._best(case)
        alone = decide(case.scores, case.costs_usd, case.mask, case.prices)
        kept = np.array([plan.kept for plan in self.plans], np.intp)
        return np.where(worth > 0.0, kept[best], alone)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """CASCADE where a plan begins, else as the policy ``lp``."""
        codes = reasons(case.scores, case.mask, choice)
        codes[self._best(case)[1] > 0.0] = Reason.CASCADE
        return codes

    def _best(self, case: Case) -> tuple[IndexArray, FloatArray]:
        """Each row's best plan, int [n], and its worth, float64 [n]."""
        worths = np.stack(
            [plan.worth(case.scores, case.costs_usd, case.mask, case.prices) for plan in self.plans]
        )
        return worths.argmax(axis=0), worths.max(axis=0)
