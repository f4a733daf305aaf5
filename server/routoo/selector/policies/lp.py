"""``lp``: the rule of the linear program at given prices.

At the optimum of the program that maximises total score under budgets, each prompt gets the model
of the highest score minus price times cost, where the prices are the program's duals (complementary
slackness; for requests that come one by one: Agrawal, Wang and Ye 2014, "A dynamic near-optimal
algorithm for online linear programming", arXiv 0911.2974).
"""

from dataclasses import dataclass

from routoo.selector.arrays import IndexArray
from routoo.selector.online import decide
from routoo.selector.policies.base import Case
from routoo.selector.reason import ReasonArray, reasons


@dataclass(frozen=True, slots=True)
class Lp:
    """The most score minus price times cost."""

    name: str = "lp"

    def choose(self, case: Case) -> IndexArray:
        """Choose per row at the price in force, see ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, case.prices)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Give BEST_SCORE where no eligible model scores higher, PRICE elsewhere."""
        return reasons(case.scores, case.mask, choice)
