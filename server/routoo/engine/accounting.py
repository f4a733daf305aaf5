"""Everything of a service that has to do with money: prices, books, reports."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from routoo.budget.opening import open_ledger, succeed
from routoo.engine.booking import Spending
from routoo.engine.open_decisions import OpenDecisions
from routoo.engine.outcomes import Outcomes
from routoo.pricing.in_force import FixedPricing
from routoo.pricing.online import OnlinePricing

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.budget.ledger import BudgetState, Ledger
    from routoo.config.settings import Settings
    from routoo.parts import Parts
    from routoo.pricing.in_force import Pricing
    from routoo.telemetry.outcome_counts import OutcomeCounts


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


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is: on a clock that never goes back, and since 1970."""

    clock_s: Callable[[], float] = monotonic
    clock_ns: Callable[[], int] = time_ns


def open_money(
    settings: Settings, parts: Parts, counts: OutcomeCounts, clocks: Clocks | None = None
) -> Money:
    """Opens the books, and starts what follows them.

    Args:
        settings: budgets, ledger, prices, and how long decisions are kept.
        parts: prices reported tokens; the sample's prices stand until budgets have their own.
        counts: gets what reports add up to.
        clocks: those of the machine by default.

    Raises:
        ConfigError: the books cannot be opened.
    """
    clocks = clocks or Clocks()
    ledger = open_ledger(settings.budgets, settings.ledger, clocks.clock_ns)
    kept = settings.outcomes
    decisions = OpenDecisions(kept.max_open_decisions, kept.max_age_s)
    return _money_of(settings, parts, ledger, decisions, counts, clocks)


def renew_money(
    old: Money,
    before: Settings,
    settings: Settings,
    parts: Parts,
    counts: OutcomeCounts,
    *,
    same_models: bool,
) -> Money:
    """Money for the engine that follows one: same books, same open decisions.

    A change of the budgets leaves what is spent and open in the books; prices go on where they
    still mean the same. The old money may be used until its engine is retired, and is then to be
    closed by ``close_replaced``. Waits for a step of the old prices to end; not on the event loop.

    Args:
        old: what serves.
        before: the settings that it was made from.
        settings: the new ones; the section ``ledger`` has to be the same.
        parts: see ``open_money``.
        counts: likewise.
        same_models: pool, sample and price are what they were.

    Raises:
        ConfigError: the books cannot be opened.
    """
    kept = settings.outcomes
    clocks = Clocks()
    ledger = None if old.spending is None else old.spending.ledger
    if settings.budgets != before.budgets:
        if ledger is None or not settings.budgets:
            ledger = open_ledger(settings.budgets, settings.ledger, clocks.clock_ns)
        else:
            ledger = succeed(ledger, settings.budgets, settings.ledger, clocks.clock_ns)
    elif same_models and settings.policy.prices == before.policy.prices:
        old.decisions.bound(kept.max_open_decisions, kept.max_age_s)
        return old
    old.pricing.close()
    old.decisions.bound(kept.max_open_decisions, kept.max_age_s)
    return _money_of(settings, parts, ledger, old.decisions, counts, clocks, old.pricing)


def close_replaced(old: Money, new: Money) -> None:
    """Closes what the new money does not use, once nothing uses the old one any more."""
    if old.pricing is not new.pricing:
        old.pricing.close()
    ledger = None if new.spending is None else new.spending.ledger
    if old.spending is not None and old.spending.ledger is not ledger:
        old.spending.ledger.close()


def _money_of(
    settings: Settings,
    parts: Parts,
    ledger: Ledger | None,
    decisions: OpenDecisions,
    counts: OutcomeCounts,
    clocks: Clocks,
    before: Pricing | None = None,
) -> Money:
    outcomes = Outcomes(decisions, ledger, parts.pool, counts)
    if ledger is None:
        return Money(FixedPricing(parts.price), None, decisions, outcomes)
    pricing = OnlinePricing(
        ledger,
        parts.sample.scores,
        parts.sample.costs_usd,
        unbudgeted=parts.price,
        settings=settings.policy.prices,
        clock_s=clocks.clock_s,
    )
    if isinstance(before, OnlinePricing):
        pricing.go_on_from(before)
    spending = Spending(
        ledger,
        refuses_unbudgeted=settings.ledger.unbudgeted == "refuse",
        clock_ns=clocks.clock_ns,
    )
    pricing.start()
    return Money(pricing, spending, decisions, outcomes)
