"""``guarantee``: a price proven, on labelled prompts, to lose little quality to a reference.

The promise of SMART (Jo et al. 2024, arXiv 2403.13835): at a chosen confidence, mean quality within
a drop of a reference model, as cheaply as that can be proven. A price of the policy ``lp`` is
proven, see ``routoo.selector.guarantee``; the prices in force for budgets do not change it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from routoo.errors import ConfigError
from routoo.selector.arrays import IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import decide, explained
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class Guarantee(Policy):
    """Chooses the highest score minus the proven price times cost.

    Attributes:
        price: the proven price, score per USD.
    """

    learned: ClassVar[bool] = True

    price: float

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        pool.column(settings.reference, "policy.guarantee.reference", ConfigError)
        if settings.price is None:
            raise ConfigError("policy.guarantee has no price yet; learn it from the labels first")
        return cls(settings.price)

    def choose(self, case: Case) -> IndexArray:
        """Chooses per row at the proven price, see ``Policy.choose``."""
        return decide(case.scores, case.costs_usd, case.mask, self.price)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives GUARANTEE; the proof holds for traffic without constraints of its own."""
        return explained(case, choice, Reason.GUARANTEE)
