"""``threshold``: the strong model where its predicted advantage exceeds a threshold.

The rule of RouteLLM (Ong et al. 2024, arXiv 2406.18665), with a strong and a weak model. There the
advantage is the predicted probability that the strong model's answer wins; here it is the
difference of the two predicted scores.
"""

from dataclasses import dataclass
from typing import Any, Self

from routoo.errors import ConfigError
from routoo.selector.arrays import BoolArray, IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import explained
from routoo.selector.policies.pair import advantage, choose_of_pair, wanted_of
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class Threshold(Policy):
    """Chooses the strong model where its advantage exceeds the threshold, else the weak one.

    Attributes:
        strong: column of the strong model.
        weak: column of the weak model.
        threshold: advantage in score that the strong model has to exceed.
    """

    strong: int
    weak: int
    threshold: float

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        strong = pool.column(settings.strong, "policy.threshold.strong", ConfigError)
        weak = pool.column(settings.weak, "policy.threshold.weak", ConfigError)
        return cls(strong, weak, settings.threshold)

    def choose(self, case: Case) -> IndexArray:
        """Chooses a model of the pair, or its fallback, see ``Policy.choose``."""
        return choose_of_pair(case, self._takes_strong(case), self.strong, self.weak)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives THRESHOLD, or FALLBACK where the wanted model was not eligible."""
        wanted = wanted_of(self._takes_strong(case), self.strong, self.weak)
        return explained(case, choice, Reason.THRESHOLD, wanted)

    def _takes_strong(self, case: Case) -> BoolArray:
        return advantage(case, self.strong, self.weak) > self.threshold
