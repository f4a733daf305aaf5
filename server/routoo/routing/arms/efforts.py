"""Reasoning efforts in their order, and what each step changes where nothing better is known.

The steps are least-squares fits over the rows of the shipped predictor's table that stand for one
model at two or more efforts (20 models, 59 rows): the mean log odds of the score and the mean
logarithm of the output tokens over all kinds of task, each as a constant of the model plus one of
the effort. Both rise with the effort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)
"""From the least to the most; ``none`` does not reason."""
RANKS: Final[Mapping[str, int]] = {effort: rank for rank, effort in enumerate(EFFORTS)}
DEFAULT_EFFORT: Final[Effort] = "medium"
"""The effort of an arm, or of the predictor's row of a model, that says none."""
SCORE_ODDS: Final[Mapping[str, float]] = {
    "none": 0.50,
    "minimal": 0.50,
    "low": 0.82,
    "medium": 1.00,
    "high": 1.12,
    "xhigh": 1.25,
    "max": 1.27,
}
"""Odds of a good answer, score / (1 - score), as multiples of those at ``medium``."""
OUTPUT_TOKENS: Final[Mapping[str, float]] = {
    "none": 0.28,
    "minimal": 0.28,
    "low": 0.63,
    "medium": 1.00,
    "high": 1.54,
    "xhigh": 1.80,
    "max": 2.08,
}
"""Output tokens, reasoning included, as multiples of those at ``medium``."""
# The largest budgets of thinking that count as an effort, in tokens.
_BUDGETS: Final[tuple[tuple[int, Effort], ...]] = (
    (1_024, "minimal"),
    (4_096, "low"),
    (12_288, "medium"),
    (32_768, "high"),
    (49_152, "xhigh"),
)


def effort_of_budget(thinking_tokens: int) -> Effort:
    """Returns the effort that a budget of thinking tokens comes nearest to; 0: ``none``."""
    if thinking_tokens <= 0:
        return "none"
    return next((effort for most, effort in _BUDGETS if thinking_tokens <= most), "max")
