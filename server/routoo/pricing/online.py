"""Prices that follow the budgets.

At an interval the prices of all budgets are solved anew from the latest requests and from the money
and time that are left of each budget: the scheme of re-solving (Agrawal, Wang and Ye 2014, arXiv
0911.2974; Jasin and Kumar 2012). Between two solutions the prices do not change, so that equal
requests are decided alike. No request waits: prices are swapped as one reference, and observed
requests lie in a queue until the next solution.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import structlog

from routoo.interval_thread import IntervalThread
from routoo.pricing.curves import PriceGrid
from routoo.pricing.duals import MeanCostLimit, solve_nested
from routoo.pricing.plan import BudgetPlan
from routoo.pricing.prices import Observed, Prices
from routoo.pricing.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.budget.ledger import Ledger
    from routoo.config.sections.policy import PricesSettings
    from routoo.selector.arrays import FloatArray

_log = structlog.get_logger("routoo.pricing")
# The number of last requests that stand for those to come. The mean cost of a thousand is known to
# some per cent, and their curves fill 1 MB.
WINDOW_REQUESTS = 1000
# The number of requests that the predictor's calibration sample counts as. The sample stands for
# kinds of requests that have not come lately; as it counts as many as the window holds, it has half
# of the weight once the window is full.
PRIOR_REQUESTS = 100.0
# Most batches in the queue: a price thread that has died must not fill the memory.
_MOST_WAITING = 10_000
# A step adds at most this part of the window, so that it reaches some steps back at any rate.
_STEPS_IN_WINDOW = 4


class OnlinePricing:
    """Prices for every budget of a ledger; implements ``Pricing``.

    ``step`` makes one solution; with the thread started, nobody else may call it.

    Args:
        ledger: whose budgets are priced.
        sample_scores: float64 [r, m], of the calibration sample, which stands for requests until
            enough were seen.
        sample_costs_usd: float64 [r, m].
        unbudgeted: score per USD for requests that no budget applies to, and for all until the
            first solution.
        max_mean_cost_usd: mean predicted cost per request to keep to beside the budgets; None:
            none.
        settings: the interval between two solutions.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        ledger: Ledger,
        sample_scores: FloatArray,
        sample_costs_usd: FloatArray,
        *,
        unbudgeted: float,
        max_mean_cost_usd: float | None = None,
        settings: PricesSettings,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        terms = ledger.terms
        self._paced = {index for index, one in enumerate(terms) if one.is_paced}
        self._max_mean_cost_usd = max_mean_cost_usd
        self.in_force = Prices(unbudgeted)
        self._ledger = ledger
        self._clock_s = clock_s
        self._grid = PriceGrid(sample_scores, sample_costs_usd)
        self._sample_scores = sample_scores
        self._recosted: tuple[float, FloatArray] | None = None
        self._window = Window(WINDOW_REQUESTS, self._prior(sample_costs_usd), PRIOR_REQUESTS)
        # Tenants without a budget of their own are one group.
        payers = {ledger.applies(tenant) for tenant in ("", *(one.tenant for one in terms))}
        self._payers = sorted(payers - {()})
        self._plans = [BudgetPlan(one) for one in terms]
        self._seen: deque[Observed] = deque(maxlen=_MOST_WAITING)
        self._settled: deque[tuple[str, float, float]] = deque(maxlen=_MOST_WAITING)
        self._stepped_s = clock_s()
        self._thread = IntervalThread(
            "routoo-prices",
            self.step,
            lambda: settings.resolve_interval_s,
            _log,
            "prices could not be solved",
        )

    def go_on_from(self, other: OnlinePricing) -> None:
        """Starts with the prices, and the rate of requests, of one that is closed.

        Budgets of other names or periods start afresh, and so does the window: its requests had
        other costs, or were paid for by other budgets.
        """
        before = other.in_force
        known = {(one.terms.name, one.terms.tenant): one for one in other._plans}
        prices = dict(zip(before.budgets, before.per_budget, strict=True))
        if not prices:
            return
        for plan in self._plans:
            old = known.get((plan.terms.name, plan.terms.tenant))
            if (
                old is not None
                and old.terms.period_ns == plan.terms.period_ns
                and old.terms.sliding == plan.terms.sliding
            ):
                plan.go_on_from(old)
        names = tuple(plan.terms.name for plan in self._plans)
        if all(name in prices for name in names):
            self.in_force = Prices(
                self.in_force.unbudgeted,
                tuple(prices[name] for name in names),
                names,
                self._priced_by,
                before.least if self._max_mean_cost_usd is not None else 0.0,
            )

    def observe(self, observed: Observed) -> None:
        """Queues requests for the next solution; see ``Pricing.observe``."""
        self._seen.append(observed)

    def recost(self, unbudgeted: float, sample_costs_usd: FloatArray) -> None:
        """Takes them on at the next solution; see ``Pricing.recost``."""
        self._recosted = (unbudgeted, sample_costs_usd)

    def settled(self, tenant: str, predicted_usd: float, cost_usd: float) -> None:
        """Queues a reported cost for the next solution; see ``Pricing.settled``."""
        self._settled.append((tenant, predicted_usd, cost_usd))

    def start(self) -> None:
        """Solves anew in a thread, at the interval of the settings, until ``close``."""
        self._thread.start()

    def close(self) -> None:
        """Stops the thread and waits for its step to end."""
        self._thread.close()

    def step(self) -> None:
        """Takes in what was observed, solves, and swaps the prices.

        Before the first request nothing is known of the demand, and the price of the sample stays.
        """
        now_s = self._clock_s()
        elapsed_s, self._stepped_s = now_s - self._stepped_s, now_s
        recosted, self._recosted = self._recosted, None
        if recosted is not None:
            self.in_force = replace(self.in_force, unbudgeted=recosted[0], _known={})
            self._window.prior = self._prior(recosted[1])
        self._take_in_reports()
        self._take_in()
        for plan, state in zip(self._plans, self._ledger.states(), strict=True):
            plan.look(state, elapsed_s)
        is_known = any(plan.is_asked_for for plan in self._plans)
        self.in_force = self._solve() if is_known else replace(self.in_force)

    def _take_in_reports(self) -> None:
        while self._settled:
            tenant, predicted_usd, cost_usd = self._settled.popleft()
            for budget in self._ledger.applies(tenant):
                self._plans[budget].settled(predicted_usd, cost_usd)

    def _take_in(self) -> None:
        seen = []
        while self._seen:
            seen.append(self._seen.popleft())
        if not seen:
            return
        index = {payer: group for group, payer in enumerate(self._payers)}
        known: dict[str, int] = {}
        for tenant in {tenant for one in seen for tenant in one.tenants}:
            known[tenant] = index.get(self._ledger.applies(tenant), -1)
        planned = [one for one in seen if one.is_planned]
        for one in planned:
            self._take_in_planned(one)
        seen = [one for one in seen if not one.is_planned]
        if not seen:
            return
        groups = np.array([known[tenant] for one in seen for tenant in one.tenants], np.intp)
        granted = np.concatenate([one.granted for one in seen])
        at_price_usd = np.concatenate([one.at_price_usd for one in seen])
        for group, payer in enumerate(self._payers):
            paid = groups == group
            if paid.any():
                for budget in payer:
                    self._plans[budget].note(granted[paid], at_price_usd[paid])
        mask = np.concatenate([one.mask for one in seen])
        usable = np.flatnonzero((groups >= 0) & mask.any(axis=1))
        # Of many requests an even selection stands for all: the window reaches further back, and
        # the step is short.
        most = WINDOW_REQUESTS // _STEPS_IN_WINDOW
        if usable.size > most:
            usable = usable[np.linspace(0, usable.size - 1, most).astype(np.intp)]
        scores = np.concatenate([one.scores for one in seen])[usable]
        costs_usd = np.concatenate([one.costs_usd for one in seen])[usable]
        self._window.add(self._grid.costs(scores, costs_usd, mask[usable]), groups[usable])

    def _prior(self, sample_costs_usd: FloatArray) -> FloatArray:
        """Returns the mean cost curve of the calibration sample."""
        everything = np.ones(self._sample_scores.shape, np.bool_)
        costs = self._grid.costs(self._sample_scores, sample_costs_usd, everything)
        prior: FloatArray = costs.mean(axis=0)
        return prior

    def _take_in_planned(self, batch: Observed) -> None:
        """Notes that a batch's requests are no flow of requests, and not those of others."""
        granted: dict[str, int] = {}
        for tenant, is_granted in zip(batch.tenants, batch.granted.tolist(), strict=True):
            granted[tenant] = granted.get(tenant, 0) + is_granted
        for tenant, count in granted.items():
            for budget in self._ledger.applies(tenant):
                self._plans[budget].planned(count)

    def _solve(self) -> Prices:
        curves, shares = self._window.mix(len(self._payers))
        limits = [
            MeanCostLimit(plan.mean_cost_usd if plan.terms.is_paced else inf, not plan.terms.tenant)
            for plan in self._plans
        ]
        duals = solve_nested(self._grid, curves, shares, self._payers, limits)
        prices = [max(pair) for pair in zip(duals.prices, self._least_prices(), strict=True)]
        for plan, planned_usd in zip(self._plans, duals.mean_costs_usd, strict=True):
            plan.planned_usd = planned_usd
            plan.cheapest_usd = float((shares @ curves)[-1])
        return Prices(
            self.in_force.unbudgeted,
            tuple(prices),
            tuple(plan.terms.name for plan in self._plans),
            self._priced_by,
            self._least_price(shares @ curves),
        )

    def _priced_by(self, tenant: str) -> tuple[int, ...]:
        """Returns the indices of a tenant's budgets that have a price."""
        return tuple(one for one in self._ledger.applies(tenant) if one in self._paced)

    def _least_price(self, curve: FloatArray) -> float:
        """Returns the price that keeps to the mean cost, of the sample and of the requests seen."""
        if self._max_mean_cost_usd is None:
            return 0.0
        return max(self.in_force.unbudgeted, self._grid.price_at(curve, self._max_mean_cost_usd))

    def _least_prices(self) -> list[float]:
        """Returns the price of each budget at which one request alone does not take it over."""
        least = [0.0] * len(self._plans)
        dearest = self._window.dearest(len(self._payers))
        for payer, curve in zip(self._payers, dearest, strict=True):
            for budget in self._paced.intersection(payer):
                most_usd = self._plans[budget].most_cost_usd
                least[budget] = max(least[budget], self._grid.price_at(curve, most_usd))
        return least
