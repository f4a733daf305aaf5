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
            refused_by = self._books.reserve(ids, groups, amounts, all_or_nothing=all_or_nothing)
            if self._journaling is not None:
                self._write_down(ids, groups, amounts, refused_by)
        self._sync()
        if refused_by is None:
            refused_by = np.full(len(ids), -1, np.intp)
        return Grants(refused_by, degraded=False)

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> None:
        amounts, groups = self._rows(ids, tenants, amounts_usd)
        with self._lock:
            self._begin(ids)
            self._books.book(ids, groups, amounts, overdrawn=True)
            if self._journaling is not None:
                self._write_down(ids, groups, amounts, None, overdrawn=True)
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

    def _write_down(
        self,
        ids: Sequence[str],
        groups: NDArray[np.intp],
        amounts: NDArray[np.int64],
        refused_by: NDArray[np.intp] | None,
        *,
        overdrawn: bool = False,
    ) -> None:
        booked = self._scopes.bounded[groups]
        if refused_by is not None:
            booked &= refused_by < 0
        rows = np.flatnonzero(booked).tolist()
        if self._journaling is not None and rows:
            tenants = self._scopes.tenants
            self._journaling.booked(
                self._books.now_ns,
                ids if len(rows) == len(ids) else [ids[row] for row in rows],
                [tenants[group] for group in groups[booked].tolist()],
                amounts[booked],
                overdrawn=overdrawn,
            )

    def _sync(self) -> None:
        # Outside the lock: a disk takes milliseconds.
        if self._journaling is not None:
            self._journaling.sync()
