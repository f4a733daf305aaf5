"""``fixed``: one model for everything, as a service without a router has it.

The "best single model" that RouterBench (Hu et al. 2024, arXiv 2403.12031) compares routers with.
"""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import IndexArray
from routoo.selector.policies.base import Case, explained, fall_back
from routoo.selector.reason import Reason, ReasonArray


@dataclass(frozen=True, slots=True)
class Fixed:
    """The model's column."""

    model: int
    name: str = "fixed"

    def choose(self, case: Case) -> IndexArray:
        """See ``Policy.choose``."""
        return fall_back(case, np.full(len(case.scores), self.model, np.intp))

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """FIXED, or FALLBACK where the model was not eligible."""
        return explained(case, choice, Reason.FIXED, self.model)
