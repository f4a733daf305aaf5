"""One step of the local search: the one or two moves of most merit."""

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.lp.program import Program

# Scaled value that one scaled unit of excess costs, so high that excess is removed first.
_EXCESS_PENALTY = 1e6

# A gain below this, in scaled value, may come from rounding and is not taken.
_LEAST_GAIN = 1e-9

# Moves that are paired: those of most merit alone, those of least loss, and for each exceeded row
# those of least loss that relieve it.
_PAIRED = 64
_PAIRED_PER_ROW = 12
_ROWS_PAIRED = 12


class Moves:
    """Every move of some prompts to any of their models.

    Args:
        program: the values and limits.
        movable: int [r], the prompts.
        loss: float64 [r, m], loss of a move at the optimum's prices; inf in the cells that the
            optimum chose, and in closed ones.

    Attributes:
        prompts: int [c], the prompt of each move.
        models: int [c], its new model.
    """

    __slots__ = ("_gain", "_loss", "_prompt", "_usage", "models", "prompts")

    def __init__(self, program: Program, movable: IndexArray, loss: FloatArray) -> None:
        at, self.models = np.nonzero(np.isfinite(program.values[movable]))
        self.prompts = movable[at]
        # A prompt that moves back to the optimum's model loses nothing.
        self._loss = np.where(np.isfinite(loss), loss, 0.0)[at, self.models]
        self._usage = program.usage(self.prompts, self.models).T.tocsr()
        self._gain = program.values[self.prompts, self.models]
        self._prompt = at

    def best(self, choice: IndexArray, over: FloatArray) -> IndexArray:
        """Find the one or two moves of most merit.

        Args:
            choice: int [n], the present choice.
            over: float64 [K], amount by which each limit is exceeded, negative where there is room.

        Returns:
            Indices of the moves; none if no move helps.
        """
        if not self.prompts.size:
            return np.zeros(0, dtype=np.intp)
        # The present cell of each move's prompt. Cells are sorted by prompt, then by model.
        is_now = self.models == choice[self.prompts]
        now = np.flatnonzero(is_now)[self._prompt]
        extra = self._usage - self._usage[now]
        gain = self._gain - self._gain[now]
        row = np.repeat(np.arange(len(gain)), np.diff(extra.indptr))
        room = over[extra.indices]
        more = np.maximum(room + extra.data, 0.0) - np.maximum(room, 0.0)
        merit = gain - _EXCESS_PENALTY * np.bincount(row, weights=more, minlength=len(gain))
        merit[is_now] = -np.inf
        single = int(merit.argmax())
        if merit[single] > _LEAST_GAIN:
            return np.array([single])
        relieves: list[BoolArray] = []
        for k in np.argsort(-over, kind="stable")[:_ROWS_PAIRED]:
            if over[k] > 0.0:
                is_less = np.zeros(len(gain), dtype=np.bool_)
                is_less[row[(extra.indices == k) & (extra.data < 0.0)]] = True
                relieves.append(is_less & ~is_now)
        paired = self._paired(merit, is_now, relieves)
        dense = extra[paired].T.toarray()
        return paired[_best_pair(self.prompts[paired], gain[paired], dense, over)]

    def _paired(
        self, merit: FloatArray, is_now: BoolArray, relieves: list[BoolArray]
    ) -> IndexArray:
        """Return the moves that are tried in pairs."""
        loss = np.where(is_now, np.inf, self._loss)
        first = [_least(-merit, _PAIRED), _least(loss, _PAIRED)]
        first += [_least(np.where(less, loss, np.inf), _PAIRED_PER_ROW) for less in relieves]
        found = np.unique(np.concatenate(first))
        return found[~is_now[found]]


def _least(figures: FloatArray, count: int) -> IndexArray:
    """Return the indices of the ``count`` least figures, without infinite ones."""
    found = np.argpartition(figures, min(count, len(figures) - 1))[:count]
    return found[np.isfinite(figures[found])]


def _best_pair(
    prompts: IndexArray, gain: FloatArray, extra: FloatArray, over: FloatArray
) -> IndexArray:
    """Find the two moves of most merit.

    Args:
        prompts: int [c], the prompt of each move.
        gain: float64 [c], gain in value.
        extra: float64 [K, c], additional usage.
        over: float64 [K], amount by which each limit is exceeded.
    """
    touched = np.flatnonzero(extra.any(axis=1))
    total = gain[:, None] + gain
    excess = np.zeros_like(total)
    for k in touched:
        excess += np.maximum(over[k] + extra[k][:, None] + extra[k], 0.0)
    merit = np.where(prompts[:, None] == prompts, -np.inf, total - _EXCESS_PENALTY * excess)
    now = -_EXCESS_PENALTY * float(np.maximum(over[touched], 0.0).sum())
    if not merit.size or merit.max() <= now + _LEAST_GAIN:
        return np.zeros(0, dtype=np.intp)
    return np.array(np.unravel_index(merit.argmax(), merit.shape))
