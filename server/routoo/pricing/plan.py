"""The spending plan of one budget: the money left per request that is still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.pricing.demand import Drift, Rate

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.budget.terms import BudgetTerms
    from routoo.selector.arrays import BoolArray, FloatArray

# Memory of the rate of requests, in periods of the budget. An eighth follows a change of traffic
# while most of the period is still ahead, and averages over short bursts.
RATE_MEMORY_PERIODS = 0.125
# Memory of the comparison of real with planned spending, in periods of the budget, and in requests
# if those go further back. It is a fifth of the memory of the rate, so that a wrong plan is
# corrected several times before the period ends; and at least some 50 requests, as the costs of
# single requests lie far apart.
DRIFT_MEMORY_PERIODS = 0.025
DRIFT_MEMORY_REQUESTS = 50.0
# So many requests are taken to have cost what was planned. Without them the first request, cheap or
# expensive, would set the correction alone.
DRIFT_PRIOR_REQUESTS = 5.0
# A plan is raised by this factor at most, and with a sliding budget also lowered by it: beyond that
# the cost curves are wrong altogether, and the window of requests corrects them better.
MOST_DRIFT = 5.0
# A sliding period has no end to plan for. Money that is spent at once comes back at once, so it is
# to be spent evenly: within this share of the period, no more than is left then.
_SLIDING_AHEAD = 0.05
# The rest of the limit is kept back, so that random variation does not exhaust the budget.
_SLIDING_USED = 0.97
_NANO = 1e9


class BudgetPlan:
    """The spending plan of a budget.

    Attributes:
        terms: the budget.
        mean_cost_usd: mean cost that requests may have from now on, as the cost curves count it.
        planned_usd: mean cost of a request at the prices in force, by the cost curves; set by
            the code that solves for the prices.
    """

    def __init__(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.mean_cost_usd = 0.0
        self.planned_usd = 0.0
        self._period_s = terms.period_ns / _NANO
        self._rate = Rate(RATE_MEMORY_PERIODS * self._period_s)
        self._drift = Drift(
            DRIFT_MEMORY_PERIODS * self._period_s,
            DRIFT_MEMORY_REQUESTS,
            DRIFT_PRIOR_REQUESTS,
            least=1.0 / MOST_DRIFT,
            most=MOST_DRIFT if terms.sliding else 1.0,
        )
        self._priced = 0
        self._real_usd = 0.0
        self._arrived = 0
        self._own = 0
        self._granted_before: int | None = None

    def go_on_from(self, other: BudgetPlan) -> None:
        """Takes over the history of the same budget, perhaps with another limit."""
        self._rate, self._drift = other._rate, other._drift
        self._granted_before = other._granted_before
        self.mean_cost_usd, self.planned_usd = other.mean_cost_usd, other.planned_usd

    def note(self, granted: BoolArray, at_price_usd: FloatArray) -> None:
        """Takes note of n requests of this replica.

        Args:
            granted: bool [n], booked within the budgets.
            at_price_usd: float64 [n], what was booked; NaN where the price did not choose.
        """
        self._arrived += len(granted)
        self._own += int(np.count_nonzero(granted))
        real = at_price_usd[np.isfinite(at_price_usd)]
        if real.size:
            self._priced += real.size
            self._real_usd += float(real.sum())

    def look(self, state: BudgetState, elapsed_s: float) -> None:
        """Plans anew from the present state of the budget, ``elapsed_s`` after the last call."""
        if elapsed_s > 0.0:
            self._rate.note(self._arrived + self._of_others(state), elapsed_s)
            self._arrived = self._own = 0
            self._granted_before = state.granted
            planned_usd = self._priced * self.planned_usd
            self._drift.note(self._priced, self._real_usd, planned_usd, elapsed_s)
            self._priced, self._real_usd = 0, 0.0
        limit_usd = self.terms.limit_nano_usd / _NANO
        spent_usd = state.reserved_usd + state.settled_usd
        left_usd = max(0.0, limit_usd - spent_usd)
        if self.terms.sliding:
            # The count of grants also falls, as old ones stop counting, so new grants of other
            # replicas cannot be told from it; the rate of all replicas is at least its mean.
            rate = max(self._rate.per_s, state.granted / self._period_s)
            ahead_s = _SLIDING_AHEAD * self._period_s
            returning_usd = _SLIDING_AHEAD * spent_usd
            mean_cost_usd = min(
                _SLIDING_USED * limit_usd / max(1.0, rate * self._period_s),
                (left_usd + returning_usd) / max(1.0, rate * ahead_s),
            )
        else:
            mean_cost_usd = left_usd / max(1.0, self._rate.per_s * state.period_left_s)
        self.mean_cost_usd = mean_cost_usd / self._drift.ratio

    def _of_others(self, state: BudgetState) -> int:
        """Returns how many requests of other replicas were granted since the last call."""
        before = self._granted_before
        if before is None or self.terms.sliding:
            return 0
        # In a new period the count begins again.
        since = state.granted - before if state.granted >= before else state.granted
        return max(0, since - self._own)
