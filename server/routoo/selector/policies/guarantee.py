"""``guarantee``: a price proven, on labelled prompts, to lose little quality to a reference.

The promise of SMART (Jo et al. 2024, arXiv 2403.13835): at a chosen confidence, mean quality within
a drop of a reference model, as cheaply as that can be proven. A price of the policy ``lp`` is
proven, see ``routoo.selector.guarantee``; the prices in force for budgets do not change it.
"""

from dataclasses import dataclass

from routoo.selector.arrays import IndexArray
from routoo.selector.online import decide
from routoo.selector.policies.base import Case, explained
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The most score minus the proven price times cost.

    Attributes:
        price: the proven price, score per USD.
        name: the policy's name.
    """

    price: float
    name: str = "guarantee"

    def choose(self, case: Case) -> IndexArray:
        """Choose per row at the proven price, see ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, self.price)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Give GUARANTEE; the proof holds for traffic without constraints of its own."""
        return explained(case, choice, Reason.GUARANTEE)
