"""Everything of a service that has to do with money: prices, books, reports."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from routoo.budget.opening import open_ledger
from routoo.budget_metrics import BudgetMetrics
from routoo.open_decisions import OpenDecisions
from routoo.outcomes import Outcomes
from routoo.pricing.in_force import FixedPricing
from routoo.pricing.online import OnlinePricing
from routoo.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from routoo.budget.ledger import BudgetState
    from routoo.config import Settings
    from routoo.operating_point import PricedSample
    from routoo.pool import Pool
    from routoo.pricing.in_force import Pricing


@dataclass(frozen=True, slots=True)
class Money:
    """The parts.

    Attributes:
        pricing: what money is worth.
        spending: where costs are booked; None: no budgets.
        decisions: those that may still be reported.
        outcomes: takes reports.
    """

    pricing: Pricing
    spending: Spending | None
    decisions: OpenDecisions
    outcomes: Outcomes

    def budgets(self, tenant: str = "") -> list[tuple[BudgetState, float]]:
        """Each budget as it stands and its price, in the settings' order; may wait for the ledger.

        Args:
            tenant: only the budgets that apply to it; empty: all.
        """
        if self.spending is None:
            return []
        ledger = self.spending.ledger
        wanted = ledger.applies(tenant) if tenant else range(len(ledger.terms))
        states = ledger.states()
        prices = self.pricing.in_force
        return [(states[one], prices.of_budget(one)) for one in sorted(wanted)]

    def close(self) -> None:
        """Stops the prices, then closes the books."""
        self.pricing.close()
        if self.spending is not None:
            self.spending.ledger.close()


def open_money(
    settings: Settings,
    pool: Pool,
    sample: PricedSample,
    price: float,
    registry: CollectorRegistry,
    *,
    clock_s: Callable[[], float] = monotonic,
    clock_ns: Callable[[], int] = time_ns,
) -> Money:
    """Opens the books, and starts what follows them.

    Args:
        settings: budgets, ledger, prices, and how long decisions are kept.
        pool: prices reported tokens.
        sample: the calibration sample at the pool's prices.
        price: score per USD where no budget sets it.
        registry: gets the metrics.
        clock_s: seconds on a clock that never goes back.
        clock_ns: nanoseconds since 1970.

    Raises:
        ConfigError: the books cannot be opened.
    """
    ledger = open_ledger(settings.budgets, settings.ledger, clock_ns)
    kept = settings.outcomes
    decisions = OpenDecisions(kept.max_open_decisions, kept.max_age_s)
    outcomes = Outcomes(decisions, ledger, pool, registry)
    if ledger is None:
        return Money(FixedPricing(price), None, decisions, outcomes)
    pricing = OnlinePricing(
        ledger,
        sample.scores,
        sample.costs_usd,
        unbudgeted=price,
        settings=settings.policy.prices,
        clock_s=clock_s,
    )
    spending = Spending(
        ledger, refuses_unbudgeted=settings.ledger.unbudgeted == "refuse", clock_ns=clock_ns
    )
    money = Money(pricing, spending, decisions, outcomes)
    registry.register(BudgetMetrics(money.budgets))
    pricing.start()
    return money
