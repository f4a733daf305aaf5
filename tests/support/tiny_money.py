"""Money for engines without a service around them: fixed prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.money import Money
from routoo.open_decisions import OpenDecisions
from routoo.outcomes import Outcomes
from routoo.pricing.in_force import FixedPricing

if TYPE_CHECKING:
    from routoo.pool import Pool
    from routoo.telemetry import Metrics

MANY = 10_000
LONG_S = 1e6


def fixed_money(pool: Pool, metrics: Metrics, price: float) -> Money:
    """No budgets, one price."""
    decisions = OpenDecisions(MANY, LONG_S)
    outcomes = Outcomes(decisions, None, pool, metrics.registry)
    return Money(FixedPricing(price), None, decisions, outcomes)
