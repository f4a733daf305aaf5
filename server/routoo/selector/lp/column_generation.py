"""K coupling rows: the exact optimum of the linear program by column generation.

The dual has one price per row. At prices from the smoothed dual, all but a few hundred prompts have
a clear best model. Those prompts are fixed; the others form a small program that HiGHS solves
exactly. Then every model of every prompt is compared at its prices. A model that beats its prompt's
candidates becomes a candidate; when there is none, the optimum of the small program is that of the
whole one. The dual at the final prices certifies this, however they were found.

Limits may be exceeded at a penalty, so that the small program always has a solution; the penalty
bounds the prices. Prices at which even the least usage costs more than the limits are worth prove
that no choice keeps the limits. Excess without that proof may mean that the penalty was too small;
then the program is solved with a higher one.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.lp.program import Program
from routoo.selector.lp.smoothed_dual import last_temperature, smooth_optimum, soft_shares

# Relative distance between the dual bound and the primal value at which the search ends.
_GAP_RTOL = 1e-9

# Programs up to this many cells go to HiGHS whole: it needs a few milliseconds for them.
_WHOLE_CELLS = 2_000

# Prompts per coupling row that stay undecided at first, those nearest to a tie.
_OPEN_PROMPTS_PER_ROW = 25

# Penalties of one scaled unit over a limit, in scaled value; the first is far above usual prices.
_PENALTIES = (1e3, 1e7)

# Scaled excess over all limits that counts as none.
_EXCESS_ATOL = 1e-9

# If limits are still exceeded after this many passes, a proof of infeasibility is looked for.
_DOUBTFUL_PASSES = 3

# A prompt ties when its margin is under this many temperatures: its second-best model then has a
# share that matters.
_TIED = 5.0

# The multiples of this number, modulo 1, cover the unit interval most evenly.
_GOLDEN_RATIO = (5.0**0.5 - 1.0) / 2.0

_HIGHS_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, slots=True)
class Fractional:
    """Optimum of the linear program, in its scaled units.

    Attributes:
        prices: float64 [K], dual prices.
        bound: dual value at the prices.
        value: primal value.
        choice: int [n], the model of the largest share.
        open_rows: int [r], the prompts near a tie, which the last small program decided.
        shares: float64 [r, m], shares of the models of these prompts; at most K prompts are split.
        excess: float64 [K], amount by which each limit is exceeded.
    """

    prices: FloatArray
    bound: float
    value: float
    choice: IndexArray
    open_rows: IndexArray
    shares: FloatArray
    excess: FloatArray

    @property
    def keeps_limits(self) -> bool:
        return float(self.excess.sum()) <= _EXCESS_ATOL


def solve_fractional(program: Program) -> Fractional:
    """Solve the program; where no choice keeps all limits, the result does not either."""
    for penalty in _PENALTIES:
        found = _generate(program, penalty)
        if found.keeps_limits or program.proves_infeasible(found.prices):
            return found
    return found


def _generate(program: Program, most: float) -> Fractional:
    """Solve by column generation with prices in [0, most].

    Each pass but the last adds cells, so there is a last one. The prices of the small program vary
    strongly while cells are missing. Therefore cells that are better at prices nearer to the best
    so far are added too, which saves a third of the passes (stabilisation as in Wentges 1997).
    """
    (n, m), rows = program.values.shape, len(program.limits)
    center: FloatArray | None = None
    if n * m <= _WHOLE_CELLS:
        candidates = np.isfinite(program.values)
    else:
        center = smooth_optimum(program, most).prices
        candidates = _near_best(program, center)
    added = _open_prompts(n, rows)
    passes = 0
    while True:
        small = _solve_small(program, candidates, most)
        passes += 1
        bound, opened = _open_better(program, candidates, small.prices, added)
        if bound - small.value <= _GAP_RTOL * abs(bound) or not opened:
            return replace(small, bound=bound)
        if not small.keeps_limits:
            prices = _run_off(program, most) if passes == _DOUBTFUL_PASSES else small.prices
            if program.proves_infeasible(prices):
                return replace(small, prices=prices, bound=bound)
        if center is not None:
            between = 0.5 * (center + small.prices)
            duals = [
                (_open_better(program, candidates, prices, added)[0], prices)
                for prices in (center, between)
            ]
            center = min((bound, small.prices), *duals, key=lambda dual: dual[0])[1]
        added *= 2


def _open_better(
    program: Program, candidates: BoolArray, prices: FloatArray, count: int
) -> tuple[float, int]:
    """Make candidates of the ``count`` cells that beat their prompts' candidates by most.

    Far from the optimum many cells are better, and most of them only at the present prices.

    Returns:
        The dual value at the prices, and the number of cells that became candidates.
    """
    reduced = program.reduced(prices)
    best = reduced.max(axis=1)
    missed = best - np.where(candidates, reduced, -np.inf).max(axis=1)
    better = np.flatnonzero(missed > 0.0)
    worst = better[np.argsort(-missed[better], kind="stable")[:count]]
    candidates[worst, reduced[worst].argmax(axis=1)] = True
    return float(prices @ program.limits + best.sum()), len(worst)


def _run_off(program: Program, most: float) -> FloatArray:
    """Return prices [K] at the least dual of the program without values.

    If the limits cannot be kept, these prices probably prove it.
    """
    return smooth_optimum(program.without_values(), most).prices


def _open_prompts(n: int, rows: int) -> int:
    return min(n, _OPEN_PROMPTS_PER_ROW * rows)


def _near_best(program: Program, prices: FloatArray) -> BoolArray:
    """Return the candidate cells near these prices, bool [n, m]; most prompts have just one."""
    reduced = program.reduced(prices)
    second, best = np.partition(reduced, -2, axis=1)[:, -2:].T
    margin = best - second
    by_margin = np.argsort(margin, kind="stable")
    open_count = _open_prompts(len(reduced), len(prices))
    open_rows, others = by_margin[:open_count], by_margin[open_count:]
    temperature = last_temperature(len(reduced))
    reach = max(_TIED * temperature, float(margin[open_rows[-1]]))
    candidates = np.zeros(reduced.shape, dtype=np.bool_)
    near = reduced[open_rows] >= best[open_rows, None] - reach
    candidates[open_rows] = near & np.isfinite(reduced[open_rows])
    candidates[others, reduced[others].argmax(axis=1)] = True

    # Where many prompts are alike, more of them tie than can stay open. They are distributed evenly
    # by the shares of the soft maximum, which gives almost the right usage; the open prompts adjust
    # it.
    tied = np.sort(others[margin[others] < _TIED * temperature])
    if len(tied) > open_count:
        shares = soft_shares(reduced[tied] - best[tied, None], temperature)
        upto = np.cumsum(shares, axis=1)
        even = ((np.arange(len(tied)) + 1.0) * _GOLDEN_RATIO) % 1.0
        candidates[tied] = False
        candidates[tied, (upto < (even * upto[:, -1])[:, None]).sum(axis=1)] = True
    return candidates


def _solve_small(program: Program, candidates: BoolArray, most: float) -> Fractional:
    """Solve the program over the candidate cells only; ``bound`` is not computed."""
    per_row = candidates.sum(axis=1)
    choice: IndexArray = candidates.argmax(axis=1)
    fixed = np.flatnonzero(per_row == 1)
    open_rows = np.flatnonzero(per_row > 1)
    base = program.used(fixed, choice[fixed])
    base_value = float(program.values[fixed, choice[fixed]].sum())

    at, models = np.nonzero(candidates[open_rows])
    cells, rows = len(at), len(program.limits)
    usage = program.usage(open_rows[at], models)
    found = linprog(  # type: ignore[call-overload]  # the stubs know dense arrays only
        np.concatenate((-program.values[open_rows[at], models], np.full(rows, most))),
        A_ub=hstack((usage, -eye_array(rows)), format="csr"),
        b_ub=program.limits - base,
        A_eq=csr_array(
            (np.ones(cells), (at, np.arange(cells))), shape=(len(open_rows), cells + rows)
        ),
        b_eq=np.ones(len(open_rows)),
        method="highs-ds",
        options=_HIGHS_OPTIONS,
    )
    if found.status != 0:
        raise RuntimeError(f"HiGHS ended with {found.message}")
    shares = np.zeros((len(open_rows), candidates.shape[1]))
    shares[at, models] = found.x[:cells]
    choice[open_rows] = shares.argmax(axis=1)
    return Fractional(
        prices=np.clip(-found.ineqlin.marginals, 0.0, most),
        bound=np.inf,
        value=base_value - float(found.fun),
        choice=choice,
        open_rows=open_rows,
        shares=shares,
        excess=found.x[cells:],
    )
