"""``guarantee``: a price proven, on labelled prompts, to lose little quality to a reference.

The promise of SMART (Jo et al. 2024, arXiv 2403.13835): at a chosen confidence, mean quality within
a drop of a reference model, as cheaply as that can be proven. A price of the policy ``lp`` is
proven, see ``routoo.selector.guarantee``; the prices in force for budgets do not change it.

Where the promise is watched, a small share of the prompts is answered by the reference, drawn by
the number of the request, so that graded answers can tell whether it still holds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from routoo.errors import ConfigError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import decide, explained
from routoo.selector.reason import Reason

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Guarantee(Policy):
    """Chooses the highest score minus the proven price times cost.

    Attributes:
        price: the proven price, score per USD.
        reference: column of the model whose quality is promised; -1: the promise is not watched.
        share: the chance that the reference answers where another model is chosen; 0: never.
    """

    learned: ClassVar[bool] = True

    price: float
    reference: int = -1
    share: float = 0.0

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        reference = pool.column(settings.reference, "policy.guarantee.reference", ConfigError)
        if settings.price is None:
            raise ConfigError("policy.guarantee has no price yet; learn it from the labels first")
        if settings.watch is None:
            return cls(settings.price)
        return cls(settings.price, reference, settings.watch.share)

    def choose(self, case: Case) -> IndexArray:
        """Chooses per row at the proven price, or draws the reference, see ``Policy.choose``."""
        choice = self.preferred(case)
        if not self.share:
            return choice
        drawn = self.drawn(case.tickets) & case.mask[:, self.reference]
        return np.where(drawn, self.reference, choice)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives GUARANTEE, or GUARANTEE_SHARE where the reference was drawn.

        The proof holds for traffic without constraints of its own.
        """
        codes = explained(case, choice, Reason.GUARANTEE)
        if self.share:
            is_drawn = (choice == self.reference) & (self.preferred(case) != self.reference)
            codes[is_drawn] = Reason.GUARANTEE_SHARE
        return codes

    def preferred(self, case: Case) -> IndexArray:
        """Returns the choice at the proven price, int [n], before any draw."""
        return decide(case.scores, case.costs_usd, case.mask, self.price)

    def odds(self, reasons: ReasonArray, choice: IndexArray, mask: BoolArray) -> FloatArray:
        """Returns the chance that the draw had for each choice.

        Args:
            reasons: int8 [n] of ``Reason``; other policies' choices have a chance of 1.
            choice: int [n].
            mask: bool [n, m], eligible cells.
        """
        odds = np.ones(len(choice))
        if self.share:
            odds[reasons == Reason.GUARANTEE_SHARE] = self.share
            kept = (reasons == Reason.GUARANTEE) & mask[:, self.reference]
            odds[kept & (choice != self.reference)] = 1.0 - self.share
        return odds

    def drawn(self, tickets: npt.NDArray[np.int64]) -> BoolArray:
        """Returns which requests are drawn for the reference, bool [n], by their numbers alone.

        The numbers are mixed by SplitMix64 (Steele, Lea and Flood 2014), so that any run of them
        has its share.
        """
        mixed = tickets.astype(np.uint64) * _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        mixed ^= mixed >> np.uint64(31)
        drawn: BoolArray = (mixed >> np.uint64(11)) * 2.0**-53 < self.share
        return drawn
