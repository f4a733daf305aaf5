"""``best``: the highest predicted score at any cost; the upper end of the cost-quality curve.

The baseline of RouterBench (Hu et al. 2024, arXiv 2403.12031) without its cost term.
"""

from dataclasses import dataclass

from routoo.selector.arrays import IndexArray
from routoo.selector.online import decide
from routoo.selector.policies.base import Case
from routoo.selector.reason import ReasonArray, reasons


@dataclass(frozen=True, slots=True)
class Best:
    """The highest predicted score; of equals the cheaper one."""

    name: str = "best"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, 0.0)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """BEST_SCORE."""
        return reasons(case.scores, case.mask, choice)
