"""Leases: the money of each budget that a replica may spend without asking Redis.

The rule that they keep: in every period, what is reserved and settled in Redis, plus all leases
that Redis counts, stays within the limit, as far as it is for grants to decide; and each replica
spends without Redis no more than Redis counts as its lease. So however the network splits replicas
and Redis, they do not grant more than the limit. Reported costs above their reservations come on
top.

- Redis grants a call only what others have not leased. The caller's own lease is available to it:
  a grant that needs it lowers it, in the same script, and the answer tells how much is left.
- A lease is a share of what is left, divided among the replicas that hold one (``lease.lua``), so
  that all together keep ``ledger.local_share`` of it from being spent by others. It is renewed each
  second. It grows in Redis first and shrinks in the replica first: an answer that gets lost leaves
  Redis counting more than the replica spends, never less.
- A lease ends. The replica spends it for ``ledger.lease_s`` from the time before it *asked* for it,
  by a clock that runs during a suspend and does not follow the time of day. Redis counts it for one
  period longer: what was spent at the end of the lease counts that long, and the replica may come
  back as late as that and tell. Time in which nobody calls Redis does not bring that end nearer, so
  a clock of Redis that is put forward ends no lease.
- Without Redis, the lease is one plain amount, whatever periods end. A grant lowers it, a reported
  cost changes it by what it is off its reservation.
- Calls that are on their way when Redis goes away may have used the lease. Their amounts are taken
  from it.
- While Redis answers, small calls are granted out of the lease, too, and booked soon after: see
  ``ahead.py``.
- A replica that comes back tells what it decided, then renews. Between the two, this counts twice.
- A replica that never reached Redis has no lease. One that stops gives its lease back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from routoo.budget.machine_start import since_start_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from routoo.budget.redis.replies import Renewal, Told
    from routoo.budget.scopes import Scopes

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Leasing:
    """Size and duration of leases.

    Attributes:
        share: part of what is left of each budget that all leases together hold, from 0 to 1.
        lasts_ns: duration of a lease from its last renewal.
        waits_longer: when Redis has lost the books and a replica is missing that may know more,
            nothing but leases is granted until nothing counts any more that it may know. False:
            until the leases have ended.
        clock_ns: the clock of leases, nanoseconds from any start; it only goes forward.
    """

    share: float
    lasts_ns: int
    waits_longer: bool = True
    clock_ns: Callable[[], int] = since_start_ns


class Leases:
    """The leases of a replica, one per budget, and the calls that may be using them.

    ``sending`` and ``arrived`` need no lock. For everything else the owner holds one.

    Attributes:
        peers: names of the other replicas that hold leases, as last told.
    """

    def __init__(self, scopes: Scopes, leasing: Leasing) -> None:
        """Starts without any lease.

        Args:
            scopes: the budgets.
            leasing: size and duration.
        """
        n = len(scopes.terms)
        self._scopes = scopes
        self._leasing = leasing
        self._amounts = [0] * n  # in Redis, by the answer with the highest version
        self._versions = [-1] * n
        self._allowed = [0] * n
        self._until_ns = leasing.clock_ns()
        self._left: list[int] = [0] * n  # while Redis is away
        self._calls = count()
        self._sent: dict[int, tuple[IndexArray, IntArray, bool]] = {}
        self._counted: set[int] = set()
        self._strict = [terms.on_exhausted == "refuse" for terms in scopes.terms]
        self.peers: tuple[str, ...] = ()

    @property
    def held(self) -> list[int]:
        """What may be spent of each lease, nano-USD, while Redis answers."""
        return [min(pair) for pair in zip(self._amounts, self._allowed, strict=True)]

    def spendable(self, index: int) -> int:
        """Returns what may be spent of one lease, nano-USD, while Redis answers."""
        if self._leasing.clock_ns() >= self._until_ns:
            return 0
        return min(self._amounts[index], self._allowed[index])

    @property
    def left(self) -> list[int]:
        """What may still be spent of each lease, nano-USD, while Redis is away; may be below 0."""
        if self._leasing.clock_ns() < self._until_ns:
            return list(self._left)
        return [min(0, left) for left in self._left]

    @property
    def unspent(self) -> list[int]:
        """The most that is spent of each lease, nano-USD, however long it lasts."""
        return [max(0, left) for left in self._left]

    def told(self, told: Told) -> None:
        """Notes the leases in an answer of Redis; answers may come out of order."""
        for index, seen in told.seen.items():
            if told.version > self._versions[index]:
                self._versions[index], self._amounts[index] = told.version, seen.lease

    def renewed(self, renewal: Renewal) -> None:
        """Takes on renewed leases."""
        self.told(renewal.told)
        self._allowed = list(renewal.allowed)
        self._until_ns = renewal.told.sent_ns + self._leasing.lasts_ns
        self.peers = renewal.peers

    def sending(self, groups: IndexArray, amounts: IntArray, *, over: bool) -> int:
        """Notes a call that is being sent, and returns its number.

        Args:
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD.
            over: the call books overdraft, which only budgets that refuse grant.
        """
        call = next(self._calls)
        self._sent[call] = (groups, amounts, over)
        return call

    def arrived(self, call: int) -> None:
        """Notes that the answer of a call has come, and was told."""
        self._sent.pop(call, None)
        self._counted.discard(call)

    def leave(self) -> None:
        """Begins a time without Redis: takes from each lease what is on its way to Redis."""
        self._left = self.held
        sent = list(self._sent.items())
        self._counted = {call for call, _ in sent}
        for _, rows in sent:
            self._change(*rows, sign=-1)

    def give_back(self, call: int) -> None:
        """Ends the doubt about a call, whose rows are now decided without Redis."""
        if call in self._counted:
            self._counted.discard(call)
            self._change(*self._sent[call], sign=1)

    def take(self, groups: IndexArray, amounts: IntArray, *, over: bool) -> None:
        """Takes rows from the leases, which may fall below 0; see ``sending``."""
        self._change(groups, amounts, over, sign=-1)

    def correct(self, group: int, amount: int) -> None:
        """Adds nano-USD to the leases of a group's budgets; below 0: takes them."""
        for index in self._scopes.members[group]:
            self._left[index] += amount

    def members(self, group: int, *, over: bool) -> Sequence[int]:
        """Returns the budgets whose leases a row of a group needs."""
        members: Sequence[int] = self._scopes.members[group]
        return [one for one in members if self._strict[one]] if over else members

    def _change(self, groups: IndexArray, amounts: IntArray, over: bool, *, sign: int) -> None:  # noqa: FBT001
        # Only while Redis is away, and Python's integers do not overflow.
        for group, amount in zip(groups.tolist(), amounts.tolist(), strict=True):
            for index in self.members(group, over=over):
                self._left[index] += sign * amount
