"""``best``: the highest predicted score at any cost; the upper end of the cost-quality curve.

The baseline of RouterBench (Hu et al. 2024, arXiv 2403.12031) without its cost term.
"""

from dataclasses import dataclass

from routoo.selector.arrays import IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Policy
from routoo.selector.policies.lp import decide, reasons


@dataclass(frozen=True, slots=True)
class Best(Policy):
    """Chooses the highest predicted score; of models that tie, the cheaper one."""

    def choose(self, case: Case) -> IndexArray:
        """Chooses the model of the highest score per row, see ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, 0.0)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives BEST_SCORE, see ``Policy.explain``."""
        return reasons(case.scores, case.mask, choice)
