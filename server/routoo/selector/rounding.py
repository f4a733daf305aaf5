"""Whole prompts from a fractional optimum, without breaking a limit.

At most K prompts of the optimum are split. Each goes to the model of its largest share, which may
exceed some limits and leave others unused. A local search over the moves that lose least at the
optimum's prices, one or two at a time, then removes the excess and spends what is left: two at a
time, because where capacities are full a prompt can only move when another makes room for it.
"""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.coupled import Fractional
from routoo.selector.problem import SUM_RTOL
from routoo.selector.program import Program

# Moves considered at each step, those of least loss.
_MOVES = 96

# If these find no way: from each model to each other. Where prompts are alike, the moves of least
# loss may all be the same one.
_MOVES_PER_PAIR = 3

# Scaled value that one scaled unit of excess must be worth, so that removing it comes first.
_EXCESS_PENALTY = 1e6

# A step that gains less, in scaled value, is rounding.
_LEAST_GAIN = 1e-9

_MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class _Moves:
    """Moves of one prompt each: where to, what it gains [c] and what it uses more [K, c]."""

    prompts: IndexArray
    models: IndexArray
    gain: FloatArray
    extra: FloatArray


def round_to_whole(program: Program, found: Fractional) -> IndexArray:
    """Give every prompt one model, int [n]; look at `excess` whether the limits could be kept."""
    choice = found.choice.copy()
    reduced = program.reduced(found.prices)
    for pick in (_moves_of_least_loss, _moves_of_each_pair):
        for _ in range(_MAX_STEPS):
            moves = _moves(program, choice, pick(reduced, choice))
            taken = _best_pair(moves, _over(program, choice))
            if not taken.size:
                break
            choice[moves.prompts[taken]] = moves.models[taken]
        if not excess(program, choice).any():
            break
    return choice


def excess(program: Program, choice: IndexArray) -> FloatArray:
    """By how much a choice [n] exceeds each limit, scaled: [K], 0 where it keeps to it."""
    over: FloatArray = np.maximum(_over(program, choice), 0.0)
    return over


def _over(program: Program, choice: IndexArray) -> FloatArray:
    """Usage minus limit, [K]; what only the order of summing adds does not count."""
    used: FloatArray = program.usage(np.arange(len(choice)), choice).sum(axis=1)
    return used - program.limits - SUM_RTOL * np.abs(program.limits)


def _moves_of_least_loss(reduced: FloatArray, choice: IndexArray) -> IndexArray:
    """Flat indices of the cells that lose least at the optimum's prices."""
    loss = _loss(reduced, choice)
    cells = np.argpartition(loss, min(_MOVES, loss.size - 1), axis=None)[:_MOVES]
    return cells[np.isfinite(loss.ravel()[cells])]


def _moves_of_each_pair(reduced: FloatArray, choice: IndexArray) -> IndexArray:
    """Flat indices of the cells that lose least among those from one model to the same other."""
    loss = _loss(reduced, choice)
    m = loss.shape[1]
    pair = (choice[:, None] * m + np.arange(m)).ravel()
    order = np.lexsort((loss.ravel(), pair))
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    cells = order[rank < _MOVES_PER_PAIR]
    return cells[np.isfinite(loss.ravel()[cells])]


def _loss(reduced: FloatArray, choice: IndexArray) -> FloatArray:
    """What each cell loses against the chosen one, [n, m]; inf for the chosen and closed ones."""
    rows = np.arange(len(choice))
    loss: FloatArray = reduced[rows, choice][:, None] - reduced
    loss[rows, choice] = np.inf
    return loss


def _moves(program: Program, choice: IndexArray, cells: IndexArray) -> _Moves:
    prompts, models = np.divmod(cells, program.values.shape[1])
    now = choice[prompts]
    return _Moves(
        prompts,
        models,
        program.values[prompts, models] - program.values[prompts, now],
        program.usage(prompts, models) - program.usage(prompts, now),
    )


def _best_pair(moves: _Moves, over: FloatArray) -> IndexArray:
    """Find the one or two moves, indices, of most merit; none if they would not help.

    `over` [K] is by how much each limit is exceeded, negative where there is room.
    """
    gain = moves.gain[:, None] + moves.gain
    excess = np.zeros_like(gain)
    for row, extra in enumerate(moves.extra):
        excess += np.maximum(over[row] + extra[:, None] + extra, 0.0)
    same_prompt = moves.prompts[:, None] == moves.prompts
    pair_merit = np.where(same_prompt, -np.inf, gain - _EXCESS_PENALTY * excess)
    # On the diagonal stands the single move.
    single = np.maximum(over[:, None] + moves.extra, 0.0).sum(axis=0)
    np.fill_diagonal(pair_merit, moves.gain - _EXCESS_PENALTY * single)
    now = -_EXCESS_PENALTY * float(np.maximum(over, 0.0).sum())
    if not pair_merit.size or pair_merit.max() <= now + _LEAST_GAIN:
        return np.zeros(0, dtype=np.intp)
    return np.unique(np.unravel_index(pair_merit.argmax(), pair_merit.shape))
