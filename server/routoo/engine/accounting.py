"""Everything of a service that has to do with money: prices, books, reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.engine.booking import BudgetBooking
    from routoo.engine.open_decisions import OpenDecisions
    from routoo.engine.outcomes import OutcomeSettlement
    from routoo.pricing.prices import Pricing


@dataclass(frozen=True, slots=True)
class Accounting:
    """The parts.

    Attributes:
        pricing: what money is worth.
        spending: where costs are booked; None: no budgets.
        decisions: those that may still be reported.
        outcomes: takes reports.
    """

    pricing: Pricing
    spending: BudgetBooking | None
    decisions: OpenDecisions
    outcomes: OutcomeSettlement

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
