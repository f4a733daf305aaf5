"""The reference scale: the expected score on a typical user's prompt of each kind of task.

Benchmarks are harder than what users ask, and each has a difficulty of its own, so no test's scale
is taken. Instead the scale is fixed by eight models of 2024 that nearly all sources share: their
mean ability on a task has the score REFERENCE_SCORES of that task, and one unit of ability is
REFERENCE_SLOPE logits, the median slope of the tests with judged answers to users' prompts. The
logistic curve leaves room at both ends. The scores of these models are set by hand, high where a
user rarely asks something hard.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.estimator import Scales
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS

REFERENCE_MODELS: Final = (
    "anthropic/claude-3-5-sonnet-20240620",
    "anthropic/claude-3-haiku-20240307",
    "google/gemini-1.5-pro-002",
    "meta-llama/llama-3.1-405b-instruct",
    "meta-llama/llama-3.1-70b-instruct",
    "mistralai/mistral-large-2407",
    "openai/gpt-4o-2024-08-06",
    "openai/gpt-4o-mini-2024-07-18",
)
REFERENCE_SCORES: Final = {
    "chat_smalltalk": 0.82,
    "factual_qa": 0.72,
    "explanation": 0.80,
    "advice": 0.78,
    "medical_legal_finance": 0.72,
    "brainstorm_creative": 0.76,
    "long_writing": 0.74,
    "rewrite_edit": 0.78,
    "translate": 0.80,
    "summarize": 0.80,
    "extract_structured": 0.76,
    "classify": 0.78,
    "code_generate": 0.66,
    "code_fix_debug": 0.62,
    "code_explain_review": 0.70,
    "sql_data": 0.66,
    "math_easy": 0.78,
    "math_hard": 0.45,
    "logic_puzzle": 0.45,
    "science_exam": 0.60,
    "multiple_choice_exam": 0.70,
    "instruction_constraints": 0.68,
    "roleplay": 0.76,
    "tool_call": 0.68,
    "agentic_software": 0.35,
}
REFERENCE_SLOPE: Final = 0.85
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


@dataclass(frozen=True, slots=True)
class ReferenceScale:
    """The map from abilities to scores on users' prompts.

    Attributes:
        offset: Logit of the score of ability 0, float64 [t].
        slope: Logits per unit of ability.
        transfer: Variance in logits between a model's score on benchmarks and on users' prompts of
            equal difficulty: what tests of one kind differ by.
    """

    offset: NDArray[np.float64]
    slope: float
    transfer: float

    def logits(
        self, mean: NDArray[np.float64], variance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of the logits of abilities, float64 [..., t] each."""
        return self.offset + self.slope * mean, self.slope**2 * variance + self.transfer


def reference_scale(
    names: tuple[str, ...], ability: NDArray[np.float64], scales: Scales
) -> ReferenceScale:
    """Fix the scale by the reference models.

    Args:
        names: Canonical names, [m].
        ability: Mean abilities, float64 [m, t].
        scales: Scales of the tests, for the typical misfit.

    Raises:
        OutcomeError: a reference model is missing.
    """
    missing = sorted(set(REFERENCE_MODELS) - set(names))
    if missing:
        raise OutcomeError(f"reference model {missing[0]} has no scores; add a source that has it")
    rows = [names.index(name) for name in REFERENCE_MODELS]
    wanted = np.array([REFERENCE_SCORES[task] for task in TASK_KINDS])
    offset = np.log(wanted / (1.0 - wanted)) - REFERENCE_SLOPE * ability[rows].mean(axis=0)
    transfer = float(np.median(scales.misfit) + np.median(scales.family))
    return ReferenceScale(offset, REFERENCE_SLOPE, transfer)


def logistic_moments(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of ``1 / (1 + exp(-x))`` for Gaussian x, by Gauss-Hermite quadrature.

    Args:
        mean: Means of x, float64 of any shape.
        variance: Variances of x, of the same shape.
    """
    weights = _WEIGHTS / _WEIGHTS.sum()
    values = 1.0 / (1.0 + np.exp(-(mean[..., None] + np.sqrt(variance)[..., None] * _NODES)))
    first = values @ weights
    return first, (values - first[..., None]) ** 2 @ weights
