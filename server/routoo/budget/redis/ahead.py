"""Grants that a replica has made out of its leases while Redis answers, to be booked there soon.

A call of one row does not wait for Redis if the leases have the money: Redis counts a lease as if
it was spent, so nobody else is granted it. A thread tells Redis soon after, which lowers the lease
by what it books. So within a lease the replica grants, and beyond it Redis does: a call is refused
by Redis alone.

- The leases that Redis counts are never less than what is granted ahead and what may still be: a
  renewal lowers no lease below either.
- Redis may take from the caller's lease what a call needs, when nothing else is left. Such a call
  is sent after all that was granted ahead is booked, and until it has ended nothing is. A call of
  one row is such a call only if it was refused without; the calls after it are, until a renewal.
- When Redis goes away, what it has still to book becomes a part of what was decided without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.budget.redis.backlog import PendingBooking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.budget.redis.lease import Leases
    from routoo.budget.scopes import Scopes

# With more than this to be booked, calls ask Redis: it is slow, and would only get further behind.
_MOST_ROWS = 2000


class Ahead:
    """Grants that Redis has still to book, and costs of these. The owner holds its lock.

    Attributes:
        rows: the grants, by decision id.
        costs: reported costs in nano-USD of decisions that were granted ahead, by id.
    """

    def __init__(self, scopes: Scopes, leases: Leases) -> None:
        """Starts shut: nothing is granted before ``open``.

        Args:
            scopes: the budgets.
            leases: the leases of this replica.
        """
        self._scopes = scopes
        self._leases = leases
        self._used = [0] * len(scopes.terms)
        self._open = False
        self._taking = 0
        self.rows: dict[str, PendingBooking] = {}
        self.costs: dict[str, int] = {}

    @property
    def used(self) -> list[int]:
        """What is granted ahead of each budget, nano-USD."""
        return self._used

    def open(self) -> None:
        """Allows grants, whenever no call may take from the leases."""
        self._open = True

    def shut(self) -> None:
        """Ends grants, until ``open``; calls may now take from the leases."""
        self._open = False

    def grant(self, key: str, group: int, amount: int, time_us: int) -> bool:
        """Grants a row, if the leases of all its budgets have the money.

        Args:
            key: the decision id.
            group: see ``Scopes``.
            amount: nano-USD.
            time_us: the time by Redis' clock, microseconds since 1970.
        """
        if not self._open or self._taking or len(self.rows) >= _MOST_ROWS:
            return False
        if key in self.rows:
            return True
        members = self._scopes.members[group]
        for index in members:
            has = self._leases.spendable(index) - self._used[index]
            if has <= 0 or has < amount:
                return False
        for index in members:
            self._used[index] += amount
        self.rows[key] = PendingBooking(group, amount, time_us, overdrawn=False)
        return True

    def ask(self, rows: int) -> bool:
        """Notes a call that asks Redis, and returns whether it may take from the leases."""
        takes = rows > 1 or not self._open
        self._taking += takes
        return takes

    def answered(self, *, took: bool) -> None:
        """Notes the end of a call, by what ``ask`` has returned for it."""
        self._taking -= took

    def rows_to_book(self) -> list[tuple[str, int, int, int, bool]]:
        """Returns the grants that Redis has to book, see ``RedisStore.adopt``."""
        return [
            (key, row.group, row.amount, row.time_us, row.overdrawn)
            for key, row in self.rows.items()
        ]

    def costs_to_book(self) -> list[tuple[str, int]]:
        """Returns the costs of grants that Redis has booked, which it has to get."""
        return [(key, cost) for key, cost in self.costs.items() if key not in self.rows]

    def booked(self, rows: Iterable[str], costs: Iterable[str]) -> None:
        """Removes what Redis has booked."""
        for key in rows:
            row = self.rows.pop(key, None)
            if row is not None:
                for index in self._scopes.members[row.group]:
                    self._used[index] -= row.amount
        for key in costs:
            self.costs.pop(key, None)

    def settle(self, key: str, cost: int) -> bool | None:
        """Notes a cost in nano-USD.

        Returns:
            None: Redis has to be asked; False: a cost was reported before.
        """
        if key in self.costs:
            return False
        if key not in self.rows:
            return None
        self.costs[key] = cost
        return True

    def leave(self) -> tuple[dict[str, PendingBooking], dict[str, int]]:
        """Hands over everything that Redis has still to get, and shuts."""
        rows, costs = self.rows, self.costs
        self.rows, self.costs, self._used = {}, {}, [0] * len(self._used)
        self._open = False
        return rows, costs
