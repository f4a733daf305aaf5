"""The ledger of one process, which keeps its books in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.clocks import ForwardClock
from routoo.budget.ledger import BudgetState, Grants
from routoo.budget.memory.books import Books, Keeping
from routoo.budget.scopes import Scopes, nano_usd
from routoo.budget.terms import one_nano_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.ledger import Settled
    from routoo.budget.memory.persistence import Journaling
    from routoo.budget.terms import BudgetTerms


class _Shared:
    """The books that a ledger shares with its successors; every access holds the lock."""

    __slots__ = ("books", "clock_ns", "journaling", "lock", "owner")

    def __init__(self, books: Books, clock_ns: ForwardClock, journaling: Journaling | None) -> None:
        self.books = books
        self.clock_ns = clock_ns
        self.journaling = journaling
        self.lock = threading.Lock()
        self.owner: MemoryLedger | None = None


class MemoryLedger:
    """Implements ``Ledger`` in memory, with an optional journal."""

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
            keeping: the time and number of decisions that are kept.
            clock_ns: nanoseconds since 1970; may go back.
            journaling: restores the books and writes them to a file; closed with the ledger. None:
                the books begin empty and are lost at the end.

        Raises:
            ConfigError: the journal is damaged or was written by another version.
        """
        self._scopes = Scopes(terms)
        self._shared = _Shared(Books(self._scopes, keeping), ForwardClock(clock_ns), journaling)
        self._shared.owner = self
        if journaling is not None:
            journaling.restore(self._shared.books, self._shared.lock)
            self._shared.clock_ns.not_before(self._shared.books.now_ns)

    def succeeded_by(self, terms: tuple[BudgetTerms, ...], keeping: Keeping) -> MemoryLedger:
        """Returns a ledger of other budgets on the same books, with all that is spent and open.

        A budget of the same name and tenant keeps its money. This ledger may be used until the last
        decision that began with it is made; from now on it books in the new budgets, and answers
        with its own indices. The successor is to be closed, not this one.
        """
        successor = MemoryLedger.__new__(MemoryLedger)
        successor._scopes = Scopes(terms)  # noqa: SLF001 - of this class
        shared = successor._shared = self._shared  # noqa: SLF001 - of this class
        with shared.lock:
            now_ns = shared.clock_ns()
            shared.books.advance(now_ns)
            books = Books(successor._scopes, keeping)  # noqa: SLF001 - of this class
            books.advance(now_ns)
            books.load(shared.books.dump())
            shared.books, shared.owner = books, successor
            if shared.journaling is not None:
                shared.journaling.follow(books)
        return successor

    @property
    def terms(self) -> tuple[BudgetTerms, ...]:
        return self._scopes.terms

    @property
    def waits(self) -> bool:
        return self._shared.journaling is not None

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
        amounts = self._amounts(ids, tenants, amounts_usd)
        with self._shared.lock:
            books = self._begin(ids)
            groups = books.scopes.groups(tenants)
            refused_by = books.reserve(ids, groups, amounts, all_or_nothing=all_or_nothing)
            if self._shared.journaling is not None:
                self._write_down(ids, groups, amounts, refused_by)
        self._sync()
        if refused_by is None:
            refused_by = np.full(len(ids), -1, np.intp)
        elif books.scopes is not self._scopes:
            refused_by = self._translated(books.scopes, refused_by)
        return Grants(refused_by, degraded=False)

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> Grants:
        amounts = self._amounts(ids, tenants, amounts_usd)
        with self._shared.lock:
            books = self._begin(ids)
            groups = books.scopes.groups(tenants)
            refused_by = books.overdraw(ids, groups, amounts)
            if self._shared.journaling is not None:
                self._write_down(ids, groups, amounts, refused_by, overdrawn=True)
        self._sync()
        if books.scopes is not self._scopes:
            refused_by = self._translated(books.scopes, refused_by)
        return Grants(refused_by, degraded=False)

    def settle(self, decision_id: str, cost_usd: float) -> Settled:
        cost = one_nano_usd(cost_usd)
        shared = self._shared
        with shared.lock:
            now_ns = shared.clock_ns()
            shared.books.advance(now_ns)
            settled = shared.books.settle(decision_id, cost)
            if shared.journaling is not None and settled.books:
                shared.journaling.settled(now_ns, decision_id, cost)
        self._sync()
        return settled

    def states(self) -> tuple[BudgetState, ...]:
        shared = self._shared
        with shared.lock:
            shared.books.advance(shared.clock_ns())
            degraded = shared.journaling is not None and shared.journaling.failed
            states = shared.books.states(degraded=degraded)
        if shared.books.scopes is self._scopes:
            return states
        known = {(state.terms.name, state.terms.tenant): state for state in states}
        return tuple(
            replace(known[key], terms=terms)
            if (key := (terms.name, terms.tenant)) in known
            else BudgetState(terms, 0.0, 0.0, 0.0, 0, terms.period_ns / 1e9, degraded)
            for terms in self.terms
        )

    def close(self) -> None:
        if self._shared.journaling is not None and self._shared.owner is self:
            self._shared.journaling.close()

    def _translated(self, scopes: Scopes, refused_by: NDArray[np.intp]) -> NDArray[np.intp]:
        """Translates a successor's indices to this ledger's; a budget that it lacks becomes 0."""
        own = {(terms.name, terms.tenant): index for index, terms in enumerate(self.terms)}
        places = [own.get((terms.name, terms.tenant), 0) for terms in scopes.terms]
        # The last place is for -1, granted, which stays -1.
        return np.array([*places, -1], np.intp)[refused_by]

    def _amounts(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        if not len(ids) == len(tenants) == len(amounts_usd):
            raise ValueError(
                f"{len(ids)} ids, {len(tenants)} tenants and {len(amounts_usd)} amounts;"
                " each row has one of each"
            )
        return nano_usd(amounts_usd)

    def _begin(self, ids: Sequence[str]) -> Books:
        books = self._shared.books
        books.advance(self._shared.clock_ns())
        if books.taken(ids):
            raise ValueError("a decision id is booked already, or stands twice")
        return books

    def _write_down(
        self,
        ids: Sequence[str],
        groups: NDArray[np.intp],
        amounts: NDArray[np.int64],
        refused_by: NDArray[np.intp] | None,
        *,
        overdrawn: bool = False,
    ) -> None:
        books = self._shared.books
        booked = books.scopes.bounded[groups]
        if refused_by is not None:
            booked &= refused_by < 0
        rows = np.flatnonzero(booked).tolist()
        if self._shared.journaling is not None and rows:
            tenants = books.scopes.tenants
            self._shared.journaling.booked(
                books.now_ns,
                ids if len(rows) == len(ids) else [ids[row] for row in rows],
                [tenants[group] for group in groups[booked].tolist()],
                amounts[booked],
                overdrawn=overdrawn,
            )

    def _sync(self) -> None:
        # Called without the lock, because a disk takes milliseconds.
        if self._shared.journaling is not None:
            self._shared.journaling.sync()
