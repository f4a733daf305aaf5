"""One coupling row, solved exactly: the multiple-choice knapsack's linear relaxation.

Only the vertices of a row's upper hull (value over usage) can be optimal at some price. Each row
has a bracket of two of them, a cheap and an expensive one. With two candidates per row the program
is a continuous knapsack, solved by sorting (Dantzig 1957). Then all models are compared at its
price: one that beats both candidates of its row narrows the bracket, and rows whose bracket has
closed are settled. The search ends when no model beats its row's candidates: then the restricted
optimum is the optimum (column generation; the dominance rules are those of Sinha and Zoltners
1979). Two to four passes are usual. Each pass reduces the number of models inside the brackets, so
the search always ends.
"""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.problem import SUM_RTOL, Optimum

# A pass that gains less than this, relative to the objective, is the last: the rest is rounding.
_PASS_RTOL = 1e-13

# Each round of filling spends what the previous one left; after four, hardly anything is left.
_FILL_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class _Relaxed:
    """Optimum of the linear program, in which at most one row is split between two models.

    Attributes:
        choice: int [n], the model of each row; of the split row its cheap end.
        price: dual price of the limit, value per unit of usage.
        split: the row that may be split.
        expensive: the expensive end of the split row.
        fraction: share of the split row that goes to ``expensive``, in [0, 1].
    """

    choice: IndexArray
    price: float
    split: int
    expensive: int
    fraction: float


class UnreachableError(Exception):
    """Even the choice of least usage is over the limit.

    Attributes:
        least: the usage of that choice.
    """

    def __init__(self, least: float) -> None:
        super().__init__(least)
        self.least = least


def solve_row(values: FloatArray, usage: FloatArray, limit: float) -> Optimum:
    """Maximise the summed value while the summed usage is at most ``limit``.

    Args:
        values: float64 [n, m], -inf in cells that may not be chosen.
        usage: float64 [n, m], finite everywhere, of any sign.
        limit: float, in the unit of ``usage``.

    Returns:
        The optimum. Its summed usage is at most ``limit``; an excess of 1e-12 of the limit is
        allowed, as it may come from the order of summing.

    Raises:
        UnreachableError: no choice is within the limit.
    """
    rows = np.arange(len(values))
    cheap, expensive = extremes(values, usage)
    least = float(usage[rows, cheap].sum())
    limit += SUM_RTOL * abs(limit)
    if least > limit:
        raise UnreachableError(least)
    if float(usage[rows, expensive].sum()) <= limit:
        value = float(values[rows, expensive].sum())
        return Optimum(expensive, np.zeros(1), value, value)
    relaxed = _relax(values, usage, limit, cheap, expensive)
    choice = relaxed.choice
    relaxed_value = float(values[rows, choice].sum())
    if relaxed.fraction > 0.0:
        step = (
            values[relaxed.split, relaxed.expensive] - values[relaxed.split, choice[relaxed.split]]
        )
        relaxed_value += relaxed.fraction * float(step)
    best = (values - relaxed.price * usage).max(axis=1)
    bound = relaxed.price * limit + float(best.sum())
    fill(values, usage, limit, choice)
    return Optimum(choice, np.array([relaxed.price]), relaxed_value, bound)


def extremes(values: FloatArray, usage: FloatArray) -> tuple[IndexArray, IndexArray]:
    """Return the choices at an infinite price and at a price of 0.

    They have the least usage and the most value; of cells that tie, the other figure decides.

    Args:
        values: float64 [n, m], -inf in cells that may not be chosen.
        usage: float64 [n, m], finite everywhere.

    Returns:
        Two arrays, int [n].
    """
    least = np.where(values > -np.inf, usage, np.inf)
    cheap = np.where(least == least.min(axis=1, keepdims=True), values, -np.inf).argmax(axis=1)
    most = values.max(axis=1, keepdims=True)
    expensive = np.where(values == most, usage, np.inf).argmin(axis=1)
    return cheap, expensive


