"""The rule that made a row's choice, for the field ``reason`` of the reply."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

ReasonArray = npt.NDArray[np.int8]


class Reason(IntEnum):
    """The rule by which a model was chosen; the API has a value of ``Rule`` for each."""

    NONE_ELIGIBLE = 0
    ONLY_ELIGIBLE = 1
    """The constraints left one model."""
    BEST_SCORE = 2
    """No eligible model was expected to score higher."""
    PRICE = 3
    """The most score minus price times cost; a better model was not worth its cost."""
    CHEAPEST = 4
    """The policy takes the cheapest eligible model."""
    BUDGET_SPENT = 5
    """The cheapest eligible model, as the policy's choice cost more than a budget has left."""
    THRESHOLD = 6
    """The model of the pair that the threshold on the strong model's advantage selects."""
    QUALITY_GAP = 7
    """The model of the pair that the tolerance for the small model's gap selects."""
    FIXED = 8
    """The one model of the policy."""
    ROUND_ROBIN = 9
    """The model whose turn it was."""
    FALLBACK = 10
    """Another model, as the policy's own one was not eligible."""
    GUARANTEE = 11
    """The most score minus cost at the price that was proven to keep the promise."""
    ESCALATED = 12
    """Another model than the one that answered, as it is expected to be worth its cost."""
    CASCADE = 13
    """The first of two cheap models, as it is worth to see whether they agree."""


def reasons(scores: FloatArray, mask: BoolArray, choice: IndexArray) -> ReasonArray:
    """Return the rule that chose in each row of the policies at a price.

    Args:
        scores: float64 [n, m], as the choice was made from them (rounded).
        mask: bool [n, m], eligible cells.
        choice: int [n], -1 where no model was eligible.

    Returns:
        int8 [n] of ``Reason``: NONE_ELIGIBLE; ONLY_ELIGIBLE, one model was left; BEST_SCORE, no
        eligible model was expected to score higher; PRICE, one was, and was not worth its price.
    """
    rows = np.arange(len(choice))
    best = np.maximum.reduce(np.where(mask, scores, -np.inf), axis=1)
    codes = np.full(len(choice), Reason.PRICE, np.int8)
    codes[scores[rows, choice] >= best] = Reason.BEST_SCORE
    codes[np.add.reduce(mask, axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes
