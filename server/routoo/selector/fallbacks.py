"""Fallbacks: the columns to ask next where the provider of the chosen one fails.

They are the next best at the same price: by score minus price times cost, the rule of the policy
``lp``, among the cells that are eligible. What fails is a provider more often than a model, and a
model more often than one of its arms, so that columns further from the chosen one go first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

_SAME_MODEL, _SAME_PROVIDER, _OTHER_PROVIDER = 2, 1, 0
_TAKEN = 3


def kinship(providers: Sequence[str], models: Sequence[str]) -> npt.NDArray[np.int8]:
    """Returns how near each column is to each other one, int8 [m, m].

    0: another provider; 1: the same provider, another model; 2: the same model; 3: itself.

    Args:
        providers: [m], the provider of each column.
        models: [m], the model of each column.
    """
    near = np.full((len(models), len(models)), _OTHER_PROVIDER, np.int8)
    of_providers, of_models = np.array(providers, object), np.array(models, object)
    near[of_providers[:, None] == of_providers] = _SAME_PROVIDER
    near[of_models[:, None] == of_models] = _SAME_MODEL
    np.fill_diagonal(near, _TAKEN)
    near.flags.writeable = False
    return near


def mask_left(
    mask: BoolArray,
    reserved_usd: FloatArray,
    limits_usd: FloatArray | None,
    seconds: IndexArray | None,
) -> BoolArray:
    """Returns the eligible cells that may be fallbacks, bool [n, m].

    Args:
        mask: bool [n, m], eligible cells.
        reserved_usd: float64 [n, m], what each column may cost.
        limits_usd: float64 [n], what is reserved, infinite where no budget pays; None: none pays
            in any row.
        seconds: int [n], columns that are asked in any case, -1: none; None: there are none.
    """
    if limits_usd is not None:
        mask = mask & (reserved_usd <= limits_usd[:, None])
    if seconds is not None:
        mask = mask.copy()
        asked = np.flatnonzero(seconds >= 0)
        mask[asked, seconds[asked]] = False
    return mask


def fallbacks_of(
    scores: FloatArray,
    costs_usd: FloatArray,
    mask: BoolArray,
    prices: FloatArray,
    choice: IndexArray,
    near: npt.NDArray[np.int8],
    count: int,
) -> IndexArray:
    """Returns the best columns after the chosen ones, int [n, k]; -1: there are no more.

    Columns of other providers come before those of the chosen one's, and those before the other
    arms of its model; within each, the highest score minus price times cost, then the cheaper one,
    then the lower index. A row's fallbacks depend on the row alone.

    Args:
        scores: float64 [n, m].
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells; figures of other cells are not used.
        prices: float64 [n], score per USD.
        choice: int [n]; rows with -1 have no fallbacks.
        near: int8 [m, m], see ``kinship``.
        count: how many are wanted; k is this, or m where that is less.
    """
    order = np.where(mask, near[choice], np.int8(_TAKEN))
    order[choice < 0] = _TAKEN
    lost = prices[:, None] * costs_usd - scores
    found: IndexArray = np.lexsort((costs_usd, lost, order), axis=-1)[:, :count]
    found[order[np.arange(len(found))[:, None], found] == _TAKEN] = -1
    return found
