"""Limits beside each other: a mean cost, budgets with and without a price, planned batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo.budget.memory.books import Keeping
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, one_nano_usd
from routoo.config.sections.policy import PricesSettings
from routoo.pricing.online import OnlinePricing
from routoo.pricing.plan import BudgetPlan
from routoo.pricing.prices import Observed
from routoo.selector.policies.lp import decide, round_scores

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray

USUAL_USD = np.array([1e-5, 1e-4, 6e-4, 6e-3])
PERIOD_S = 1000.0
UNBUDGETED = 7.0
FOREVER = Keeping(ttl_ns=10**15, releases_expired=False, max_decisions=10**6)


def drawn(seed: int, n: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    costs_usd = USUAL_USD * rng.lognormal(0.0, 0.5, (n, 4))
    scores = round_scores(np.clip(rng.normal([0.4, 0.55, 0.65, 0.75], 0.15, (n, 4)), 0.0, 1.0))
    return scores, costs_usd


def terms(
    usd: float, name: str = "all", *, is_paced: bool = True, even_s: float = 0.0
) -> BudgetTerms:
    return BudgetTerms(
        name,
        "",
        one_nano_usd(usd),
        int(PERIOD_S * 1e9),
        sliding=False,
        on_exhausted="refuse",
        is_paced=is_paced,
        even_ns=int(even_s * 1e9),
    )


class Service:
    """Prices, a ledger and their clock; the costs of requests are booked and settled at once."""

    def __init__(self, *budgets: BudgetTerms, max_mean_cost_usd: float | None = None) -> None:
        self.now_s = 0.0
        self.ledger = MemoryLedger(budgets, FOREVER, lambda: round(self.now_s * 1e9))
        self.pricing = OnlinePricing(
            self.ledger,
            *drawn(1, 400),
            unbudgeted=UNBUDGETED,
            max_mean_cost_usd=max_mean_cost_usd,
            settings=PricesSettings(),
            clock_s=lambda: self.now_s,
        )
        self._ids = 0

    @property
    def price(self) -> float:
        return self.pricing.in_force.of("")[0]

    def serve(self, n: int, seconds: float, *, true: float = 1.0) -> float:
        """Sends requests evenly, whose true costs are ``true`` times the predicted ones.

        Returns:
            Their mean predicted cost in USD.
        """
        scores, costs_usd = drawn(2 + self._ids, n)
        paid = []
        for row in range(n):
            one = slice(row, row + 1)
            mask = np.ones((1, 4), np.bool_)
            choice = decide(scores[one], costs_usd[one], mask, self.price)
            amount = costs_usd[one, choice[0]]
            self._ids += 1
            granted = self.ledger.reserve([f"r{self._ids}"], [""], amount).refused_by < 0
            if granted[0]:
                self.ledger.settle(f"r{self._ids}", true * amount[0])
                self.pricing.settled("", float(amount[0]), true * amount[0])
            booked = np.where(granted, amount, np.nan)
            self.pricing.observe(Observed([""], scores[one], costs_usd[one], mask, granted, booked))
            paid.append(float(amount[0]))
            self.now_s += seconds / n
            self.pricing.step()
        return float(np.mean(paid))

    def plan_batch(self, n: int, usd: float) -> None:
        """Books a batch as a whole."""
        scores, costs_usd = drawn(9, n)
        ids = [f"b{row}" for row in range(n)]
        assert (self.ledger.reserve(ids, [""] * n, np.full(n, usd / n)).refused_by < 0).all()
        mask = np.ones((n, 4), np.bool_)
        none, granted = np.full(n, np.nan), np.ones(n, np.bool_)
        self.pricing.observe(
            Observed([""] * n, scores, costs_usd, mask, granted, none, is_planned=True)
        )


def test_the_mean_cost_holds_beside_a_budget_that_would_allow_more() -> None:
    service = Service(terms(50.0), max_mean_cost_usd=0.0005)
    assert service.serve(300, 100.0) <= 0.0005 * 1.1
    price, set_by = service.pricing.in_force.of("")
    assert price >= UNBUDGETED
    assert set_by == ("max_mean_cost_usd",)


def test_a_tighter_budget_sets_the_price_beside_the_mean_cost() -> None:
    service = Service(terms(0.1), max_mean_cost_usd=0.0005)
    service.serve(300, 100.0)
    assert service.pricing.in_force.of("")[1] == ("budget:all",)


def test_a_budget_without_pacing_is_a_limit_alone() -> None:
    service = Service(terms(0.2, is_paced=False))
    mean_usd = service.serve(100, 50.0)
    assert service.pricing.in_force.of("") == (UNBUDGETED, ("max_mean_cost_usd",))
    assert service.pricing.in_force.of_budget(0) == 0.0
    service.serve(int(0.2 / mean_usd) + 200, 100.0)
    state = service.ledger.states()[0]
    assert 0.19 < state.reserved_usd + state.settled_usd <= 0.2


def test_a_batch_is_planned_spending_and_no_flow_of_requests() -> None:
    service = Service(terms(5.0))
    service.serve(400, 200.0)
    before = service.price
    service.plan_batch(2000, 0.2)
    service.pricing.step()
    # The rest of the money buys 1 / (1 - 0.2 / 4.7) of what it did: a few per cent.
    assert service.price == pytest.approx(before, rel=0.25)


@pytest.mark.parametrize("true", [0.2, 3.0])
def test_reported_costs_correct_the_plan(true: float) -> None:
    service = Service(terms(1.0))
    service.serve(1500, 0.999 * PERIOD_S, true=true)
    state = service.ledger.states()[0]
    assert 0.98 <= state.reserved_usd + state.settled_usd <= 1.0


def spent_usd(service: Service) -> float:
    state = service.ledger.states()[0]
    return state.reserved_usd + state.settled_usd


@pytest.mark.parametrize("true", [1.0, 3.0])
def test_a_budget_is_spent_evenly_where_its_requests_change(true: float) -> None:
    service = Service(terms(1.0, even_s=50.0))
    service.serve(200, 200.0)
    # Twice as many requests, and of other costs, of which none was planned for.
    service.serve(400, 200.0, true=true)
    for _ in range(2):
        before_usd = spent_usd(service)
        service.serve(400, 200.0, true=true)
        assert spent_usd(service) - before_usd == pytest.approx(0.2, rel=0.1)
    service.serve(399, 199.0, true=true)
    assert 0.97 <= spent_usd(service) <= 1.0


def test_what_a_quiet_period_has_left_is_spent_at_twice_the_pace_at_most() -> None:
    service = Service(terms(1.0, even_s=50.0))
    while service.now_s < 700.0:
        service.now_s += 1.0
        service.pricing.step()
    # It takes some requests to see how many there are, and what they cost.
    service.serve(100, 100.0)
    for seconds in (150.0, 49.0):  # and so up to the end
        before_usd = spent_usd(service)
        service.serve(round(seconds), seconds)
        # One request may cost as much as three seconds of that pace.
        assert spent_usd(service) - before_usd <= 2e-3 * seconds + 0.03
    assert spent_usd(service) < 0.8


def test_a_plan_goes_on_with_the_rate_that_it_knows() -> None:
    before = BudgetPlan(terms(1.0))
    before.note(np.ones(40, np.bool_), np.full(40, np.nan))
    state = Service(terms(1.0)).ledger.states()[0]
    before.look(state, 20.0)
    evenly = BudgetPlan(terms(1.0, even_s=50.0))
    evenly.go_on_from(before)
    assert evenly._rate.memory_s == 50.0
    assert evenly._rate.per_s == pytest.approx(before._rate.per_s)
    again = BudgetPlan(terms(2.0, even_s=50.0))
    again.go_on_from(evenly)
    assert again._rate is evenly._rate
