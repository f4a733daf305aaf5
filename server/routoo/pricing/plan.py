"""One budget as the prices see it: what is left, for how many requests, and how plans went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.pricing.demand import Drift, Rate

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.budget.terms import BudgetTerms
    from routoo.config.policy import PricesSettings
    from routoo.selector.arrays import BoolArray, FloatArray

# A sliding period has no end to plan for. It is to be spent evenly, as whatever is spent at once
# comes back at once; and within this share of it, no more than there is then.
_SLIDING_AHEAD = 0.05
# A little is kept back, so that chance does not run it dry.
_SLIDING_USED = 0.97
_NANO = 1e9


class Account:
    """A budget's plan.

    Attributes:
        terms: what it promises.
        mean_cost_usd: what a request may cost from here on, in the terms of the cost curves.
        planned_usd: what a request costs at the prices in force, by the cost curves; set by whoever
            finds them.
    """

    def __init__(self, terms: BudgetTerms, settings: PricesSettings) -> None:
        self.terms = terms
        self.mean_cost_usd = 0.0
        self.planned_usd = 0.0
        self._period_s = terms.period_ns / _NANO
        self._rate = Rate(settings.rate_memory_periods * self._period_s)
        self._drift = Drift(
            settings.drift_memory_periods * self._period_s,
            settings.drift_requests,
            settings.drift_prior_requests,
            least=1.0 / settings.most_drift,
            most=settings.most_drift if terms.sliding else 1.0,
        )
        self._priced = 0
        self._real_usd = 0.0
        self._arrived = 0
        self._own = 0
        self._granted_before: int | None = None

    def go_on_from(self, other: Account) -> None:
        """Takes over what was seen of the same budget, perhaps with another limit."""
        self._rate, self._drift = other._rate, other._drift
        self._granted_before = other._granted_before
        self.mean_cost_usd, self.planned_usd = other.mean_cost_usd, other.planned_usd

    def note(self, granted: BoolArray, at_price_usd: FloatArray) -> None:
        """Takes note of n requests of this replica; see ``Observed``."""
        self._arrived += len(granted)
        self._own += int(np.count_nonzero(granted))
        real = at_price_usd[np.isfinite(at_price_usd)]
        if real.size:
            self._priced += real.size
            self._real_usd += float(real.sum())

    def look(self, state: BudgetState, elapsed_s: float) -> None:
        """Plans anew from the books as they stand, ``elapsed_s`` after the last time."""
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
            # What other replicas are granted is not seen one by one, as old grants leave meanwhile.
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
        """Requests that other replicas were granted since the last look."""
        before = self._granted_before
        if before is None or self.terms.sliding:
            return 0
        # In a new period the count begins again.
        since = state.granted - before if state.granted >= before else state.granted
        return max(0, since - self._own)