def _relax(
    values: FloatArray, usage: FloatArray, limit: float, cheap: IndexArray, expensive: IndexArray
) -> _Relaxed:
    """Solve the LP; ``limit`` lies between the usage of all cheap and of all expensive ends."""
    choice = cheap.copy()
    all_rows = np.arange(len(values))
    scale = float(np.abs(values[all_rows, expensive]).sum() + np.abs(values[all_rows, cheap]).sum())
    room = limit - float(usage[all_rows, cheap].sum())
    # Where both ends have the same value, they have the same usage too, by the tie-breaks.
    open_rows = np.flatnonzero(values[all_rows, expensive] > values[all_rows, cheap])
    values, usage = values[open_rows], usage[open_rows]
    cheap, expensive = cheap[open_rows], expensive[open_rows]
    while True:
        rows = np.arange(len(open_rows))
        cheap_value, cheap_usage = values[rows, cheap], usage[rows, cheap]
        expensive_value, expensive_usage = values[rows, expensive], usage[rows, expensive]
        gain, extra = expensive_value - cheap_value, expensive_usage - cheap_usage
        ratio = gain / extra
        order = np.argsort(-ratio, kind="stable")
        spent = np.cumsum(extra[order])
        # The rows in front of ``at`` move to their expensive end as a whole, the row at ``at`` does
        # so in part.
        at = min(int(np.searchsorted(spent, room, side="right")), len(order) - 1)
        price = float(ratio[order[at]])

        priced = values - price * usage
        best = priced.argmax(axis=1)
        best_usage = usage[rows, best]
        better = priced[rows, best] - np.maximum(
            cheap_value - price * cheap_usage, expensive_value - price * expensive_usage
        )
        # A strict improvement lies strictly inside its bracket; what does not is rounding.
        inside = (better > 0.0) & (best_usage > cheap_usage) & (best_usage < expensive_usage)
        if float(better[inside].sum()) <= _PASS_RTOL * scale:
            moved = order[:at]
            choice[open_rows] = cheap
            choice[open_rows[moved]] = expensive[moved]
            before = float(spent[at - 1]) if at else 0.0
            split = order[at]
            fraction = float(np.clip((room - before) / extra[split], 0.0, 1.0))
            return _Relaxed(choice, price, int(open_rows[split]), int(expensive[split]), fraction)

        upper = np.where(ratio > price, expensive, cheap)
        best = np.where(inside, best, upper)
        if float((usage[rows, best] - cheap_usage).sum()) > room:
            expensive = best
        else:
            choice[open_rows] = cheap = best
            room -= float((usage[rows, best] - cheap_usage).sum())
        still_open = cheap != expensive
        open_rows, values, usage = open_rows[still_open], values[still_open], usage[still_open]
        cheap, expensive = cheap[still_open], expensive[still_open]


def fill(values: FloatArray, usage: FloatArray, limit: float, choice: IndexArray) -> None:
    """Spend what ``choice`` leaves of the limit, best value per usage first.

    Args:
        values: float64 [n, m], -inf in cells that may not be chosen.
        usage: float64 [n, m], finite everywhere.
        limit: in the unit of ``usage``; the usage of ``choice`` stays at or under it.
        choice: int [n]; is changed.
    """
    rows = np.arange(len(values))
    for _ in range(_FILL_ROUNDS):
        left = limit - float(usage[rows, choice].sum())
        extra = usage - usage[rows, choice][:, None]
        gain = np.where(extra <= left, values - values[rows, choice][:, None], 0.0)
        to = gain.argmax(axis=1)
        candidates = np.flatnonzero(gain[rows, to] > 0.0)
        if not candidates.size:
            return
        more = np.maximum(extra[candidates, to[candidates]], 0.0)
        with np.errstate(divide="ignore"):
            ratio = gain[candidates, to[candidates]] / more
        order = np.argsort(-ratio, kind="stable")
        taken = candidates[order[np.cumsum(more[order]) <= left]]
        before = choice[taken].copy()
        choice[taken] = to[taken]
        # The running sum and the sum over all rows round differently; the latter has to keep the
        # limit, so the last moves are undone until it does.
        undo = len(taken)
        while undo and float(usage[rows, choice].sum()) > limit:
            undo -= 1
            choice[taken[undo]] = before[undo]
