"""Which rule made a row's choice, for the reply's ``reason``."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

ReasonArray = npt.NDArray[np.int8]


class Reason(IntEnum):
    """Why a model was chosen; the API has a rule for each."""

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
    """The policy's choice was beyond what a budget has left; the cheapest eligible model."""
    THRESHOLD = 6
    """The pair's model that the threshold on the strong one's advantage says."""
    QUALITY_GAP = 7
    """The pair's model that the tolerance for the small one's gap says."""
    FIXED = 8
    """The policy has one model."""
    ROUND_ROBIN = 9
    """It was the model's turn."""
    FALLBACK = 10
    """The policy's own model was not eligible; the one that stands in for it."""
    GUARANTEE = 11
    """The most score minus cost at the price that was proven to keep the promise."""
    ESCALATED = 12
    """An answer was seen, and another model is expected to be worth its cost."""
    CASCADE = 13
    """The first of two cheap models whose agreement is worth seeing."""


def reasons(scores: FloatArray, mask: BoolArray, choice: IndexArray) -> ReasonArray:
    """Tell for each row which rule chose.

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
