"""What the policies over two models share: one of the pair, the other, or neither."""

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.online import round_scores
from routoo.selector.policies.base import Case, fall_back


def advantage(case: Case, expensive: int, cheap: int) -> FloatArray:
    """By how much the expensive model is expected to score higher, [n]; a multiple of 1e-4.

    Rounded, as the difference of two rounded scores is not: a limit of 0.12 means what it says.
    """
    return round_scores(case.scores[:, expensive] - case.scores[:, cheap])


def wanted_of(takes_expensive: BoolArray, expensive: int, cheap: int) -> IndexArray:
    """The model of the pair that each row should get, int [n]."""
    return np.where(takes_expensive, expensive, cheap)


def choose_of_pair(
    case: Case, takes_expensive: BoolArray, expensive: int, cheap: int
) -> IndexArray:
    """The wanted model where it is eligible, else the other of the pair, else as ``fall_back``."""
    wanted = wanted_of(takes_expensive, expensive, cheap)
    kept = case.mask[np.arange(len(wanted)), wanted]
    return fall_back(case, np.where(kept, wanted, expensive + cheap - wanted))
