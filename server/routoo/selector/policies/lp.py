"""``lp``: the rule of the linear program at given prices.

At the optimum of the program that maximises total score under budgets, each prompt gets the model
of the highest score minus price times cost, where the prices are the program's duals (complementary
slackness; for requests that come one by one: Agrawal, Wang and Ye 2014, "A dynamic near-optimal
algorithm for online linear programming", arXiv 0911.2974).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from routoo.errors import InvalidRequestError
from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray, name_rows
from routoo.selector.policies.base import Case, Policy
from routoo.selector.reason import Reason

# Scores are rounded to 1 / this: far below what a predictor can distinguish, and far above the
# noise that padding adds to its output.
_SCORE_STEPS = np.array(1e4)  # an array, which numpy need not convert at each use


def round_scores(scores: npt.NDArray[np.floating]) -> FloatArray:
    """Rounds to 1e-4 as float64, so that noise in the last bits cannot change a decision."""
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
    are_rounded: bool = False,
) -> IndexArray:
    """Chooses per row the model of the highest score minus what it costs at the price.

    Of models that tie, the cheaper one wins, then the one of the lower index. A row's choice does
    not depend on the rows beside it.

    Args:
        scores: floating [n, m]; rounded to 1e-4 here.
        costs: float64 [n, m], USD.
        mask: bool [n, m], eligible cells; figures of other cells are not used.
        price: score per USD, at least 0 and finite; one for all rows, or one per row, [n].
        other_rows: price and usage ([n, m] or [m]) of each coupling row besides the budget; a
            price is score per unit of that usage.
        are_rounded: whether the scores are rounded to 1e-4 as float64 already.

    Returns:
        int [n], the model's index, or -1 in rows where no model is eligible.

    Raises:
        InvalidRequestError: a NaN or +inf in an eligible cell; the message names the rows.
    """
    worth: FloatArray = (scores if are_rounded else round_scores(scores)) - (
        price[:, None] if isinstance(price, np.ndarray) else price
    ) * costs
    # Cell by cell, not as a matrix product: BLAS sums in an order that depends on the shape.
    for other_price, usage in other_rows:
        worth -= other_price * usage
    worth = np.where(mask, worth, -np.inf)
    best = worth.max(axis=1, keepdims=True)
    choice: IndexArray = np.where(worth == best, costs, np.inf).argmin(axis=1)
    if not np.isfinite(best).all():
        _settle_empty_rows(best[:, 0], mask, choice)
    return choice


def decide_case(case: Case) -> IndexArray:
    """Chooses at the prices of a case, its limits' included; see ``decide``."""
    rows = () if case.charges is None else ((1.0, case.charges),)
    return decide(
        case.scores, case.costs_usd, case.mask, case.prices, other_rows=rows, are_rounded=True
    )


def _settle_empty_rows(best: FloatArray, mask: BoolArray, choice: IndexArray) -> None:
    """Marks the rows without an eligible model; any other row that is not finite is an error."""
    empty = ~mask.any(axis=1)
    wrong = np.flatnonzero(~np.isfinite(best) & ~empty)
    if wrong.size:
        raise InvalidRequestError(f"scores, costs or prices are not finite in {name_rows(wrong)}")
    choice[empty] = -1


def reasons(scores: FloatArray, mask: BoolArray, choice: IndexArray) -> ReasonArray:
    """Returns the rule that chose in each row of the policies at a price.

    Args:
        scores: float64 [n, m], as the choice was made from them (rounded).
        mask: bool [n, m], eligible cells.
        choice: int [n], -1 where no model was eligible.

    Returns:
        int8 [n] of ``Reason``: NONE_ELIGIBLE; ONLY_ELIGIBLE, one model was left; BEST_SCORE, no
        eligible model was expected to score higher; PRICE, one was, and was not worth its price.
    """
    if len(choice) == 1:
        return np.array([_reason_of_one(scores, mask, int(choice[0]))], np.int8)
    rows = np.arange(len(choice))
    best = np.maximum.reduce(np.where(mask, scores, -np.inf), axis=1)
    codes = np.full(len(choice), Reason.PRICE, np.int8)
    codes[scores[rows, choice] >= best] = Reason.BEST_SCORE
    codes[np.add.reduce(mask, axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes


def _reason_of_one(scores: FloatArray, mask: BoolArray, choice: int) -> Reason:
    """Returns the reason of a single row, for which arrays take longer than numbers."""
    if choice < 0:
        return Reason.NONE_ELIGIBLE
    eligible = np.count_nonzero(mask)
    if eligible == 1:
        return Reason.ONLY_ELIGIBLE
    left = scores if eligible == mask.size else scores[mask]
    is_best = scores[0, choice] >= np.maximum.reduce(left, axis=None)
    return Reason.BEST_SCORE if is_best else Reason.PRICE


def fall_back(case: Case, wanted: IndexArray) -> IndexArray:
    """Keeps wanted models that are eligible; elsewhere takes the best score minus price times cost.

    The fallback of policies whose own models are not eligible. A row's result depends on the row
    alone.

    Args:
        case: the input.
        wanted: int [n], the model that the policy wants.

    Returns:
        int [n]; -1 where no model is eligible.
    """
    kept = case.mask[np.arange(len(wanted)), wanted]
    if kept.all():
        return wanted
    return np.where(kept, wanted, decide_case(case))


def explained(
    case: Case, choice: IndexArray, reason: Reason, wanted: npt.ArrayLike | None = None
) -> ReasonArray:
    """Gives ``reason`` to every row, but FALLBACK where another model was wanted than chosen.

    Rows with one eligible model get ONLY_ELIGIBLE, rows without any NONE_ELIGIBLE.

    Args:
        case: the input of the choice.
        choice: int [n].
        reason: the reason where the wanted model was chosen.
        wanted: int [n] or one index, the model that the policy wanted; None: the one chosen.
    """
    codes = np.full(len(choice), reason, np.int8)
    if wanted is not None:
        codes[choice != wanted] = Reason.FALLBACK
    codes[case.mask.sum(axis=1) == 1] = Reason.ONLY_ELIGIBLE
    codes[choice < 0] = Reason.NONE_ELIGIBLE
    return codes


@dataclass(frozen=True, slots=True)
class Lp(Policy):
    """Chooses the highest score minus price times cost."""

    at_price: ClassVar[bool] = True
    weighs_turns: ClassVar[bool] = True

    def choose(self, case: Case) -> IndexArray:
        """Chooses per row at the price in force, see ``Policy.choose``."""
        return decide_case(case)

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives BEST_SCORE where no eligible model scores higher, PRICE elsewhere."""
        return reasons(case.scores, case.mask, choice)
