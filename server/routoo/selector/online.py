"""The decision for a micro-batch: each row by itself, at given prices."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from routoo.errors import InvalidRequestError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, name_rows

# Scores are rounded to 1 / this: far below what a predictor can distinguish, and far above the
# noise that padding adds to its output.
_SCORE_STEPS = 1e4


def round_scores(scores: npt.NDArray[np.floating]) -> FloatArray:
    """Round to 1e-4 as float64, so that noise in the last bits cannot change a decision."""
    steps: FloatArray = np.multiply(scores, _SCORE_STEPS, dtype=np.float64)
    np.rint(steps, out=steps)
    # The division gives the double nearest to the decimal, so that rounding twice changes nothing.
    steps /= _SCORE_STEPS
    return steps


def decide(
    scores: npt.NDArray[np.floating],
    costs: FloatArray,
    mask: BoolArray,
    price: float | FloatArray,
    *,
    other_rows: Sequence[tuple[float, FloatArray]] = (),
) -> IndexArray:
    """Choose per row the model of the highest score minus what it costs at the price.

    Of models that tie, the cheaper one wins, then the one of the lower index. A row's choice does
    not depend on the rows beside it.

    Args:
        scores: floating [n, m]; rounded to 1e-4 here.
        costs: float64 [n, m], USD.
        mask: bool [n, m], eligible cells; figures of other cells are not used.
        price: score per USD, at least 0 and finite; one for all rows, or one per row, [n].
        other_rows: price and usage ([n, m] or [m]) of each coupling row besides the budget; a
            price is score per unit of that usage.

    Returns:
        int [n], the model's index, or -1 in rows where no model is eligible.

    Raises:
        InvalidRequestError: a NaN or +inf in an eligible cell; the message names the rows.
    """
    worth = round_scores(scores)
    worth -= (price[:, None] if isinstance(price, np.ndarray) else price) * costs
    # Cell by cell, not as a matrix product: BLAS sums in an order that depends on the shape.
    for other_price, usage in other_rows:
        worth -= other_price * usage
    worth = np.where(mask, worth, -np.inf)
    best = worth.max(axis=1, keepdims=True)
    choice: IndexArray = np.where(worth == best, costs, np.inf).argmin(axis=1)
    if not np.isfinite(best).all():
        _settle_empty_rows(best[:, 0], mask, choice)
    return choice


def _settle_empty_rows(best: FloatArray, mask: BoolArray, choice: IndexArray) -> None:
    """Mark the rows without an eligible model; any other row that is not finite is an error."""
    empty = ~mask.any(axis=1)
    wrong = np.flatnonzero(~np.isfinite(best) & ~empty)
    if wrong.size:
        raise InvalidRequestError(f"scores, costs or prices are not finite in {name_rows(wrong)}")
    choice[empty] = -1
