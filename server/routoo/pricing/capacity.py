"""Prices of what providers limit, so that requests spread before a limit is hit.

At an interval, the linear program over the latest requests is solved with a row for each limit: the
mean amount per request that the limit allows at the rate at which requests come. Its duals are the
prices (the scheme of ``routoo.pricing.online``). Requests are charged what they would use of each
limit, so that a scarce provider goes to those who gain most by it, all through the minute. The
prices promise nothing; the limits themselves are kept by whoever counts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from routoo.interval_thread import IntervalThread
from routoo.pricing.demand import Rate
from routoo.selector.lp.knapsack import solve_row
from routoo.selector.lp.problem import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.lp.program import Program

_log = structlog.get_logger("routoo.pricing")
WINDOW_REQUESTS: Final = 500
"""The number of last requests that stand for those to come."""
# Memory of the rate of requests, a quarter of the minute that limits are per: a burst of some
# seconds is no sign of a minute like it.
_RATE_MEMORY_S: Final = 15.0
# For the same reason it starts as if nothing had come for so long.
_QUIET_S: Final = 2.0
# Within these seconds no more is planned than is left and comes back.
_AHEAD_S: Final = 5.0
_MINUTE_S: Final = 60.0
# The rest of a limit is kept back, so that random variation seldom meets the limit itself.
_USED: Final = 0.99
# Equal requests tie at the exact price, and a tie goes to the cheaper model: the limit would stay
# unused. A little below it, they are served as they come, up to the limit.
_SHADE: Final = 0.99
# A request that no model is left for is taken to lose this much score against its worst model.
_REFUSED_LOSS: Final = 1.0
# Of the scaled program: prices are within a hundredth of the exact ones, and bounded where no price
# keeps to a limit.
_COLDEST: Final = 1e-3
_FEW_REQUESTS: Final = 50
_MOST_PRICE: Final = 1e4
_MISSED: Final = 0.02
# Most batches in the queue: a price thread that has died must not fill the memory.
_MOST_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class CapacityTerms:
    """K limits on the use of m columns, in terms of F amounts of a cell.

    Attributes:
        limits: float64 [K], per minute; of concurrent rows, requests at a time.
        coefficients: float64 [K, F], what each limit counts of a unit of each amount.
        members: bool [K, m], the columns that count.
        concurrent: bool [K], rows that limit what is in progress; they count seconds.
    """

    limits: FloatArray
    coefficients: FloatArray
    members: BoolArray
    concurrent: BoolArray

    def usage(self, row: int, amounts: Sequence[FloatArray]) -> FloatArray:
        """Returns what cells count in a row, float64 [n, m], or [1, m] if all requests alike.

        Args:
            row: the limit.
            amounts: [F], float64 [n, m] each, or [1, 1] where all cells count alike.
        """
        counted = [
            factor * one
            for factor, one in zip(self.coefficients[row].tolist(), amounts, strict=True)
            if factor
        ]
        return np.where(self.members[row], sum(counted), 0.0)


@dataclass(frozen=True, slots=True)
class CapacityPrices:
    """The prices in force.

    Attributes:
        per_row: float64 [K], predicted score per unit of what each limit counts.
        weights: float64 [F, m], the same per unit of each amount, summed over the limits that a
            column counts in; None: all are 0.
    """

    per_row: FloatArray
    weights: FloatArray | None

    @classmethod
    def of(cls, terms: CapacityTerms, per_row: FloatArray) -> CapacityPrices:
        """Makes the prices of the rows, float64 [K]."""
        if not per_row.any():
            return cls(per_row, None)
        return cls(per_row, terms.coefficients.T @ (per_row[:, None] * terms.members))

    def charges(self, amounts: Sequence[FloatArray]) -> FloatArray | None:
        """Returns what each cell is charged, in predicted score; None: nothing.

        A cell's charge depends on its own figures alone, to the bit.

        Args:
            amounts: [F], float64 [n, m] each, or [1, 1] where all cells count alike.

        Returns:
            float64 [n, m], or [1, m] where it is the same for all requests.
        """
        if self.weights is None:
            return None
        charged = [
            weights * one
            for weights, one in zip(self.weights, amounts, strict=True)
            if weights.any()
        ]
        total: FloatArray = sum(charged[1:], charged[0])
        return total


@dataclass(frozen=True, slots=True)
class CapacityDemand:
    """n requests as they were decided; the arrays must not be changed any more.

    Attributes:
        scores: float64 [n, m].
        costs_usd: float64 [n, m].
        prices: float64 [n], score per USD.
        mask: bool [n, m], cells that were eligible but for the limits.
        amounts: [F], float64 [n, m] each, or [1, 1] where all cells count alike.
        chosen: int [n], the choice where no price can move it; -1: one can; None: in all rows.
    """

    scores: FloatArray
    costs_usd: FloatArray
    prices: FloatArray
    mask: BoolArray
    amounts: Sequence[FloatArray]
    chosen: IndexArray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def values(self) -> FloatArray:
        """Score minus what money costs, float64 [n, m]; -inf in cells that nobody can choose."""
        mask = self.mask
        if self.chosen is not None:
            fixed = np.flatnonzero(self.chosen >= 0)
            mask = mask.copy()
            mask[fixed] = False
            mask[fixed, self.chosen[fixed]] = True
        return np.where(mask, self.scores - self.prices[:, None] * self.costs_usd, -np.inf)


class CapacityPricing:
    """Prices for the limits of providers.

    ``step`` makes one solution; with the thread started, nobody else may call it.

    Attributes:
        in_force: the prices for the next batch; reading them never waits.

    Args:
        terms: the limits.
        returning: returns, for a number of seconds, what is left of each limit and what comes back
            of it in that time, float64 [K] each.
        interval_s: seconds between two solutions.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        terms: CapacityTerms,
        returning: Callable[[float], tuple[FloatArray, FloatArray]],
        interval_s: float,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._terms = terms
        self._returning = returning
        self._clock_s = clock_s
        self.in_force = CapacityPrices.of(terms, np.zeros(len(terms.limits)))
        self._window = _Window()
        self._rate = Rate(_RATE_MEMORY_S)
        self._rate.note(0.0, _QUIET_S)
        self._seen: deque[CapacityDemand] = deque(maxlen=_MOST_WAITING)
        self._stepped_s = clock_s()
        self._thread = IntervalThread(
            "routoo-limits",
            self.step,
            lambda: interval_s,
            _log,
            "prices of limits could not be solved",
        )

    def observe(self, demand: CapacityDemand) -> None:
        """Queues requests for the next solution. Called from any thread; never waits."""
        self._seen.append(demand)

    def start(self) -> None:
        """Solves anew in a thread, at the interval, until ``close``."""
        self._thread.start()

    def close(self) -> None:
        """Stops the thread and waits for its step to end."""
        self._thread.close()

    def step(self) -> None:
        """Takes in what was observed, solves, and swaps the prices."""
        now_s = self._clock_s()
        elapsed_s, self._stepped_s = now_s - self._stepped_s, now_s
        seen = [self._seen.popleft() for _ in range(len(self._seen))]
        if elapsed_s > 0.0:
            self._rate.note(sum(map(len, seen)), elapsed_s)
        for one in seen:
            self._window.add(one)
        self.in_force = CapacityPrices.of(self._terms, self._solve())

    def _solve(self) -> FloatArray:
        """Returns the prices of the rows, float64 [K]."""
        if not self._window or self._rate.per_s <= 0.0:
            return np.zeros(len(self._terms.limits))
        values, amounts = self._window.requests()
        return _SHADE * prices_of(values, amounts, self._terms, self._allowed(self._rate.per_s))

    def _allowed(self, per_s: float) -> FloatArray:
        """Returns the mean amount per request that each limit allows, float64 [K]."""
        terms = self._terms
        left, returning = self._returning(_AHEAD_S)
        even = _USED * terms.limits / _MINUTE_S
        soon = np.maximum(left + returning, 0.0) / _AHEAD_S
        # So many are in progress as come in the time that one takes (Little's law); the count
        # varies by its root.
        at_a_time = np.maximum(terms.limits - np.sqrt(terms.limits), 0.5 * terms.limits)
        per_second = np.where(terms.concurrent, at_a_time, np.minimum(even, soon))
        allowed: FloatArray = per_second / per_s
        return allowed


