"""Functions that the policies over a pair of models share."""

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import fall_back, round_scores


def advantage(case: Case, expensive: int, cheap: int) -> FloatArray:
    """Returns how much higher the expensive model is expected to score, float64 [n].

    The difference of two rounded scores is rounded to 1e-4 again, so that it equals a limit such as
    0.12 exactly where it should.
    """
    return round_scores(case.scores[:, expensive] - case.scores[:, cheap])


def wanted_of(takes_expensive: BoolArray, expensive: int, cheap: int) -> IndexArray:
    """Returns the model of the pair that each row should get, int [n]."""
    return np.where(takes_expensive, expensive, cheap)


def choose_of_pair(
    case: Case, takes_expensive: BoolArray, expensive: int, cheap: int
) -> IndexArray:
    """Chooses the wanted model, else the other of the pair, else as ``fall_back`` does."""
    wanted = wanted_of(takes_expensive, expensive, cheap)
    kept = case.mask[np.arange(len(wanted)), wanted]
    return fall_back(case, np.where(kept, wanted, expensive + cheap - wanted))
