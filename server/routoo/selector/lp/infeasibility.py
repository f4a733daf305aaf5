"""Errors that tell why no choice keeps the limits, and how to relax them."""

from dataclasses import replace

import numpy as np

from routoo.errors import InfeasibleError
from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.column_generation import Fractional, solve_fractional
from routoo.selector.lp.problem import MEAN_SCORE_FLOOR, SUM_RTOL, Resource
from routoo.selector.lp.program import Program
from routoo.selector.lp.remedies import enough_in_sum, unreachable
from routoo.selector.lp.rounding import excess, round_to_whole

# A row whose price is this far below the largest is no part of the conflict.
_PRICE_RTOL = 1e-6

# Most rows that a message names, those with the highest prices first, to keep it readable.
_NAMED = 4


def conflict(program: Program, rows: tuple[Resource, ...], found: Fractional) -> InfeasibleError:
    """Report rows that not even a fractional choice keeps: one alone, or several together.

    Each remedy in the message suffices: to raise one row by its amount leaves a choice of whole
    prompts.

    Args:
        program: the program.
        rows: its rows.
        found: the last state of the solver; rows with a price in it conflict with each other.
    """
    n = len(program.values)
    opposed = np.flatnonzero(found.prices > _PRICE_RTOL * found.prices.max())
    usages = {k: program.usage_of_row(k) for k in opposed.tolist()[: 4 * _NAMED]}
    for k, usage in usages.items():
        least = float(np.where(np.isfinite(program.values), usage, np.inf).min(axis=1).sum())
        if least > program.limits[k] + SUM_RTOL * abs(program.limits[k]):
            return unreachable(rows[k], least * float(program.units[k]), n)
    by_price = opposed[np.argsort(-found.prices[opposed], kind="stable")]
    named = sorted(by_price[:_NAMED].tolist())
    names = " and ".join(rows[k].name for k in named)
    if len(opposed) > len(named):
        names += f" and {len(opposed) - len(named)} more"
    remedies = []
    for k in named:
        needed = _least_beside_the_others(program, usages, k)
        if needed is not None:
            remedies.append(_remedy(program, rows, k, needed - float(program.limits[k])))
    if not remedies:
        return unroundable(
            program, rows, round_to_whole(program, found), f"{names} cannot be kept together"
        )
    return InfeasibleError(f"{names} cannot be kept together; {' or '.join(remedies)}")


def unroundable(
    program: Program, rows: tuple[Resource, ...], choice: IndexArray, reason: str = ""
) -> InfeasibleError:
    """Report rows that the best choice of whole prompts that was found does not keep.

    To raise all of them by the amounts in the message leaves that choice.

    Args:
        program: the program.
        rows: its rows.
        choice: int [n], that choice.
        reason: begins the message; "": the rows leave no room for whole prompts.
    """
    over = excess(program, choice)
    broken = np.flatnonzero(over).tolist()
    if not reason:
        binding = broken if len(rows) > _NAMED else range(len(rows))
        reason = (
            f"{' and '.join(rows[k].name for k in binding)} leave no room to give every prompt one "
            "model as a whole"
        )
    remedies = " and ".join(_remedy(program, rows, k, float(over[k])) for k in broken)
    return InfeasibleError(f"{reason}; {remedies}")


def _remedy(program: Program, rows: tuple[Resource, ...], k: int, scaled: float) -> str:
    amount = scaled * float(program.units[k])
    if rows[k].is_mean:
        amount /= len(program.values)
    told = enough_in_sum(amount)
    if rows[k].name == MEAN_SCORE_FLOOR:
        return f"lower {MEAN_SCORE_FLOOR} by at least {told}"
    return f"raise {rows[k].name} by at least {told}"


def _least_beside_the_others(
    program: Program, usages: dict[int, FloatArray], k: int
) -> float | None:
    """Return the least scaled usage of row k with which whole prompts keep all other limits.

    None where none was found.
    """
    usage = usages[k] if k in usages else program.usage_of_row(k)
    limits = program.limits.copy()
    limits[k] = float(np.abs(usage).max(axis=1).sum())
    values = np.where(np.isfinite(program.values), -usage, -np.inf)
    least = replace(program, values=values, limits=limits)
    found = solve_fractional(least)
    if not found.keeps_limits:
        return None
    choice = round_to_whole(least, found)
    if excess(least, choice).any():
        return None
    return float(usage[np.arange(len(choice)), choice].sum())