def prices_of(
    values: FloatArray, amounts: Sequence[FloatArray], terms: CapacityTerms, allowed: FloatArray
) -> FloatArray:
    """Returns the duals of the program that maximises the summed value of n requests.

    A request may also be refused, at a loss, so that there always is a solution.

    Args:
        values: float64 [n, m], -inf in cells that are not eligible.
        amounts: [F], float64 [n, m] each, or [1, 1] where all cells count alike.
        terms: the K limits.
        allowed: float64 [K], mean amount per request; at least 0.

    Returns:
        float64 [K], value per unit of what each row counts.
    """
    n, rows = np.arange(len(values)), range(len(terms.limits))
    prices = np.zeros(len(rows))
    usage: dict[int, FloatArray] = {}  # of the rows that bind; mostly few, and often none
    net = values
    while True:
        chosen = net.argmax(axis=1)
        served = np.isfinite(values[n, chosen])
        taken = [np.broadcast_to(one, values.shape)[n, chosen] * served for one in amounts]
        used = terms.coefficients @ np.array(taken) * terms.members[:, chosen]
        more = used.sum(axis=1) > allowed * len(n)
        over = [row for row in np.flatnonzero(more).tolist() if row not in usage]
        if not over:
            return prices
        if len(n) <= _FEW_REQUESTS:  # one request, split or whole, decides whether a limit binds
            over = [row for row in rows if row not in usage]
        usage.update({row: terms.usage(row, amounts) for row in over})
        priced = list(usage)
        prices[priced] = _duals(values, list(usage.values()), allowed[priced])
        net = values - sum(prices[row] * usage[row] for row in priced)


