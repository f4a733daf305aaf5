"""The entry point of the linear program: from a problem to the best assignment and its proof."""

from dataclasses import replace

import numpy as np

from routoo.errors import InfeasibleError
from routoo.selector.arrays import BoolArray, FloatArray
from routoo.selector.lp.knapsack import UnreachableError, extremes, solve_row
from routoo.selector.lp.knapsack_large import solve_large
from routoo.selector.lp.problem import (
    BUDGET,
    MEAN_SCORE_FLOOR,
    SUM_RTOL,
    Assignment,
    Objective,
    Optimum,
    Problem,
    Resource,
    mean_score_floor,
)
from routoo.selector.lp.remedies import enough_in_sum, too_high, unreachable

# From this size on, the method that reads blocks in order is several times faster than sorting.
_LARGE_CELLS = 500_000


def solve(problem: Problem, objective: Objective = Objective.MOST_SCORE) -> Assignment:
    """Choose one eligible model per prompt, jointly.

    MOST_SCORE makes the summed score as high as the resources allow; a mean-score floor that is
    then missed makes the problem infeasible. LEAST_COST makes the summed cost as low as the floor
    and the resources allow. NET_VALUE makes the summed score minus ``score_per_usd`` times the
    summed cost as high as the floor and the resources allow.

    Raises:
        InfeasibleError: no choice keeps to the rows; tells which and by how much to relax it.
    """
    if objective is Objective.LEAST_COST:
        return _least_cost(problem)
    if objective is Objective.NET_VALUE:
        values = problem.scores - problem.score_per_usd * problem.costs
        return _optimise(problem, values, _rows_with_floor(problem))
    best = _optimise(problem, problem.scores, problem.resources)
    floor = problem.min_mean_score
    if floor is None or best.score / len(problem.scores) >= floor - SUM_RTOL * abs(floor):
        return best
    return _settle_missed_floor(problem, best, floor)


def _least_cost(problem: Problem) -> Assignment:
    return _negated(_optimise(problem, -problem.costs, _rows_with_floor(problem)))


def _rows_with_floor(problem: Problem) -> tuple[Resource, ...]:
    if problem.min_mean_score is None:
        return problem.resources
    return (*problem.resources, mean_score_floor(problem.scores, problem.min_mean_score))


def _negated(least: Assignment) -> Assignment:
    """Turn the maximum of the negative costs into a minimum of the costs."""
    return replace(
        least, value=-least.value, relaxed_value=-least.relaxed_value, bound=-least.bound
    )


def _optimise(problem: Problem, values: FloatArray, rows: tuple[Resource, ...]) -> Assignment:
    """Maximise the summed value over the eligible cells within the rows."""
    values = np.where(problem.mask, values, -np.inf)
    if not rows:
        _, choice = extremes(values, np.where(problem.mask, problem.costs, 0.0))
        value = float(values[np.arange(len(choice)), choice].sum())
        optimum = Optimum(choice, np.zeros(0), value, value)
    elif len(rows) == 1:
        optimum = _solve_one(values, problem.mask, rows[0])
    else:
        # Imports scipy's solvers, which takes half a second and 50 MB; one row does not need them.
        from routoo.selector.lp.coupled import solve_rows  # noqa: PLC0415

        optimum = solve_rows(values, problem.mask, rows)
    at = np.arange(len(values))
    value = float(values[at, optimum.choice].sum())
    return Assignment(
        choice=optimum.choice,
        prices=optimum.prices,
        value=value,
        relaxed_value=optimum.relaxed_value,
        bound=optimum.bound,
        gap=_gap(optimum.bound, value),
        score=float(problem.scores[at, optimum.choice].sum()),
        cost_usd=float(problem.costs[at, optimum.choice].sum()),
        binding=tuple(
            row.name for row, price in zip(rows, optimum.prices, strict=True) if price > 0.0
        ),
    )


def _solve_one(values: FloatArray, mask: BoolArray, row: Resource) -> Optimum:
    usage = np.where(mask, row.cells(mask.shape), 0.0)
    try:
        if values.size >= _LARGE_CELLS:
            return solve_large(values, usage, row.limit)
        return solve_row(values, usage, row.limit)
    except UnreachableError as error:
        raise unreachable(row, error.least, len(values)) from None


def _gap(bound: float, value: float) -> float:
    return 0.0 if bound == value else abs(bound - value) / max(abs(bound), abs(value))


def _settle_missed_floor(problem: Problem, best: Assignment, floor: float) -> Assignment:
    """Settle a best choice below the floor, which may be missed only because prompts are whole.

    The cheapest choice of whole prompts at the floor may still be within the budget. A budget
    that is raised by the amount in the message pays at least for that choice.
    """
    mean_score = best.score / len(problem.scores)
    if not best.binding:
        raise too_high(MEAN_SCORE_FLOOR, floor, mean_score)
    if [row.name for row in problem.resources] != [BUDGET]:
        return _optimise(problem, problem.scores, _rows_with_floor(problem))
    least = _least_cost(replace(problem, resources=()))
    limit = problem.resources[0].limit
    over = least.cost_usd - limit
    if over <= SUM_RTOL * limit:
        return replace(
            best,
            choice=least.choice,
            value=least.score,
            gap=_gap(best.bound, least.score),
            score=least.score,
            cost_usd=least.cost_usd,
        )
    raise InfeasibleError(
        f"{BUDGET} allows a mean score of at most {mean_score:.6g}, below {MEAN_SCORE_FLOOR} "
        f"{floor:.6g}; lower {MEAN_SCORE_FLOOR} by {enough_in_sum(floor - mean_score)} or raise "
        f"{BUDGET} by {enough_in_sum(over)}"
    )
