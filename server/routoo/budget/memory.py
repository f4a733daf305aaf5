"""The ledger of one process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.books import Books, Keeping
from routoo.budget.clock import ForwardClock
from routoo.budget.ledger import Grants
from routoo.budget.scopes import Scopes
from routoo.budget.terms import nano_usd, one_nano_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.journaling import Journaling
    from routoo.budget.ledger import BudgetState, Settled
    from routoo.budget.terms import BudgetTerms


class MemoryLedger:
    """Implements ``Ledger`` in memory, and in a journal if it is given one."""

    def __init__(
        self,
        terms: tuple[BudgetTerms, ...],
        keeping: Keeping,
        clock_ns: Callable[[], int],
        journaling: Journaling | None = None,
    ) -> None:
        """Opens the books.

        Args:
            terms: the budgets.
            keeping: how long decisions are kept.
            clock_ns: nanoseconds since 1970; may go back.
            journaling: where the books come from and what keeps them; closed with the ledger.

        Raises:
            ConfigError: the journal is damaged or was written by another version.
        """
        self._scopes = Scopes(terms)
        self._clock_ns = ForwardClock(clock_ns)
        self._lock = threading.Lock()
        self._books = Books(self._scopes, keeping)
        self._journaling = journaling
        if journaling is not None:
            journaling.restore(self._books, self._lock)
            self._clock_ns.not_before(self._books.now_ns)

    @property
    def terms(self) -> tuple[BudgetTerms, ...]:
        return self._scopes.terms

    def applies(self, tenant: str) -> tuple[int, ...]:
        return self._scopes.budgets(tenant)

    def reserve(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: NDArray[np.float64],
        *,
        all_or_nothing: bool = False,
    ) -> Grants:
        amounts, groups = self._rows(ids, tenants, amounts_usd)
        with self._lock:
            self._begin(ids)
            refused_by = self._books.admit(groups, amounts, all_or_nothing=all_or_nothing)
            granted = refused_by < 0
            if granted.any():
                if not granted.all():
                    ids, amounts, groups = _chosen(ids, granted), amounts[granted], groups[granted]
                self._book(ids, groups, amounts, overdrawn=False)
        self._sync()
        return Grants(refused_by, degraded=False)

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> None:
        amounts, groups = self._rows(ids, tenants, amounts_usd)
        with self._lock:
            self._begin(ids)
            self._book(ids, groups, amounts, overdrawn=True)
        self._sync()

    def settle(self, decision_id: str, cost_usd: float) -> Settled:
        cost = one_nano_usd(cost_usd)
        with self._lock:
            now_ns = self._clock_ns()
            self._books.advance(now_ns)
            settled = self._books.settle(decision_id, cost)
            if self._journaling is not None and settled.books:
                self._journaling.settled(now_ns, decision_id, cost)
        self._sync()
        return settled

    def charge(self, amounts: Sequence[int]) -> None:
        """Takes an amount, nano-USD, out of each budget at the present time; not journaled."""
        with self._lock:
            self._books.advance(self._clock_ns())
            for index, amount in enumerate(amounts):
                self._books.charge(index, amount)

    def states(self) -> tuple[BudgetState, ...]:
        with self._lock:
            self._books.advance(self._clock_ns())
            degraded = self._journaling is not None and self._journaling.failed
            return self._books.states(degraded=degraded)

    def close(self) -> None:
        if self._journaling is not None:
            self._journaling.close()

    def _rows(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        if not len(ids) == len(tenants) == len(amounts_usd):
            raise ValueError(
                f"{len(ids)} ids, {len(tenants)} tenants and {len(amounts_usd)} amounts;"
                " each row has one of each"
            )
        return nano_usd(amounts_usd), self._scopes.groups(tenants)

    def _begin(self, ids: Sequence[str]) -> None:
        self._books.advance(self._clock_ns())
        if self._books.taken(ids):
            raise ValueError("a decision id is booked already, or stands twice")

    def _book(
        self,
        ids: Sequence[str],
        groups: NDArray[np.intp],
        amounts: NDArray[np.int64],
        *,
        overdrawn: bool,
    ) -> None:
        self._books.book(ids, groups, amounts, overdrawn=overdrawn)
        if self._journaling is not None:
            tenants = self._scopes.tenants
            self._journaling.booked(
                self._books.now_ns,
                ids,
                [tenants[group] for group in groups.tolist()],
                amounts,
                overdrawn=overdrawn,
            )

    def _sync(self) -> None:
        # Outside the lock: a disk takes milliseconds.
        if self._journaling is not None:
            self._journaling.sync()


def _chosen(ids: Sequence[str], rows: NDArray[np.bool_]) -> list[str]:
    return [ids[row] for row in np.flatnonzero(rows).tolist()]
