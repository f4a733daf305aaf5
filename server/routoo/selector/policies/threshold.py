"""``threshold``: the strong model where its predicted advantage exceeds a threshold.

The rule of RouteLLM (Ong et al. 2024, arXiv 2406.18665), with a strong and a weak model. There the
advantage is the predicted probability that the strong model's answer wins; here it is the
difference of the two predicted scores.
"""

from dataclasses import dataclass

from routoo.selector.arrays import BoolArray, IndexArray
from routoo.selector.policies.base import Case, explained
from routoo.selector.policies.pair import advantage, choose_of_pair, wanted_of
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Threshold:
    """Columns of the two models, and how much better in score the strong one has to be."""

    strong: int
    weak: int
    threshold: float
    name: str = "threshold"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``."""
        return choose_of_pair(case, self._takes_strong(case), self.strong, self.weak)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """THRESHOLD, or FALLBACK where the wanted model was not eligible."""
        wanted = wanted_of(self._takes_strong(case), self.strong, self.weak)
        return explained(case, choice, Reason.THRESHOLD, wanted)

    def _takes_strong(self, case: Case) -> BoolArray:
        return advantage(case, self.strong, self.weak) > self.threshold
