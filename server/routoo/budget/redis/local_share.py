"""The local share: what a replica spends of the budgets by itself while Redis is away."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.ledger import BudgetState, Settled
from routoo.budget.memory.books import Books, PeriodSums
from routoo.budget.memory.ledger import ForwardClock
from routoo.budget.redis.backlog import Pending, PendingBooking
from routoo.budget.scopes import Scopes
from routoo.budget.terms import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.memory.books import Keeping
    from routoo.budget.redis.store import Seen

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]


class Alone:
    """Decides within a share of what was left of each budget when it was last seen.

    The replica keeps books of its own, whose limits are that share of the budgets' limits. What
    others have spent is booked there as settled, at the time when Redis went away. A budget that
    was never seen has nothing left in the present period, because nobody knows what was spent.

    ``saw`` may be called at any time; everything else with the ledger's lock held.

    Attributes:
        pending: decisions and costs that Redis has to get when it is back.
        reports: per budget the last known sums of what was reported; empty: never seen.
    """

    def __init__(
        self, scopes: Scopes, keeping: Keeping, share: float, clock_ns: Callable[[], int]
    ) -> None:
        """Starts without any knowledge of the budgets.

        Args:
            scopes: the budgets.
            keeping: the time and number of decisions that are kept; bounds ``pending``, too.
            share: part of what is left of each budget, from 0 to 1.
            clock_ns: nanoseconds since 1970; its difference to Redis' clock is corrected.
        """
        self._scopes = scopes
        self._keeping = keeping
        self._share = share
        self._clock_ns = ForwardClock(clock_ns)
        self._own = Scopes(
            tuple(
                replace(terms, limit_nano_usd=int(share * terms.limit_nano_usd))
                for terms in scopes.terms
            )
        )
        self._seeing = threading.Lock()
        self._seen: dict[int, Seen] = {}
        self._versions: dict[int, int] = {}
        self._clock_lead_us = 0  # Redis' clock minus ours
        self._books = Books(self._own, keeping)
        self._began_ns = 0
        self._charges: list[int] = []
        self.pending = Pending(keeping.max_decisions)
        self.reports: tuple[PeriodSums, ...] = ()

    @property
    def seen(self) -> dict[int, Seen]:
        """The last known state of each budget, by index; a budget that was never seen is absent."""
        with self._seeing:
            return dict(self._seen)

    def saw(self, seen: dict[int, Seen], version: int, now_us: int) -> None:
        """Notes the budgets in an answer of Redis; answers may come out of order.

        Args:
            seen: the budgets, by index.
            version: rises with every change in Redis; an older answer is ignored.
            now_us: Redis' time.
        """
        with self._seeing:
            self._clock_lead_us = now_us - self._clock_ns() // 1000
            for index, budget in seen.items():
                if version > self._versions.get(index, -1):
                    self._versions[index] = version
                    self._seen[index] = budget

    def begin(self) -> None:
        """Opens the replica's own books, when Redis goes away."""
        self._books = books = Books(self._own, self._keeping)
        self._began_ns = self._now_ns()
        books.advance(self._began_ns)
        self._charges = []
        for index, terms in enumerate(self._scopes.terms):
            left = self._left(index, terms.limit_nano_usd)
            charge = self._own.terms[index].limit_nano_usd - int(self._share * left)
            books.charge(index, charge)
            self._charges.append(charge)

    def end(self) -> None:
        """Empties the replica's own books, when Redis has everything."""
        self._books = Books(self._own, self._keeping)

    def decide(
        self, ids: list[str], groups: IndexArray, amounts: IntArray, mode: str, *, doubtful: bool
    ) -> IndexArray:
        """Decides rows that all have budgets.

        Args:
            ids: [n].
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD.
            mode: any, all or over, see ``reserve.lua``.
            doubtful: Redis may have these rows, from a call whose answer got lost.

        Returns:
            ``Grants.refused_by``.
        """
        books = self._books
        books.advance(self._now_ns())
        refused_by = np.full(len(ids), -1, np.intp)
        fresh = [row for row, key in enumerate(ids) if key not in self.pending.bookings]
        if len(fresh) < len(ids):
            ids = [ids[row] for row in fresh]
            groups, amounts = groups[fresh], amounts[fresh]
        if not self.pending.has_room(len(ids)):
            # Redis could not be told of these decisions later, so they are refused.
            refused_by[fresh] = [self._scopes.members[group][0] for group in groups.tolist()]
            return refused_by
        if mode == "over":
            refused_by[fresh] = books.overdraw(ids, groups, amounts)
        else:
            found = books.reserve(ids, groups, amounts, all_or_nothing=mode == "all")
            if found is not None:
                refused_by[fresh] = found
        granted = refused_by[fresh] < 0
        time_us = books.now_ns // 1000
        rows = np.flatnonzero(granted).tolist()
        bookings = [
            PendingBooking(group, amount, time_us, mode == "over")
            for group, amount in zip(
                groups[granted].tolist(), amounts[granted].tolist(), strict=True
            )
        ]
        self.pending.book([ids[row] for row in rows], bookings)
        if doubtful:
            self.pending.doubt(ids)
        return refused_by

    def take_back(self, ids: Sequence[str]) -> None:
        """Undoes decisions that were made here or by Redis."""
        for key in ids:
            if self.pending.bookings.pop(key, None) is not None:
                self._books.settle(key, 0)
        self.pending.doubt(ids)

    def settle(self, decision_id: str, cost: int) -> Settled:
        """Takes note of a cost in nano-USD, without knowing whether its decision exists."""
        if decision_id in self.pending.costs:
            return Settled.TWICE
        if not self.pending.has_room(1):
            return Settled.UNKNOWN
        self._books.advance(self._now_ns())
        self._books.settle(decision_id, cost)
        self.pending.costs[decision_id] = cost
        return Settled.SETTLED

    def states(self) -> tuple[BudgetState, ...]:
        """Returns each budget: its last known state, if that counts, plus what was spent here."""
        self._books.advance(self._now_ns())
        states = []
        for index, terms in enumerate(self._scopes.terms):
            account = self._books.accounts[index]
            seen = self.seen.get(index)
            others = PeriodSums()
            own = account.total
            settled = own.settled
            if account.counts(self._began_ns // terms.step_ns):
                settled -= self._charges[index]
                if seen is not None and self._counts(index, seen):
                    others = PeriodSums(seen.reserved, seen.settled, seen.overdraft, seen.granted)
                    others.add(self.reports[index] if self.reports else PeriodSums())
            states.append(
                BudgetState(
                    terms=terms,
                    reserved_usd=usd(others.reserved + own.reserved),
                    settled_usd=usd(others.settled + settled),
                    overdraft_usd=usd(others.overdraft + own.overdraft),
                    granted=others.granted + own.granted,
                    period_left_s=account.left_ns(self._books.now_ns) / 1e9,
                    degraded=True,
                    reported_usd=usd(others.reported + own.reported),
                    reported_reserved_usd=usd(others.reported_reserved + own.reported_reserved),
                    expired=others.expired + own.expired,
                )
            )
        return tuple(states)

    def _now_ns(self) -> int:
        """Returns the time by Redis' clock; by the machine's clock if Redis was never reached."""
        with self._seeing:
            now_ns = self._clock_ns() + 1000 * self._clock_lead_us
        return max(now_ns, self._books.now_ns)

    def _left(self, index: int, limit: int) -> int:
        """Returns what was left of a limit when the budget was last seen."""
        seen = self.seen.get(index)
        if seen is None:
            return 0
        if not self._counts(index, seen):
            return limit
        return max(0, limit - seen.reserved - seen.settled)

    def _counts(self, index: int, seen: Seen) -> bool:
        """Returns whether the last known state still counted when Redis went away."""
        terms = self._scopes.terms[index]
        return self._began_ns // terms.step_ns < seen.step + terms.steps
