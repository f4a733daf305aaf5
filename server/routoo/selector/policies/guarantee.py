"""``guarantee``: a price proven, on labelled prompts, to lose little quality to a reference.

The promise of SMART (Jo et al. 2024, arXiv 2403.13835): at a chosen confidence, mean quality within
a drop of a reference model, as cheaply as that can be proven. What is proven is a price of the
``lp`` policy, see ``routoo.selector.guarantee``; prices in force for budgets do not move it.
"""

from dataclasses import dataclass

from routoo.selector.arrays import IndexArray
from routoo.selector.online import decide
from routoo.selector.policies.base import Case, explained
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The most score minus the proven price times cost; ``price`` is score per USD."""

    price: float
    name: str = "guarantee"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, self.price)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """GUARANTEE; what was proven holds for traffic without constraints of its own."""
        return explained(case, choice, Reason.GUARANTEE)
