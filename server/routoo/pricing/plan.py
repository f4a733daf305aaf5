"""The spending plan of one budget: the money left per request that is still to come."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from routoo.pricing.demand import CostRatio, Drift, Rate

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.budget.terms import BudgetTerms
    from routoo.selector.arrays import BoolArray, FloatArray

# Memory of the rate of requests, in periods of the budget. An eighth follows a change of traffic
# while most of the period is still ahead, and averages over short bursts. Of an even spending it is
# no longer than the time in which that makes good: by the rate of a quiet night, the requests of a
# morning would spend several times their pace.
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
MOST_OVERSPENT = 5.0
# A sliding period has no end to plan for. Money that is spent at once comes back at once, so it is
# to be spent evenly: within this share of the period, no more than is left then.
_SLIDING_AHEAD = 0.05
# The rest of the limit is kept back, so that random variation does not exhaust the budget.
_SLIDING_USED = 0.97
# Memory of reported costs, in reports: the costs of single requests lie far apart, so that fewer
# would let the plan jump, and more would answer late to a new price or length.
CORRECTION_MEMORY_REQUESTS = 100.0
# A cost may be this far from its prediction; beyond that the report is taken to be a mistake.
MOST_CORRECTION = 30.0
# A plan for the rest of a period leaves out so many standard deviations of the number of requests
# that are still to come (the root of it). Their money is spent a little earlier, and the last
# requests of a period get a little less; otherwise what is left when the last one has come, by
# chance more or less than one request's cost, would be lost or lacking.
_LEAD = 2.0
# The cheapest models are paid for so many standard deviations more requests than are expected.
_SURE = 2.0
# This part of the limit of a fixed period is left for the last costs that come out higher than
# predicted.
_HELD_BACK = 0.001
# Near the end of a period, one request may cost the money left by so many standard errors of its
# prediction.
_CERTAIN = 1.5
# What was spent too little of an even spending is made good at no more than so many times its pace,
# up to the end of the period.
_MOST_PACE = 2.0
# Requests in a period, as long as none was seen.
_UNSEEN_REQUESTS = 1000.0
# Requests of other replicas since the last solution: at most this many times the usual number, and
# some more.
_MOST_GROWTH = 4.0
_MOST_AT_ONCE = 50
_NANO = 1e9


class BudgetPlan:
    """The spending plan of a budget.

    Attributes:
        terms: the budget.
        mean_cost_usd: mean cost that requests may have from now on, as the cost curves count it.
        most_cost_usd: cost that one request may have from now on, as the cost curves count it.
        planned_usd: mean cost of a request at the prices in force, by the cost curves; set by
            the code that solves for the prices.
        cheapest_usd: mean cost of the cheapest models, by the cost curves; set by that code, too.
    """

    def __init__(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.mean_cost_usd = 0.0
        self.most_cost_usd = inf
        self.planned_usd = 0.0
        self.cheapest_usd = 0.0
        self._period_s = terms.period_ns / _NANO
        self._even_s = terms.even_ns / _NANO
        self._rate = Rate(min(RATE_MEMORY_PERIODS * self._period_s, self._even_s or inf))
        self._drift = Drift(
            DRIFT_MEMORY_PERIODS * self._period_s,
            DRIFT_MEMORY_REQUESTS,
            DRIFT_PRIOR_REQUESTS,
            least=1.0 / MOST_DRIFT,
            most=MOST_DRIFT if terms.sliding else MOST_OVERSPENT,
        )
        self._correction = CostRatio(
            CORRECTION_MEMORY_REQUESTS, DRIFT_PRIOR_REQUESTS, MOST_CORRECTION
        )
        self._priced = 0
        self._real_usd = 0.0
        self._arrived = 0
        self._own = 0
        self._granted_before: int | None = None

    @property
    def is_asked_for(self) -> bool:
        """Returns whether any request was seen."""
        return self._rate.per_s > 0.0

    def go_on_from(self, other: BudgetPlan) -> None:
        """Takes over the history of the same budget, perhaps with another limit."""
        self._rate, self._drift = other._rate.over(self._rate.memory_s), other._drift
        self._correction = other._correction
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

    def planned(self, granted: int) -> None:
        """Takes note of a batch of this replica, which is no part of the flow of requests."""
        self._own += granted

    def settled(self, predicted_usd: float, cost_usd: float) -> None:
        """Takes note of the reported cost of a request, and of the predicted one."""
        self._correction.note(predicted_usd, cost_usd)

    def look(self, state: BudgetState, elapsed_s: float) -> None:
        """Plans anew from the present state of the budget, ``elapsed_s`` after the last call."""
        if elapsed_s > 0.0:
            self._rate.note(self._arrived + self._of_others(state, elapsed_s), elapsed_s)
            self._arrived = self._own = 0
            self._granted_before = state.granted
            planned_usd = self._priced * self.planned_usd
            self._drift.note(self._priced, self._real_usd, planned_usd, elapsed_s)
            self._priced, self._real_usd = 0, 0.0
        limit_usd = self.terms.limit_nano_usd / _NANO
        ratio = self._correction.ratio
        spent_usd = ratio * state.reserved_usd + state.settled_usd
        left_usd = max(0.0, limit_usd - spent_usd)
        planned_usd = max(0.0, left_usd - _HELD_BACK * limit_usd)
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
        elif state.period_left_s > self._even_s > 0.0:
            mean_cost_usd = self._evenly_usd(state, spent_usd)
        else:
            ahead = self._ahead(state)
            deviation = sqrt(ahead)
            # More requests may come than expected; the cheapest models have to be left for them.
            planned_usd = max(0.0, planned_usd - _SURE * deviation * ratio * self.cheapest_usd)
            mean_cost_usd = planned_usd / max(1.0, ahead - _LEAD * deviation)
            if self._even_s:
                mean_cost_usd = min(mean_cost_usd, self._paced_usd(_MOST_PACE))
        self.mean_cost_usd = mean_cost_usd / self._drift.ratio / ratio
        self.most_cost_usd = planned_usd / ratio / (1.0 + _CERTAIN * self._correction.error)

    def _evenly_usd(self, state: BudgetState, spent_usd: float) -> float:
        """Returns the mean cost that makes good what was spent more or less than evenly."""
        limit_usd = self.terms.limit_nano_usd / _NANO
        usd_per_s = limit_usd / self._period_s
        owed_usd = usd_per_s * (self._period_s - state.period_left_s) - spent_usd
        pace = 1.0 + owed_usd / (usd_per_s * self._even_s)
        return self._paced_usd(min(max(0.0, pace), _MOST_PACE))

    def _paced_usd(self, pace: float) -> float:
        """Returns the mean cost at so many times the even spending."""
        rate = self._rate.per_s or _UNSEEN_REQUESTS / self._period_s
        even_usd = self.terms.limit_nano_usd / _NANO / self._period_s * self._even_s
        return pace * even_usd / max(1.0, rate * self._even_s)

    def _ahead(self, state: BudgetState) -> float:
        """Returns how many requests are still to come in a fixed period."""
        rate = self._rate.per_s or _UNSEEN_REQUESTS / self._period_s
        return rate * state.period_left_s

    def _of_others(self, state: BudgetState, elapsed_s: float) -> int:
        """Returns how many requests of other replicas were granted since the last call."""
        before = self._granted_before
        if before is None or self.terms.sliding:
            return 0
        # In a new period the count begins again.
        since = state.granted - before if state.granted >= before else state.granted
        others = max(0, since - self._own)
        # A batch of another replica comes at once, and is not the beginning of a flow.
        usual = self._rate.per_s * elapsed_s
        return min(others, round(_MOST_GROWTH * usual) + _MOST_AT_ONCE)