def _duals(values: FloatArray, usage: Sequence[FloatArray], allowed: FloatArray) -> FloatArray:
    """Returns the duals of rows, float64 [k], whose usage is [n, m], or [1, m] for all requests.

    Of one row, or few requests, they are exact; else those of the smoothed dual at a low
    temperature, which takes a tenth of the exact method's time, unless it has not settled.
    """
    n = len(values)
    finite = np.isfinite(values)
    loss = (float(values[finite].min()) if finite.any() else 0.0) - _REFUSED_LOSS
    worth = np.column_stack((values, np.full(n, loss)))
    mask = np.isfinite(worth)
    cells = [np.column_stack((one, np.zeros(len(one)))) for one in usage]
    if len(cells) == 1:
        used = np.where(mask, cells[0], 0.0)
        return solve_row(worth, used, float(allowed[0]) * n).prices
    # Imports scipy's solvers, which takes half a second; a service without limits needs none.
    from routoo.selector.lp.column_generation import solve_fractional  # noqa: PLC0415
    from routoo.selector.lp.program import make_program  # noqa: PLC0415
    from routoo.selector.lp.smoothed_dual import smooth_optimum  # noqa: PLC0415

    rows = tuple(
        Resource(str(position), one[0] if len(one) == 1 else one, float(allowed[position]) * n)
        for position, one in enumerate(cells)
    )
    program = make_program(worth, mask, rows)
    if n > _FEW_REQUESTS:
        soft = smooth_optimum(program, _MOST_PRICE, _COLDEST)
        # What the soft choice lacks of a limit, or leaves of one that has a price.
        missed = np.where(soft.prices > 0.0, np.abs(soft.gradient), -soft.gradient)
        if (missed <= _MISSED * program.limits).all():
            return _unscaled(soft.prices, program)
    return _unscaled(solve_fractional(program).prices, program)


def _unscaled(prices: FloatArray, program: Program) -> FloatArray:
    unscaled: FloatArray = prices * program.value_unit / program.units
    return unscaled


class _Window:
    """The last requests, as they were observed."""

    def __init__(self) -> None:
        self._demands: deque[CapacityDemand] = deque()
        self._held = 0

    def add(self, demand: CapacityDemand) -> None:
        self._demands.append(demand)
        self._held += len(demand)
        while self._held - len(self._demands[0]) >= WINDOW_REQUESTS:
            self._held -= len(self._demands.popleft())

    def requests(self) -> tuple[FloatArray, list[FloatArray]]:
        """Returns the values of the last requests, and their amounts; there is one at least."""
        demands = self._demands
        values = np.concatenate([one.values for one in demands])[-WINDOW_REQUESTS:]
        amounts = []
        for at, first in enumerate(demands[0].amounts):
            parts = [one.amounts[at] for one in demands]
            alike = first.shape == (1, 1)
            amounts.append(first if alike else np.concatenate(parts)[-WINDOW_REQUESTS:])
        return values, amounts

    def __len__(self) -> int:
        return self._held
