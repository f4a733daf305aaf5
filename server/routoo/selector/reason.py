"""Which rule made a row's choice, for the reply's `reason`."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

ReasonArray = npt.NDArray[np.int8]


class Reason(IntEnum):
    """Why a model was chosen; `name.lower()` is what callers see."""

    NONE_ELIGIBLE = 0
    ONLY_ELIGIBLE = 1
    BEST_SCORE = 2
    PRICE = 3


def reasons(scores: FloatArray, mask: BoolArray, choice: IndexArray) -> ReasonArray:
    """Tell for each row which rule chose.

    Args:
        scores: float64 [n, m], as the choice was made from them (rounded).
        mask: bool [n, m], eligible cells.
        choice: int [n], -1 where no model was eligible.

    Returns:
        int8 [n] of `Reason`: NONE_ELIGIBLE; ONLY_ELIGIBLE, one model was left; BEST_SCORE, no
        eligible model was expected to score higher; PRICE, one was, and was not worth its price.
    """
    rows = np.arange(len(choice))
    best = np.where(mask, scores, -np.inf).max(axis=1)
    codes = np.where(scores[rows, choice] >= best, Reason.BEST_SCORE, Reason.PRICE).astype(np.int8)
    codes[mask.sum(axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes
