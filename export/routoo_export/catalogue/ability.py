"""The prior of a model's abilities: factors over the kinds of task, regressors, variants.

The ability of model m on task t is ``theta[m, t] = x[m] @ coefficients @ loadings[t] + g[m] +
sum of the factors that t loads on + d[m, t]``, all Gaussian and independent. Rows of one base model
(effort levels, hosts) share a part of everything but the mean.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.outcomes.kinds import TASK_KINDS

# A task may load on several factors; the weights are set by hand, the variances are estimated.
FACTORS: Final[dict[str, dict[str, float]]] = {
    "code": {
        "code_generate": 1.0,
        "code_fix_debug": 1.0,
        "code_explain_review": 1.0,
        "sql_data": 0.7,
        "agentic_software": 0.7,
    },
    "agent": {"tool_call": 1.0, "agentic_software": 1.0},
    "reasoning": {
        "math_easy": 0.7,
        "math_hard": 1.0,
        "logic_puzzle": 1.0,
        "science_exam": 0.5,
        "code_explain_review": 0.5,
    },
    "knowledge": {
        "factual_qa": 1.0,
        "explanation": 0.5,
        "medical_legal_finance": 1.0,
        "science_exam": 0.7,
        "multiple_choice_exam": 1.0,
    },
    "language": {
        "chat_smalltalk": 1.0,
        "explanation": 0.7,
        "advice": 1.0,
        "brainstorm_creative": 1.0,
        "long_writing": 1.0,
        "rewrite_edit": 0.7,
        "translate": 1.0,
        "summarize": 0.7,
        "roleplay": 1.0,
    },
    "precision": {
        "rewrite_edit": 0.7,
        "summarize": 0.7,
        "extract_structured": 1.0,
        "classify": 1.0,
        "instruction_constraints": 1.0,
        "tool_call": 0.5,
    },
}
FACTOR_NAMES: Final = ("general", *FACTORS)


def factor_loadings() -> NDArray[np.float64]:
    """The weight of each factor in each task, float64 [t, k]; the first factor is general."""
    loadings = np.zeros((len(TASK_KINDS), len(FACTOR_NAMES)))
    loadings[:, 0] = 1.0
    for place, tasks in enumerate(FACTORS.values(), 1):
        for task, weight in tasks.items():
            loadings[TASK_KINDS.index(task), place] = weight
    return loadings


@dataclass(frozen=True, slots=True)
class AbilityPrior:
    """The prior of the abilities.

    Attributes:
        factor_sd: Standard deviation of each factor, float64 [k].
        task_sd: Standard deviation of a task's own deviation.
        effort_share: Correlation between the abilities of two effort levels of a model, less their
            means; in (0, 1).
        host_share: The same between two hosts or number formats of one effort level; at least
            ``effort_share``.
        coefficients: Effects of the regressors on the factors' means, float64 [p, k].
    """

    factor_sd: NDArray[np.float64]
    task_sd: float
    effort_share: float
    host_share: float
    coefficients: NDArray[np.float64]

    def covariance(self) -> NDArray[np.float64]:
        """The covariance of one model's abilities, float64 [t, t]."""
        loadings = factor_loadings()
        shared: NDArray[np.float64] = (loadings * self.factor_sd**2) @ loadings.T
        return shared + self.task_sd**2 * np.eye(len(TASK_KINDS))

    def mean(self, regressors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The prior means of the abilities, float64 [m, t], from regressors float64 [m, p]."""
        means: NDArray[np.float64] = regressors @ self.coefficients @ factor_loadings().T
        return means
