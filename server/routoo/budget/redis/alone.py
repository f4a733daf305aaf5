"""A replica without Redis: it spends its leases, and remembers what Redis has to be told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.clocks import ForwardClock
from routoo.budget.ledger import BudgetState, Settled
from routoo.budget.memory.books import Books, PeriodSums
from routoo.budget.redis.ahead import Ahead
from routoo.budget.redis.backlog import Pending, PendingBooking
from routoo.budget.redis.lease import Leases
from routoo.budget.redis.replies import BudgetClaim
from routoo.budget.terms import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.budget.memory.books import Keeping
    from routoo.budget.redis.backlog import PendingPart
    from routoo.budget.redis.lease import Leasing
    from routoo.budget.redis.replies import Renewal, Seen, Told
    from routoo.budget.scopes import Scopes

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]


class Alone:
    """Decides within the leases, and knows the budgets as they were when last seen.

    ``entered``, ``saw``, ``sending``, ``arrived`` and ``claims`` may be called at any time;
    everything else with the ledger's lock held.

    Books that were lost are not whole until all replicas have told what they know of them. If they
    are lost again before, what they said is no state that may be put back: it has what this
    replica has told, and lacks what others know. So until then the budgets stay as they were seen
    before, and what Redis was told is remembered, to be told again.

    Attributes:
        pending: decisions and costs that Redis has to get when it is back.
        waits: Redis' books may not be whole yet.
        reports: per budget the last known sums of what was reported; empty: never seen.
        ahead: what was granted out of the leases while Redis answers.
    """

    def __init__(
        self, scopes: Scopes, keeping: Keeping, leasing: Leasing, clock_ns: Callable[[], int]
    ) -> None:
        """Starts without any knowledge of the budgets.

        Args:
            scopes: the budgets.
            keeping: the time and number of decisions that are kept; bounds ``pending``, too.
            leasing: size and duration of leases.
            clock_ns: nanoseconds since 1970, used until Redis has told its own time.
        """
        self._scopes = scopes
        self._keeping = keeping
        self._lease_clock_ns = leasing.clock_ns
        self._clock_ns = ForwardClock(clock_ns)
        self._seeing = threading.Lock()
        self._leases = Leases(scopes, leasing)
        self.ahead = Ahead(scopes, self._leases)
        self._seen: dict[int, Seen] = {}
        self._versions: dict[int, int] = {}
        self._latest: Told | None = None
        self._epoch: str | None = None
        self._late_us = 0
        self._books = Books(scopes, keeping)
        self.pending = Pending(keeping.max_decisions)
        self._told = Pending(keeping.max_decisions)
        self.waits = False
        self.reports: tuple[PeriodSums, ...] = ()

    @property
    def most(self) -> list[int]:
        """The most that is spent of each present lease, nano-USD, while Redis answers."""
        with self._seeing:
            return [max(pair) for pair in zip(self._leases.held, self.ahead.used, strict=True)]

    @property
    def unspent(self) -> list[int]:
        """What may be spent of each lease, nano-USD, while Redis is away."""
        return self._leases.unspent

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of the other replicas that hold leases, as last told."""
        return self._leases.peers

    @property
    def version(self) -> int:
        """The latest version of the books that was seen; 0: none."""
        return 0 if self._latest is None else self._latest.version

    @property
    def now_us(self) -> int:
        """The time by Redis' clock, microseconds; by the machine's if Redis was never reached.

        It goes on from Redis' last reading by the clock of leases, which no setting of the time
        changes, and is never behind: what was decided in a period must not be booked in the one
        before.
        """
        latest = self._latest
        if latest is None:
            with self._seeing:
                return self._clock_ns() // 1000
        return latest.now_us + (self._lease_clock_ns() - latest.sent_ns) // 1000

    @property
    def late_us(self) -> int:
        """Microseconds by which Redis' clock was put forward since Redis went away."""
        return self._late_us

    def claims(self) -> list[BudgetClaim]:
        """Returns the latest that is known of each budget, for a Redis that has lost the books.

        What those books still answer is not taken on any more: it is not in the claims.
        """
        with self._seeing:
            self._epoch = None
            leases = self._leases.held
            return [
                BudgetClaim(self._seen.get(index), self._versions.get(index, -1), lease)
                for index, lease in enumerate(leases)
            ]

    def entered(self, told: Told) -> None:
        """Notes the books that answer from now on, which a renewal has to tell to be whole."""
        with self._seeing:
            self._epoch = told.epoch
            self.waits = True
        self.saw(told)

    def saw(self, told: Told) -> bool:
        """Notes the budgets in an answer of Redis; answers may come out of order.

        Returns:
            False: the answer is of books that have been lost since the call was sent, and nobody
            else will learn of it.
        """
        with self._seeing:
            if told.epoch != self._epoch:
                return False
            if self._latest is None or told.version > self._latest.version:
                if self._latest is not None:
                    self._late_us += max(0, told.now_us - self.now_us)
                self._latest = told
            self._leases.told(told)
            if not self.waits:
                self._see(told)
            return True

    def renewed(self, renewal: Renewal) -> None:
        """Takes on renewed leases, and notes whether the books are whole."""
        if self.saw(renewal.told):
            with self._seeing:
                self._leases.renewed(renewal)
            if not renewal.waiting:
                self.whole(renewal.told)

    def whole(self, told: Told) -> None:
        """Notes that books are whole, which told all budgets."""
        with self._seeing:
            if self.waits and told.epoch == self._epoch:
                self.waits = False
                self._told = Pending(self._keeping.max_decisions)
                self._see(told)

    def granted(self, told: Told, rows: Iterable[tuple[str, int, int]], *, overdrawn: bool) -> bool:
        """Notes what Redis has granted.

        Args:
            told: its answer.
            rows: decision id, group, nano-USD.
            overdrawn: as overdraft.

        Returns:
            False: the books that granted have been lost.
        """
        with self._seeing:
            if told.epoch != self._epoch:
                return False
            if self.waits:
                self._remember(
                    {
                        key: PendingBooking(group, amount, told.now_us, overdrawn)
                        for key, group, amount in rows
                    },
                    {},
                )
            return True

    def settled(self, decision_id: str, cost: int) -> None:
        """Notes a cost in nano-USD that Redis has booked."""
        if self.waits:
            self._remember({}, {decision_id: cost})

    def delivered(self, part: PendingPart) -> None:
        """Notes that a part of ``pending`` has arrived."""
        self.pending.delivered(part)
        self._remember(part.bookings, part.costs)

    def tell_again(self) -> None:
        """Puts what books were told that were lost before they were whole to what is pending."""
        told, self._told = self._told, Pending(self._keeping.max_decisions)
        self.pending.bookings = told.bookings | self.pending.bookings
        self.pending.costs = told.costs | self.pending.costs

    def sending(self, groups: IndexArray, amounts: IntArray, *, over: bool) -> int:
        """Notes a call that is being sent, and returns its number, see ``Leases.sending``."""
        return self._leases.sending(groups, amounts, over=over)

    def arrived(self, call: int) -> None:
        """Notes that a call has ended."""
        self._leases.arrived(call)

    def begin(self) -> None:
        """Opens the replica's own books, when Redis goes away."""
        with self._seeing:
            self._leases.leave()
        self._books = Books(self._scopes, self._keeping)
        self._late_us = 0
        self._books.advance(1000 * self.now_us)
        rows, costs = self.ahead.leave()
        groups = np.array([row.group for row in rows.values()], np.intp)
        amounts = np.array([row.amount for row in rows.values()], np.int64)
        self._leases.take(groups, amounts, over=False)
        self._books.book(list(rows), groups, amounts)
        self.pending.book(list(rows), list(rows.values()))
        for key, cost in costs.items():
            self.settle(key, cost)

    def grant_ahead(self, key: str, group: int, amount: int) -> bool:
        """Grants a row out of the leases while Redis answers, see ``Ahead.grant``.

        Budgets that reported costs have taken over their limits grant nothing, leases or not.
        """
        time_us = self.now_us
        with self._seeing:
            for index in self._scopes.members[group]:
                seen = self._seen.get(index)
                limit = self._scopes.terms[index].limit_nano_usd
                if seen is None or seen.reserved + seen.settled >= limit:
                    return False
            return self.ahead.grant(key, group, amount, time_us)

    def end(self) -> None:
        """Empties the replica's own books, when Redis has everything."""
        self._books = Books(self._scopes, self._keeping)

    def decide(
        self,
        ids: list[str],
        groups: IndexArray,
        amounts: IntArray,
        mode: str,
        *,
        sent: int | None,
        doubtful: bool,
    ) -> IndexArray:
        """Decides rows that all have budgets.

        Args:
            ids: [n].
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD.
            mode: any, all or over, see ``reserve.lua``.
            sent: number of the call with these rows that got no answer.
            doubtful: Redis may have these rows, from that call.

        Returns:
            ``Grants.refused_by``.
        """
        if sent is not None:
            self._leases.give_back(sent)
        over = mode == "over"
        self._books.advance(self._now_ns())
        fresh = np.array([key not in self.pending.bookings for key in ids], bool)
        found = np.full(len(ids), -1, np.intp)
        doubts = self.pending.doubts
        # What an id has taken in vain is there for its next try: one of the two is cancelled.
        spare = np.array([doubts.get(key, 0) for key in ids], np.int64)
        needs = np.maximum(amounts - spare, 0)
        if self.pending.has_room(int(fresh.sum())):
            found[fresh] = self._refusals(groups[fresh], amounts[fresh], spare[fresh], over=over)
            if mode == "all" and (found >= 0).any():
                found[fresh] = found[found >= 0][0]
        else:
            # Redis could not be told of these decisions later, so they are refused.
            first = [self._scopes.members[group][0] for group in groups[fresh].tolist()]
            found[fresh] = first
        booked = fresh & (found < 0)
        kept = [ids[row] for row in np.flatnonzero(booked).tolist()]
        self._leases.take(groups[booked], needs[booked], over=over)
        self._books.book(kept, groups[booked], amounts[booked], overdrawn=over)
        time_us = self._books.now_ns // 1000
        bookings = [
            PendingBooking(group, amount, time_us, over)
            for group, amount in zip(groups[booked].tolist(), amounts[booked].tolist(), strict=True)
        ]
        self.pending.book(kept, bookings)
        if doubtful:
            # Redis may have taken the others from the lease, too.
            self._leases.take(groups[~booked], amounts[~booked], over=over)
            taken = (0 * amounts if over else amounts).tolist()
            self.pending.doubt(dict(zip(ids, taken, strict=True)))
        return found

    def forget(self, ids: Sequence[str]) -> None:
        """Notes that Redis has undone decisions."""
        for key in ids:
            self._told.bookings.pop(key, None)

    def take_back(self, ids: Sequence[str]) -> None:
        """Undoes decisions that were made here or by Redis."""
        self.forget(ids)
        for key in ids:
            booking = self.pending.bookings.pop(key, None)
            if booking is not None:
                self._leases.correct(booking.group, booking.amount)
                self._books.settle(key, 0)
        self.pending.doubt(dict.fromkeys(ids, 0))

    def settle(self, decision_id: str, cost: int) -> Settled:
        """Takes note of a cost in nano-USD, without knowing whether its decision exists."""
        if decision_id in self.pending.costs:
            return Settled.TWICE
        if not self.pending.has_room(1):
            return Settled.UNKNOWN
        self._books.advance(self._now_ns())
        self._books.settle(decision_id, cost)
        booking = self.pending.bookings.get(decision_id)
        if booking is not None and not booking.overdrawn:
            self._leases.correct(booking.group, booking.amount - cost)
        self.pending.costs[decision_id] = cost
        return Settled.SETTLED

    def states(self) -> tuple[BudgetState, ...]:
        """Returns each budget: its last known state, if that counts, plus what was spent here."""
        self._books.advance(self._now_ns())
        with self._seeing:
            seen_all = dict(self._seen)
        states = []
        for index, terms in enumerate(self._scopes.terms):
            account = self._books.accounts[index]
            seen, own, others = seen_all.get(index), account.total, PeriodSums()
            step = self._books.now_ns // terms.step_ns
            if seen is not None and step < seen.step + terms.steps:
                others = PeriodSums(seen.reserved, seen.settled, seen.overdraft, seen.granted)
                others.add(self.reports[index] if self.reports else PeriodSums())
            states.append(
                BudgetState(
                    terms=terms,
                    reserved_usd=usd(others.reserved + own.reserved),
                    settled_usd=usd(others.settled + own.settled),
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

    def _see(self, told: Told) -> None:
        for index, budget in told.seen.items():
            if told.version > self._versions.get(index, -1):
                self._versions[index] = told.version
                self._seen[index] = budget

    def _remember(self, bookings: Mapping[str, PendingBooking], costs: Mapping[str, int]) -> None:
        # Beyond the bound, a second loss may forget what a first one alone does not.
        if self._told.has_room(len(bookings) + len(costs)):
            self._told.bookings.update(bookings)
            self._told.costs.update(costs)

    def _refusals(
        self, groups: IndexArray, amounts: IntArray, spare: IntArray, *, over: bool
    ) -> IndexArray:
        """Returns per row -1, or the first budget of which the lease lacks the money.

        ``spare`` is the part of each amount, nano-USD, that the row has taken before.
        """
        left = self._leases.left
        refused_by = np.full(len(groups), -1, np.intp)
        # Whether a row fits depends on the rows before it; only while Redis is away.
        rows = zip(groups.tolist(), amounts.tolist(), spare.tolist(), strict=True)
        for row, (group, amount, has) in enumerate(rows):
            members = self._leases.members(group, over=over)
            lacking = next((index for index in members if left[index] + has < amount), -1)
            refused_by[row] = lacking
            if lacking < 0:
                for index in members:
                    left[index] -= max(0, amount - has)
        return refused_by

    def _now_ns(self) -> int:
        return max(1000 * self.now_us, self._books.now_ns)
