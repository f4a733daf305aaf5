"""``fixed``: one model for every request, as in a service without a router.

The "best single model" that RouterBench (Hu et al. 2024, arXiv 2403.12031) compares routers with.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from routoo.errors import ConfigError
from routoo.selector.arrays import IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import explained, fall_back
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class Fixed(Policy):
    """Chooses one fixed model where it is eligible.

    Attributes:
        model: column of the model.
    """

    model: int

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        return cls(pool.column(settings.model, "policy.fixed.model", ConfigError))

    def choose(self, case: Case) -> IndexArray:
        """Chooses the model, or its fallback, see ``Policy.choose``."""
        return fall_back(case, np.full(len(case.scores), self.model, np.intp))

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives FIXED, or FALLBACK where the model was not eligible."""
        return explained(case, choice, Reason.FIXED, self.model)
