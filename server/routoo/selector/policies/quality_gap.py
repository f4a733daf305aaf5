"""``quality_gap``: the small model where it is expected to be within a tolerance of the large one.

The rule of Hybrid LLM (Ding et al. 2024, arXiv 2404.14618). The tolerance is set at run time, also
per request. There a router is trained to predict whether the gap between the two models' answers
exceeds the tolerance; here the gap is the difference of two predicted scores.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from routoo.errors import ConfigError
from routoo.selector.arrays import BoolArray, IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import explained
from routoo.selector.policies.pair import advantage, choose_of_pair, wanted_of
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class QualityGap(Policy):
    """Chooses the small model unless its gap to the large one exceeds the tolerance.

    Attributes:
        small: column of the small model.
        large: column of the large model.
        tolerance: gap in score that is allowed to a row without a tolerance of its own.
    """

    reads_quality_gap: ClassVar[bool] = True

    small: int
    large: int
    tolerance: float

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        small = pool.column(settings.small, "policy.quality_gap.small", ConfigError)
        large = pool.column(settings.large, "policy.quality_gap.large", ConfigError)
        return cls(small, large, settings.tolerance)

    def choose(self, case: Case) -> IndexArray:
        """Chooses a model of the pair, or its fallback, see ``Policy.choose``."""
        return choose_of_pair(case, self._takes_large(case), self.large, self.small)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives QUALITY_GAP, or FALLBACK where the wanted model was not eligible."""
        wanted = wanted_of(self._takes_large(case), self.large, self.small)
        return explained(case, choice, Reason.QUALITY_GAP, wanted)

    def _takes_large(self, case: Case) -> BoolArray:
        asked = case.max_quality_gaps
        tolerance = np.where(np.isnan(asked), self.tolerance, asked)
        return advantage(case, self.large, self.small) > tolerance
