"""Says why no choice keeps the limits, and what would help."""

from dataclasses import replace

import numpy as np

from routoo.errors import InfeasibleError
from routoo.selector.amounts import enough_in_sum, unreachable
from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.coupled import Fractional, estimate_bound
from routoo.selector.problem import MEAN_SCORE_FLOOR, SUM_RTOL, Resource
from routoo.selector.program import Program
from routoo.selector.rounding import excess

# Prices this far below the largest do not stand for a row that is in the way.
_PRICE_RTOL = 1e-6


def conflict(program: Program, rows: tuple[Resource, ...], found: Fractional) -> InfeasibleError:
    """Rows that not even a fractional choice keeps: one alone, or several together.

    `found` is where the solver stopped; the rows with a price in it stand against each other.
    """
    n = len(program.values)
    opposed = np.flatnonzero(found.prices > _PRICE_RTOL * found.prices.max()).tolist()
    remedies = []
    for k in opposed:
        usage = _usage_of(program, k)
        least = float(usage.min(axis=1).sum())
        if least > program.limits[k] + SUM_RTOL * abs(program.limits[k]):
            return unreachable(rows[k], least * float(program.units[k]), n)
        needed = _least_beside_the_others(program, usage, k)
        if needed is not None:
            remedies.append(_remedy(program, rows, k, needed - float(program.limits[k])))
    names = " and ".join(rows[k].name for k in opposed)
    return InfeasibleError(
        f"{names} cannot be kept together; {' or '.join(remedies) or 'relax more than one of them'}"
    )


def unroundable(
    program: Program, rows: tuple[Resource, ...], choice: IndexArray
) -> InfeasibleError:
    """Rows that a fractional choice keeps, and the best whole one that was found does not."""
    over = excess(program, choice)
    broken = np.flatnonzero(over).tolist()
    remedies = " and ".join(_remedy(program, rows, k, float(over[k])) for k in broken)
    return InfeasibleError(
        f"{' and '.join(row.name for row in rows)} leave no room to give every prompt one model "
        f"as a whole; {remedies}"
    )


def _remedy(program: Program, rows: tuple[Resource, ...], k: int, scaled: float) -> str:
    amount = scaled * float(program.units[k])
    if rows[k].name == MEAN_SCORE_FLOOR:
        return f"lower {MEAN_SCORE_FLOOR} by at least {enough_in_sum(amount / len(program.values))}"
    return f"raise {rows[k].name} by at least {enough_in_sum(amount)}"


def _usage_of(program: Program, k: int) -> FloatArray:
    """Scaled usage [n, m] of one row, inf in closed cells."""
    index, usage = program.per_model
    cells = dict(program.per_cell).get(k)
    if cells is None:
        cells = usage[np.flatnonzero(index == k)]
    return np.where(np.isfinite(program.values), cells, np.inf)


def _least_beside_the_others(program: Program, usage: FloatArray, k: int) -> float | None:
    """Least scaled usage of row k with which all other limits can be kept, if they can."""
    limits = program.limits.copy()
    limits[k] = float(np.where(np.isfinite(usage), usage, 0.0).max(axis=1).sum())
    bound = estimate_bound(replace(program, values=-usage, limits=limits))
    return None if bound is None else -bound
