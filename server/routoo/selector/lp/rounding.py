"""Whole prompts from a fractional optimum, within the limits.

At most K prompts of the optimum are split. Each of them gets the model of its largest share, which
may exceed some limits and leave others unused. A local search over the prompts nearest to a tie,
with one or two moves at a time, then removes the excess and spends what is left. Two moves are
needed where capacities are full: a prompt can move only when another makes room for it. Where
longer chains of moves are needed, a small integer program over the same prompts finds them.
"""

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.branch_and_bound import solve_whole
from routoo.selector.lp.column_generation import Fractional
from routoo.selector.lp.local_search import Moves
from routoo.selector.lp.problem import SUM_RTOL
from routoo.selector.lp.program import Program

# Prompts that may move: those of least loss among all and in each group of prompts that has a row
# of its own, and those of least loss from each model to each other. The latter are needed because,
# where prompts are alike, the moves of least loss may all be between the same two models.
_LEAST_LOSS = 300
_LEAST_LOSS_PER_GROUP = 8
_LEAST_LOSS_PER_PAIR = 3

# Most steps of the local search, and additional ones for every row.
_STEPS = 100
_STEPS_PER_ROW = 4

# Most cells of the integer program.
_WHOLE_CELLS = 30_000


def round_to_whole(program: Program, found: Fractional) -> IndexArray:
    """Give every prompt one model, int [n]; ``excess`` tells whether it keeps the limits."""
    choice = found.choice.copy()
    loss = _loss(program.reduced(found.prices), choice)
    split = found.open_rows[(found.shares > 0.0).sum(axis=1) > 1]
    movable = np.union1d(_of_least_loss(program, loss), split)
    _improve(program, choice, loss, movable)
    if excess(program, choice).any():
        movable = np.union1d(movable, _of_each_pair(loss, choice))
        _improve(program, choice, loss, movable)
    n, m = loss.shape
    while excess(program, choice).any():
        whole = solve_whole(program, choice, movable)
        if whole is not None:
            _improve(program, whole, loss, movable)
            return whole
        wider = min(n, 4 * len(movable), _WHOLE_CELLS // m)
        if wider <= len(movable):
            break
        least = np.argsort(loss.min(axis=1), kind="stable")[:wider]
        movable = np.union1d(movable, least)
    return choice


def excess(program: Program, choice: IndexArray) -> FloatArray:
    """Return the scaled amount by which a choice [n] exceeds each limit: [K], 0 within it."""
    over: FloatArray = np.maximum(_over(program, choice), 0.0)
    return over


def _over(program: Program, choice: IndexArray) -> FloatArray:
    """Return usage minus limit, [K]; an error that the order of summing makes does not count."""
    used = program.used(np.arange(len(choice)), choice)
    return used - program.limits - SUM_RTOL * np.abs(program.limits)


def _improve(program: Program, choice: IndexArray, loss: FloatArray, movable: IndexArray) -> None:
    """Move prompts while that removes excess or adds value; changes ``choice``."""
    moves = Moves(program, movable, loss[movable])
    for _ in range(_STEPS + _STEPS_PER_ROW * len(program.limits)):
        taken = moves.best(choice, _over(program, choice))
        if not taken.size:
            return
        choice[moves.prompts[taken]] = moves.models[taken]


def _loss(reduced: FloatArray, choice: IndexArray) -> FloatArray:
    """Return each cell's loss against the chosen one, [n, m]; inf in chosen and closed cells."""
    rows = np.arange(len(choice))
    loss: FloatArray = reduced[rows, choice][:, None] - reduced
    loss[rows, choice] = np.inf
    return loss


def _of_least_loss(program: Program, loss: FloatArray) -> IndexArray:
    """Return the prompts that lose least by a move, among all and in each group with a row."""
    n = len(loss)
    least = loss.min(axis=1)
    groups = [
        _first_of_each(sheet.owner[:, 0], least, _LEAST_LOSS_PER_GROUP)
        for sheet in program.sheets
        if sheet.owner.shape == (n, 1)
    ]
    found: IndexArray = np.concatenate(
        (np.argpartition(least, min(_LEAST_LOSS, n - 1))[:_LEAST_LOSS], *groups)
    )
    movable: IndexArray = found[np.isfinite(least[found])]
    return movable


def _of_each_pair(loss: FloatArray, choice: IndexArray) -> IndexArray:
    """Return the prompts that lose least by a move from each model to each other."""
    m = loss.shape[1]
    pair = (choice[:, None] * m + np.arange(m)).ravel()
    cells = _first_of_each(pair, loss.ravel(), _LEAST_LOSS_PER_PAIR)
    prompts: IndexArray = cells[np.isfinite(loss.ravel()[cells])] // m
    return prompts


def _first_of_each(group: IndexArray, figures: FloatArray, count: int) -> IndexArray:
    """Return the indices of the ``count`` least figures of each group."""
    order = np.lexsort((figures, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < count]
