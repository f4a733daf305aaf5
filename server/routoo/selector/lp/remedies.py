"""Errors that tell by how much a limit has to move."""

from routoo.errors import InfeasibleError
from routoo.selector.arrays import enough
from routoo.selector.lp.problem import MEAN_SCORE_FLOOR, SUM_RTOL, Resource


def too_low(name: str, limit: float, least: float) -> InfeasibleError:
    """Say that ``limit`` is below the least that any choice needs, and by how much to raise it."""
    return InfeasibleError(
        f"{name} {limit:.6g} is below the least possible {enough_in_sum(least)}; "
        f"raise it by {enough_in_sum(least - limit)}"
    )


def too_high(name: str, floor: float, most: float) -> InfeasibleError:
    """Say that ``floor`` is above the most that any choice reaches, and by how much to lower it."""
    return InfeasibleError(
        f"{name} {floor:.6g} is above the highest possible {most:.6g}; "
        f"lower it by {enough_in_sum(floor - most)}"
    )


def unreachable(row: Resource, least: float, n: int) -> InfeasibleError:
    """Say that a row's limit is below the least usage of any choice, and by how much to move it.

    Args:
        row: the row.
        least: the least usage, summed over prompts, in the row's unit.
        n: prompts.
    """
    if row.name == MEAN_SCORE_FLOOR:
        return too_high(row.name, -row.limit / n, -least / n)
    prompts = n if row.is_mean else 1
    return too_low(row.name, row.limit / prompts, least / prompts)


def enough_in_sum(amount: float) -> str:
    """Format a sum like ``enough``, but ignore errors that come from the order of summing."""
    return enough(amount * (1.0 - SUM_RTOL))
