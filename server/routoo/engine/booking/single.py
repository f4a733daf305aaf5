"""Books the predicted costs of decisions before the decisions are given out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import BudgetSpentError, InvalidRequestError, NoBudgetError
from routoo.selector.policies.cheapest import cheapest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.ledger import Ledger
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.policies.base import Case


@dataclass(frozen=True, slots=True)
class Booked:
    """The result of booking n choices.

    Attributes:
        choice: int [n]; -1 in rows that a budget refused, and where there was no model.
        spent: int [n], the budget that made the row go on with its cheapest model, or refused it;
            -1: none did.
        refused: bool [n], rows for which nothing was booked and nothing is decided.
        granted: bool [n], rows that were booked within the budgets.
        degraded: whether the ledger cannot reach the books that all replicas share.
        reserved_usd: float64 [n], what is reserved in each row; infinite where no budget pays.
    """

    choice: IndexArray
    spent: IndexArray
    refused: BoolArray
    granted: BoolArray
    degraded: bool
    reserved_usd: FloatArray


class BudgetBooking:
    """Books decisions in the ledger. Called from worker threads; ``check`` from any thread.

    Args:
        ledger: holds the books.
        refuses_unbudgeted: whether a tenant without a budget is refused.
        clock_ns: nanoseconds since 1970, to tell when a period ends.

    Attributes:
        ledger: holds the books.
        clock_ns: the clock of their periods.
        is_apart: whether all budgets pay for other things than requests.
    """

    def __init__(
        self, ledger: Ledger, *, refuses_unbudgeted: bool, clock_ns: Callable[[], int]
    ) -> None:
        self.ledger = ledger
        self._apart = frozenset(one.tenant for one in ledger.terms if one.is_apart)
        self.is_apart = len(self._apart) == len(ledger.terms)
        self._refuses_unbudgeted = refuses_unbudgeted
        self.clock_ns = clock_ns

    def check(self, tenant: str) -> None:
        """Refuses a tenant without a budget where the settings say so.

        Raises:
            InvalidRequestError: the name stands for a budget that pays for no request.
            NoBudgetError: names the tenant.
        """
        if tenant in self._apart:
            raise InvalidRequestError(
                f"{tenant!r} stands for a budget that pays for no request; name another",
                field="tenant",
            )
        if self._refuses_unbudgeted and not self.ledger.applies(tenant):
            raise NoBudgetError(
                f"tenant {tenant!r} has no budget; give it one in budgets, or set"
                " ledger.unbudgeted to allow"
            )

    def book(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        case: Case,
        choice: IndexArray,
        raised_usd: FloatArray | None = None,
        instead: IndexArray | None = None,
    ) -> Booked:
        """Books each row on its own.

        A row that its budgets cannot pay for as it is raised is tried again at its cost, and one
        that they cannot pay for then, with the model to book instead, if it has one, and at last
        with its cheapest model. When they cannot pay for that either, ``on_exhausted`` of the
        budget that lacks the money decides: the row is refused, or keeps the cheapest model, which
        is booked as an overdraft.

        Args:
            ids: [n], decision ids.
            tenants: [n], the tenants that pay.
            case: the input of the choice, of which the costs are booked.
            choice: int [n].
            raised_usd: float64 [n], what to reserve at first, at least the cost of the choice;
                None: that cost.
            instead: int [n], the models that take the place of choices that are not paid for; None:
                there are none.
        """
        choice = choice.copy()
        spent = np.full(len(choice), -1, np.intp)
        rows = np.flatnonzero(choice >= 0)
        amounts_usd = _costs(case, choice)
        lacking, degraded = self._reserve(
            ids, tenants, amounts_usd if raised_usd is None else raised_usd, rows
        )
        if raised_usd is not None:
            as_it_is = (lacking >= 0) & (raised_usd[rows] > amounts_usd[rows])
            raised = rows[lacking < 0]
            if as_it_is.any():
                lacking[as_it_is], _ = self._reserve(ids, tenants, amounts_usd, rows[as_it_is])
            amounts_usd[raised] = raised_usd[raised]
        refused: IndexArray = np.zeros(0, np.intp)
        if instead is not None:
            self._book_instead(ids, tenants, case, choice, instead, rows, lacking, amounts_usd)
        short = rows[lacking >= 0]
        if short.size:
            spent[short] = lacking[lacking >= 0]
            choice[short], costlier = _cheapest(case, choice, short)
            amounts_usd[short] = case.costs_usd[short, choice[short]]
            again, _ = self._reserve(ids, tenants, amounts_usd, short[costlier])
            lacking = spent[short]
            lacking[costlier] = again
            short, lacking = short[lacking >= 0], lacking[lacking >= 0]
            spent[short] = lacking
            refuses = self._refuses(tenants, case, choice, short, lacking)
            beside = short[~refuses]
            lacking = self._overdraw(ids, tenants, amounts_usd, beside)
            spent[beside[lacking >= 0]] = lacking[lacking >= 0]
            refused = np.sort(np.concatenate([short[refuses], beside[lacking >= 0]]))
            choice[refused] = -1
        granted = choice >= 0
        granted[short] = False
        return Booked(
            choice,
            spent,
            _flags(len(choice), refused),
            granted,
            degraded,
            self.limits_usd(tenants, amounts_usd),
        )

    def _book_instead(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        case: Case,
        choice: IndexArray,
        instead: IndexArray,
        rows: IndexArray,
        lacking: NDArray[np.intp],
        amounts_usd: FloatArray,
    ) -> None:
        """Puts other models in place of those that are not paid for, and books them.

        ``choice``, ``lacking`` and ``amounts_usd`` are changed.
        """
        at = np.flatnonzero((lacking >= 0) & (instead[rows] != choice[rows]))
        if at.size:
            others = rows[at]
            choice[others] = instead[others]
            amounts_usd[others] = case.costs_usd[others, choice[others]]
            lacking[at], _ = self._reserve(ids, tenants, amounts_usd, others)

    def limits_usd(self, tenants: Sequence[str], amounts_usd: FloatArray) -> FloatArray:
        """Returns the amounts, float64 [n], infinite for tenants that no budget pays for."""
        applies = self.ledger.applies
        paid = np.array([bool(applies(tenant)) for tenant in tenants])
        return np.where(paid, amounts_usd, np.inf)

    def book_one(self, decision_id: str, tenant: str, cost_usd: float) -> str:
        """Books one cost, or nothing where a budget cannot pay for it.

        Returns:
            The message about the budget that lacks the money; empty: the cost was booked.
        """
        grants = self.ledger.reserve([decision_id], [tenant], np.array([cost_usd]))
        lacking = int(grants.refused_by[0])
        if lacking < 0:
            return ""
        return str(self.spent_error(lacking, degraded=grants.degraded))

    def release(self, ids: Sequence[str]) -> None:
        """Gives back what was booked for decisions that nobody received."""
        for one in ids:
            self.ledger.settle(one, 0.0)

    def spent_error(
        self, budget: int, lack: str = "has not enough left", *, degraded: bool = False
    ) -> BudgetSpentError:
        """Returns the error for a request that a budget refuses.

        Args:
            budget: position of the budget in ``ledger.terms``.
            lack: what the budget lacks.
            degraded: whether only a lease was asked, see ``Grants``.
        """
        terms = self.ledger.terms[budget]
        period_s = terms.period_s
        if degraded:
            # A new period would not help: it may be that nothing of the budget is spent.
            return BudgetSpentError(
                f"budget {terms.name} (${terms.limit_usd:g} in {period_s:.0f} s) {lack} of this"
                " replica's lease, and Redis is away or has lost books; try again later, the log"
                " says when it is back",
                budget=terms.name,
            )
        if terms.sliding:
            when = f"money comes back as spending of the last {period_s:.0f} s grows old"
        else:
            left_s = (terms.period_ns - self.clock_ns() % terms.period_ns) * 1e-9
            when = f"the next period begins in {left_s:.0f} s"
        return BudgetSpentError(
            f"budget {terms.name} (${terms.limit_usd:g} in {period_s:.0f} s) {lack}; {when}, or"
            " raise it",
            budget=terms.name,
        )

    def _reserve(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: FloatArray,
        rows: IndexArray,
    ) -> tuple[NDArray[np.intp], bool]:
        if not rows.size:
            return np.zeros(0, np.intp), False
        if rows.size < len(ids):
            ids, tenants = [ids[row] for row in rows], [tenants[row] for row in rows]
        grants = self.ledger.reserve(ids, tenants, amounts_usd[rows])
        return grants.refused_by, grants.degraded

    def _overdraw(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: FloatArray,
        rows: IndexArray,
    ) -> NDArray[np.intp]:
        """Books rows beside the budgets that allow it; returns the one that refuses each, or -1."""
        if not rows.size:
            return np.zeros(0, np.intp)
        grants = self.ledger.overdraw(
            [ids[row] for row in rows],
            [tenants[row] for row in rows],
            amounts_usd[rows],
        )
        return grants.refused_by

    def _refuses(
        self,
        tenants: Sequence[str],
        case: Case,
        choice: IndexArray,
        rows: IndexArray,
        lacking: NDArray[np.intp],
    ) -> BoolArray:
        """Returns whether each row that lacks money is refused, bool [len(rows)].

        The ledger names one budget per row. Where that budget allows an overdraft, another budget
        of the tenant may still refuse. For this check overdrafts count as spent money, although
        the books do not count them as such.
        """
        terms = self.ledger.terms
        refuses = np.array(
            [terms[max(0, one)].on_exhausted == "refuse" for one in lacking], np.bool_
        )
        refuses &= lacking >= 0
        strict = {i for i, one in enumerate(terms) if one.on_exhausted == "refuse"}
        if not strict or refuses.all():
            return refuses
        left_usd = [
            one.terms.limit_usd - one.reserved_usd - one.settled_usd - one.overdraft_usd
            for one in self.ledger.states()
        ]
        for at in np.flatnonzero(~refuses).tolist():
            row = rows[at]
            cost_usd = float(case.costs_usd[row, choice[row]])
            for budget in strict.intersection(self.ledger.applies(tenants[row])):
                refuses[at] |= cost_usd > left_usd[budget]
                left_usd[budget] -= cost_usd
        return refuses


def _costs(case: Case, choice: IndexArray) -> FloatArray:
    """Returns the cost of each row's choice, float64 [n]; of rows without one, any."""
    costs: FloatArray = case.costs_usd[np.arange(len(choice)), choice]
    return costs


def _cheapest(case: Case, choice: IndexArray, rows: IndexArray) -> tuple[IndexArray, BoolArray]:
    """Returns the cheapest models of some rows, and whether each costs less than the choice."""
    cheapest = cheapest_of(case.scores[rows], case.costs_usd[rows], case.mask[rows])
    less = case.costs_usd[rows, cheapest] < case.costs_usd[rows, choice[rows]]
    return cheapest, less


def _flags(n: int, rows: IndexArray) -> BoolArray:
    flags = np.zeros(n, np.bool_)
    flags[rows] = True
    return flags
