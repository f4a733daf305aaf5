"""Books a batch as a whole: what its budgets have left for it, and what they lack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.engine.booking.single import Booked
from routoo.errors import BudgetSpentError
from routoo.pricing.prices import budget_constraint
from routoo.routing.money.rows import BudgetLeft, booked, spent_prompts
from routoo.selector.arrays import enough
from routoo.selector.policies.cheapest import cheapest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.ledger import Grants
    from routoo.engine.booking.single import BudgetBooking
    from routoo.selector.arrays import IndexArray
    from routoo.selector.policies.base import Case

# Sums of floats differ in their last bits from the books' whole numbers.
_SUM_RTOL = 1e-12
# Up to this sum those bits are less than a nano-USD. Beyond it a solution may pass the limit by
# some, which the books refuse, so that a little is held back.
_EXACT_USD = 100.0


class BatchBooking:
    """The money of one batch of n prompts; made for that batch alone.

    Args:
        spending: books single costs.
        ids: [n], decision ids.
        tenants: [n], the tenants that pay.
        case: the input of the choice, of which the costs are booked.
    """

    def __init__(
        self, spending: BudgetBooking, ids: Sequence[str], tenants: Sequence[str], case: Case
    ) -> None:
        self._spending = spending
        self._ids = ids
        self._tenants = tenants
        self._case = case

    def left(self) -> tuple[BudgetLeft, ...]:
        """Returns what is left now of each budget that pays for a prompt.

        A budget that cannot pay for the cheapest models is ``is_spent`` where it lets prompts go
        on with these.

        Raises:
            BudgetSpentError: a budget that refuses cannot even pay for the cheapest models; says
                how many US dollars it lacks.
        """
        ledger = self._spending.ledger
        needed_usd = self._sums(
            cheapest_of(self._case.scores, self._case.costs_usd, self._case.mask)
        )
        found = []
        for budget, state in enumerate(ledger.states()):
            if budget not in needed_usd:
                continue
            terms = state.terms
            left_usd = terms.limit_usd - state.reserved_usd - state.settled_usd
            if left_usd > _EXACT_USD:
                left_usd *= 1.0 - 2.0 * _SUM_RTOL
            one = BudgetLeft(budget_constraint(terms.name), terms.tenant, left_usd)
            if needed_usd[budget] > left_usd + _SUM_RTOL * abs(left_usd):
                if terms.on_exhausted == "refuse":
                    raise self._short(budget, left_usd, needed_usd[budget])
                one = replace(one, is_spent=True)
            found.append(one)
        return tuple(found)

    def pays(self, left: Sequence[BudgetLeft], choice: IndexArray) -> bool:
        """Returns whether what is left pays for a choice, int [n], without an overdraft."""
        terms = self._spending.ledger.terms
        known = {(one.name, one.tenant): one for one in left}
        for budget, cost_usd in self._sums(choice).items():
            one = known[budget_constraint(terms[budget].name), terms[budget].tenant]
            if one.is_spent or cost_usd > one.usd + _SUM_RTOL * abs(one.usd):
                return False
        return True

    def book(self, left: Sequence[BudgetLeft], choice: IndexArray) -> Booked | None:
        """Books all rows of a choice, int [n], or none.

        Rows of a spent budget, which have their cheapest models, are booked as overdraft.

        Returns:
            None: another request has taken the money since ``left`` was read.
        """
        found = self.booked(left, choice)
        within, beside = np.flatnonzero(found.granted), np.flatnonzero(~found.granted)
        if within.size:
            grants = self._reserve(within, choice)
            if (grants.refused_by >= 0).any():
                return None
            found = replace(found, degraded=grants.degraded)
        if beside.size:
            grants = self._spending.ledger.overdraw(
                [self._ids[row] for row in beside.tolist()],
                [self._tenants[row] for row in beside.tolist()],
                self._case.costs_usd[beside, choice[beside]],
            )
            if (grants.refused_by >= 0).any():
                self._spending.release(self._ids)
                return None
        return found

    def booked(self, left: Sequence[BudgetLeft], choice: IndexArray) -> Booked:
        """Returns how a choice, int [n], would be booked."""
        beside = spent_prompts(self._tenants, left)
        spent = np.full(len(choice), -1, np.intp)
        for row in np.flatnonzero(beside).tolist():
            spent[row] = self._spent_budget(left, self._tenants[row])
        return Booked(
            choice,
            spent,
            np.zeros(len(choice), np.bool_),
            ~beside,
            degraded=False,
            reserved_usd=self._spending.limits_usd(
                self._tenants, self._case.costs_usd[np.arange(len(choice)), choice]
            ),
        )

    def lost(self) -> BudgetSpentError:
        """Returns the error for a batch that twice could not be booked as it was solved."""
        if any(state.degraded for state in self._spending.ledger.states()):
            return BudgetSpentError(
                "the batch does not fit into what is left of this replica's leases, and Redis is"
                " away or has lost books; nothing was booked, try again later"
            )
        return BudgetSpentError(
            "other requests took the money of this batch while it was solved, twice; nothing was"
            " booked, send it again"
        )

    def _sums(self, choice: IndexArray) -> dict[int, float]:
        """Returns the summed costs in USD of a choice in each budget that pays for a prompt."""
        costs_usd = booked(self._case.costs_usd[np.arange(len(choice)), choice])
        tenants = np.array(self._tenants, object)
        sums: dict[int, float] = {}
        for tenant in set(self._tenants):
            cost_usd = float(costs_usd[tenants == tenant].sum())
            for budget in self._spending.ledger.applies(tenant):
                sums[budget] = sums.get(budget, 0.0) + cost_usd
        return sums

    def _reserve(self, rows: IndexArray, choice: IndexArray) -> Grants:
        whole = len(rows) == len(choice)
        return self._spending.ledger.reserve(
            self._ids if whole else [self._ids[row] for row in rows],
            self._tenants if whole else [self._tenants[row] for row in rows],
            self._case.costs_usd[rows, choice[rows]],
            all_or_nothing=True,
        )

    def _spent_budget(self, left: Sequence[BudgetLeft], tenant: str) -> int:
        spent = {(one.name, one.tenant) for one in left if one.is_spent}
        terms = self._spending.ledger.terms
        return next(
            budget
            for budget in self._spending.ledger.applies(tenant)
            if (budget_constraint(terms[budget].name), terms[budget].tenant) in spent
        )

    def _short(self, budget: int, left_usd: float, needed_usd: float) -> BudgetSpentError:
        short = (
            f"has ${max(0.0, left_usd):.6g} left, and the cheapest models for this batch cost"
            f" ${needed_usd:.6g}: ${enough(needed_usd - left_usd)} short"
        )
        return self._spending.spent_error(budget, short)
