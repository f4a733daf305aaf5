"""The solution with K coupling rows: the fractional optimum, then whole prompts."""

from routoo.selector.arrays import BoolArray, FloatArray
from routoo.selector.lp.column_generation import solve_fractional
from routoo.selector.lp.infeasibility import conflict, unroundable
from routoo.selector.lp.problem import Optimum, Resource
from routoo.selector.lp.program import make_program
from routoo.selector.lp.rounding import excess, round_to_whole


def solve_rows(values: FloatArray, mask: BoolArray, rows: tuple[Resource, ...]) -> Optimum:
    """Maximise the summed value while every row is kept.

    Args:
        values: float64 [n, m], -inf where ``mask`` is false.
        mask: bool [n, m], eligible cells.
        rows: the coupling rows.

    Raises:
        InfeasibleError: no choice keeps the rows, or none of whole prompts was found; tells which
            rows conflict and by how much to relax them.
    """
    program = make_program(values, mask, rows)
    found = solve_fractional(program)
    if not found.keeps_limits:
        raise conflict(program, rows, found)
    choice = round_to_whole(program, found)
    if excess(program, choice).any():
        raise unroundable(program, rows, choice)
    unit = program.value_unit
    return Optimum(
        choice, found.prices * unit / program.units, found.value * unit, found.bound * unit
    )
