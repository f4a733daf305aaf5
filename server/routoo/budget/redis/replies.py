"""The answers of the scripts in Redis, and their failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.budget.ledger import BudgetState
from routoo.budget.memory.books import PeriodSums
from routoo.budget.terms import usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.terms import BudgetTerms


class StoreError(Exception):
    """A call to Redis failed; the message tells why and what to do.

    Attributes:
        kind: away, full, garbage, lost (its books are gone) or refused (anything else).
        doubtful: Redis may have executed the call, or may still do so.
    """

    def __init__(self, kind: str, message: str, *, doubtful: bool) -> None:
        self.kind = kind
        self.doubtful = doubtful
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Seen:
    """A budget as Redis held it.

    Attributes:
        reserved: nano-USD, over the steps that count.
        settled: nano-USD.
        overdraft: nano-USD.
        granted: number of requests granted.
        step: the step of time, see ``BudgetTerms.step_ns``.
        lease: the lease of this replica, nano-USD.
    """

    reserved: int
    settled: int
    overdraft: int
    granted: int
    step: int
    lease: int


@dataclass(frozen=True, slots=True)
class Told:
    """The part that the answers of all scripts have.

    Attributes:
        seen: budgets by index, as they were after the call: those that it had to do with.
        version: grows with every call of any replica, also over a loss of the books.
        now_us: Redis' time, microseconds since 1970.
        sent_ns: the time at which the call was sent, by the clock of leases.
        epoch: name of the books that the call was sent for.
    """

    seen: dict[int, Seen]
    version: int
    now_us: int
    sent_ns: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to ``RedisStore.reserve``.

    Attributes:
        refused_by: per row, -1 or the index of a budget.
        told: the budgets that were asked.
        waiting: no more than this replica's leases was granted, because other replicas have still
            to tell what they know of books that Redis has lost.
    """

    refused_by: list[int]
    told: Told
    waiting: bool


@dataclass(frozen=True, slots=True)
class Look:
    """The answer to ``RedisStore.look``.

    Attributes:
        told: all budgets, by the name of the books that answered.
        reports: per budget the sums of what was reported, over the steps that count; the others
            are 0.
        oldest: per budget the oldest step in which something was booked; None: nothing counts.
    """

    told: Told
    reports: tuple[PeriodSums, ...]
    oldest: list[int | None]

    def states(self, terms: Sequence[BudgetTerms]) -> tuple[BudgetState, ...]:
        """Returns the states of the budgets, whose terms are given in the same order."""
        return tuple(self._state(index, one) for index, one in enumerate(terms))

    def _state(self, index: int, terms: BudgetTerms) -> BudgetState:
        seen, oldest, reports = self.told.seen[index], self.oldest[index], self.reports[index]
        step_us = terms.step_ns // 1000
        if not terms.sliding:
            left_us = (seen.step + 1) * step_us - self.told.now_us
        elif oldest is None:
            left_us = terms.period_ns // 1000
        else:
            left_us = (oldest + terms.steps) * step_us - self.told.now_us
        return BudgetState(
            terms=terms,
            reserved_usd=usd(seen.reserved),
            settled_usd=usd(seen.settled),
            overdraft_usd=usd(seen.overdraft),
            granted=seen.granted,
            period_left_s=left_us / 1e6,
            degraded=False,
            reported_usd=usd(reports.reported),
            reported_reserved_usd=usd(reports.reported_reserved),
            expired=reports.expired,
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to ``RedisStore.renew``.

    Attributes:
        told: all budgets, with the leases that Redis counts.
        allowed: per budget what this replica may spend from now on, nano-USD. Less than its lease:
            the lease shrinks at the next renewal.
        peers: names of the other replicas that hold leases, or are waited for.
        waiting: see ``Reply``.
    """

    told: Told
    allowed: list[int]
    peers: tuple[str, ...]
    waiting: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """The answer to ``RedisStore.restore``.

    Attributes:
        told: all budgets, by the name of the books that go on.
        awaited: names of replicas that may know more.
    """

    told: Told
    awaited: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BudgetClaim:
    """The latest that a replica knows of a budget, told to a Redis that has lost its books.

    Attributes:
        seen: the budget; None: it was never seen.
        version: that of the answer in which it was seen.
        lease: the lease that the replica holds, nano-USD.
    """

    seen: Seen | None
    version: int
    lease: int


def seen_from(totals: bytes) -> list[Seen]:
    """Reads the totals that a script replies."""
    return [Seen(*map(int, budget.split())) for budget in totals.split(b",")] if totals else []


def reports_from(sums: bytes) -> tuple[PeriodSums, ...]:
    """Reads the sums per budget of what was reported, which ``look.lua`` replies."""
    found = []
    for one in sums.split(b",") if sums else ():
        reported, reserved, expired = map(int, one.split())
        found.append(PeriodSums(reported=reported, reported_reserved=reserved, expired=expired))
    return tuple(found)


def refusals_from(codes: bytes, indices: list[int], rows: int) -> list[int]:
    """Reads the refusals that ``reserve.lua`` replies; ``indices`` are the budgets asked."""
    if not codes:
        return [-1] * rows
    return [indices[int(code) - 1] if code != b"0" else -1 for code in codes.split(b",")]
