"""Money for engines without a service around them: fixed prices, or budgets at a fixed price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.budget.memory.books import Keeping
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, one_nano_usd
from routoo.engine.accounting import Accounting
from routoo.engine.booking.report_bound import ReportBound
from routoo.engine.booking.single import BudgetBooking
from routoo.engine.limits.choice import ProviderLimits, terms_of
from routoo.engine.limits.guard import LimitGuard
from routoo.engine.open_decisions import OpenDecisions
from routoo.engine.outcomes import OutcomeSettlement
from routoo.pricing.capacity import CapacityPricing
from routoo.pricing.prices import FixedPricing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from routoo.routing.pool import Pool
    from routoo.telemetry.metrics import Metrics

MANY = 10_000
LONG_S = 1e6
REPORT_FACTOR = 10.0
HOUR_NS = 3600 * 10**9
NOW_NS = 1_700_000_000 * 10**9  # 800 s into an hour
FOREVER = Keeping(ttl_ns=10**15, releases_expired=False, max_decisions=10**6)


def limits_of(
    pool: Pool, clock_s: Callable[[], float] = lambda: 0.0, timeout_s: float = LONG_S
) -> ProviderLimits | None:
    """Keeps the limits of a pool, on a clock that stands still; their prices are not solved."""
    if pool.limits is None:
        return None
    rows = pool.limits
    guard = LimitGuard(rows, rows.limits, pool.names, timeout_s, clock_s)
    pricing = CapacityPricing(terms_of(rows, rows.limits), guard.returning, 1.0, clock_s)
    return ProviderLimits(guard, pricing)


def fixed_accounting(
    pool: Pool, metrics: Metrics, price: float, limits: ProviderLimits | None = None
) -> Accounting:
    """Makes money without budgets, at one price."""
    decisions = OpenDecisions(MANY, LONG_S)
    outcomes = OutcomeSettlement(
        decisions,
        None,
        pool,
        metrics.outcomes,
        lambda: NOW_NS,
        bound=ReportBound(REPORT_FACTOR),
        limits=None if limits is None else limits.guard,
    )
    return Accounting(FixedPricing(price), None, decisions, outcomes, lambda: NOW_NS, limits=limits)


def hourly(
    usd: float,
    name: str = "all",
    tenant: str = "",
    on_exhausted: Literal["refuse", "cheapest"] = "refuse",
    *,
    sliding: bool = False,
) -> BudgetTerms:
    """Makes a budget with a period of an hour."""
    return BudgetTerms(name, tenant, one_nano_usd(usd), HOUR_NS, sliding, on_exhausted)


def books(*budgets: BudgetTerms) -> MemoryLedger:
    """Makes a ledger whose clock stands still."""
    return MemoryLedger(budgets, FOREVER, lambda: NOW_NS)


def spending(*budgets: BudgetTerms, refuses_unbudgeted: bool = False) -> BudgetBooking:
    """Makes the spending of budgets in memory."""
    return BudgetBooking(
        books(*budgets), refuses_unbudgeted=refuses_unbudgeted, clock_ns=lambda: NOW_NS
    )


def budgeted_accounting(
    pool: Pool,
    metrics: Metrics,
    price: float,
    spent_from: BudgetBooking,
    report_factor: float = REPORT_FACTOR,
    limits: ProviderLimits | None = None,
) -> Accounting:
    """Makes money with budgets, at one price."""
    decisions = OpenDecisions(MANY, LONG_S)
    outcomes = OutcomeSettlement(
        decisions,
        spent_from.ledger,
        pool,
        metrics.outcomes,
        lambda: NOW_NS,
        bound=ReportBound(report_factor),
        limits=None if limits is None else limits.guard,
    )
    return Accounting(
        FixedPricing(price), spent_from, decisions, outcomes, lambda: NOW_NS, limits=limits
    )
