"""Money that was spent on a day, as the books of the budgets tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.budget.terms import usd

if TYPE_CHECKING:
    from datetime import date

    from routoo.budget.memory.books import PeriodSums


@dataclass(frozen=True, slots=True)
class DaySpent:
    """The decisions of one tenant on one day (UTC), with what they cost. Amounts are in USD.

    Attributes:
        tenant: empty: all tenants without a budget of their own.
        day: the day of the decisions.
        open_usd: reserved for decisions whose cost is not known yet.
        settled_usd: known costs, and the estimates of decisions that expired unreported.
        overdraft_usd: spent beside the budgets.
        granted: the number of decisions within the budgets.
        reported_usd: the reported costs of these.
        reported_reserved_usd: what was reserved for the reported ones.
        expired: the number of those whose cost was not reported in time.
    """

    tenant: str
    day: date
    open_usd: float
    settled_usd: float
    overdraft_usd: float
    granted: int
    reported_usd: float
    reported_reserved_usd: float
    expired: int

    @classmethod
    def of(cls, tenant: str, day: date, sums: PeriodSums) -> DaySpent:
        """Returns sums in nano-USD as what a tenant has spent on a day."""
        return cls(
            tenant=tenant,
            day=day,
            open_usd=usd(sums.reserved),
            settled_usd=usd(sums.settled),
            overdraft_usd=usd(sums.overdraft),
            granted=sums.granted,
            reported_usd=usd(sums.reported),
            reported_reserved_usd=usd(sums.reported_reserved),
            expired=sums.expired,
        )
