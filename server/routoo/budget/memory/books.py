"""The books of all budgets in memory: pure bookkeeping, without clock, lock or file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.budget.ledger import BudgetState, Settled
from routoo.budget.memory.reservations import (
    EXPIRED,
    EXPIRED_OVERDRAWN,
    OPEN,
    OVERDRAWN,
    REPORTED,
    Decisions,
)
from routoo.budget.terms import usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from routoo.budget.scopes import Scopes
    from routoo.budget.terms import BudgetTerms

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]

NS_A_DAY = 86_400 * 1_000_000_000
DAYS_KEPT = 400
"""So many days are kept by day, the present one among them."""
_Part = tuple[int, int, int]
_LARGEST_SUM = 2**63 - 1
# The sum of so many amounts of 9,000,000 USD fits into 63 bits.
_SAFE_ROWS = 1000


@dataclass(slots=True)
class PeriodSums:
    """Sums over a step or a period, or a change of such sums.

    Python's integers do not overflow.

    Attributes:
        reserved: nano-USD granted to decisions whose cost is not known yet.
        settled: nano-USD of known costs.
        overdraft: nano-USD spent beside the budget.
        granted: number of requests granted.
        reported: nano-USD of reported costs of requests granted.
        reported_reserved: nano-USD that were reserved for the same requests.
        expired: number of requests granted whose cost was not reported in time.
    """

    reserved: int = 0
    settled: int = 0
    overdraft: int = 0
    granted: int = 0
    reported: int = 0
    reported_reserved: int = 0
    expired: int = 0

    def add(self, other: PeriodSums, sign: int = 1) -> None:
        """Adds other sums; with ``sign`` -1, subtracts them."""
        self.reserved += sign * other.reserved
        self.settled += sign * other.settled
        self.overdraft += sign * other.overdraft
        self.granted += sign * other.granted
        self.reported += sign * other.reported
        self.reported_reserved += sign * other.reported_reserved
        self.expired += sign * other.expired


class DaySums:
    """The sums of the last days (UTC) by tenant, for those who ask what was spent.

    Money counts on the day of its decision. Budgets' limits do not depend on these sums.

    Attributes:
        sums: by tenant and day, in days since 1970.
    """

    __slots__ = ("_today", "sums")

    def __init__(self) -> None:
        self.sums: dict[tuple[str, int], PeriodSums] = {}
        self._today = 0

    def advance(self, now_ns: int) -> None:
        """Removes the days that are no longer kept."""
        today = now_ns // NS_A_DAY
        if today == self._today:
            return
        self._today = today
        for key in [key for key in self.sums if key[1] <= today - DAYS_KEPT]:
            del self.sums[key]

    def add(self, tenant: str, time_ns: int, sums: PeriodSums) -> None:
        """Adds sums to the day of a time, in ns since 1970, if it is kept."""
        key = (tenant, time_ns // NS_A_DAY)
        if key[1] <= self._today - DAYS_KEPT:
            return
        found = self.sums.get(key)
        if found is None:
            found = self.sums[key] = PeriodSums()
        found.add(sums)

    def dump(self) -> list[list[Any]]:
        """Returns all that ``load`` needs; what is reserved follows from the open decisions."""
        return [
            [
                tenant,
                day,
                # Texts, because readers of JSON may not accept numbers of this size.
                str(one.settled),
                str(one.overdraft),
                one.granted,
                str(one.reported),
                str(one.reported_reserved),
                one.expired,
            ]
            for (tenant, day), one in self.sums.items()
        ]

    def load(self, dumped: Iterable[Sequence[Any]]) -> None:
        """Takes over a dump; the sums have to be empty."""
        for tenant, day, settled, overdraft, granted, reported, reserved, expired in dumped:
            self.sums[tenant, int(day)] = PeriodSums(
                settled=int(settled),
                overdraft=int(overdraft),
                granted=int(granted),
                reported=int(reported),
                reported_reserved=int(reserved),
                expired=int(expired),
            )


class Account:
    """The sums of one budget over the present period, by steps.

    Attributes:
        terms: the budget.
        total: the sums over the steps that count.
        steps: the sums of each step that counts and in which something was booked.
        step_ns: length of a step in nanoseconds.
    """

    __slots__ = ("_now", "_steps", "step_ns", "steps", "terms", "total")

    def __init__(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.step_ns, self._steps = terms.step_ns, terms.steps
        self.total = PeriodSums()
        self.steps: dict[int, PeriodSums] = {}
        self._now = 0

    @property
    def left(self) -> int:
        """Nano-USD that may still be reserved; below 0 after a cost far above its reservation."""
        return self.terms.limit_nano_usd - self.total.reserved - self.total.settled

    def advance(self, now_ns: int) -> None:
        """Removes the steps that no longer count. Time must not go back between calls."""
        now = now_ns // self.step_ns
        if now == self._now:
            return
        self._now = now
        for step in [step for step in self.steps if not self.counts(step)]:
            self.total.add(self.steps.pop(step), sign=-1)

    def counts(self, step: int) -> bool:
        """Returns whether a step still counts."""
        return step > self._now - self._steps

    def book(self, step: int, sums: PeriodSums) -> None:
        """Adds sums to a step, if it counts."""
        if self.counts(step):
            self.steps.setdefault(step, PeriodSums()).add(sums)
            self.total.add(sums)

    def left_ns(self, now_ns: int) -> int:
        """Returns the ns until a fixed period ends, or the oldest step with money stops counting.

        For a sliding period in which nothing is booked that is the whole period.
        """
        if not self.terms.sliding:
            oldest = self._now
        elif self.steps:
            oldest = min(self.steps)
        else:
            return self.terms.period_ns
        return (oldest + self._steps) * self.step_ns - now_ns


@dataclass(frozen=True, slots=True)
class Keeping:
    """The time and number of decisions that are kept.

    Attributes:
        ttl_ns: time until a decision whose cost was not reported expires. It is remembered as long
            again, so that a later report is known to be late.
        releases_expired: an expired decision counts nothing instead of its estimate.
        max_decisions: most decisions kept; one more makes the oldest expire early.
    """

    ttl_ns: int
    releases_expired: bool
    max_decisions: int


class Books:
    """The accounts of all budgets and the decisions booked in them. Not thread-safe.

    ``advance`` sets the time of the calls that follow it.

    Args:
        scopes: the budgets.
        keeping: the time and number of decisions that are kept.

    Attributes:
        scopes: the budgets.
        accounts: one per budget.
        decisions: the decisions whose cost may still be reported.
        days: the sums of the last days by tenant ("": those without a budget of their own).
        now_ns: time of the last ``advance``.
    """

    def __init__(self, scopes: Scopes, keeping: Keeping) -> None:
        self.scopes = scopes
        self.accounts = [Account(terms) for terms in scopes.terms]
        self.decisions = Decisions(keeping.max_decisions)
        self.days = DaySums()
        self.now_ns = 0
        self._ttl_ns = keeping.ttl_ns
        self._releases_expired = keeping.releases_expired

    def advance(self, now_ns: int) -> None:
        """Sets the time: ends steps, expires reservations and forgets old decisions."""
        self.now_ns = now_ns
        for account in self.accounts:
            account.advance(now_ns)
        self.days.advance(now_ns)
        self._expire(now_ns - self._ttl_ns)
        self.decisions.forget(now_ns - 2 * self._ttl_ns)

    def reserve(
        self,
        ids: Sequence[str],
        groups: IndexArray,
        amounts: IntArray,
        *,
        all_or_nothing: bool = False,
    ) -> IndexArray | None:
        """Books the rows that fit, in order.

        Args:
            ids: [n], none of them ``taken``.
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD, not negative.
            all_or_nothing: books no row when one does not fit.

        Returns:
            ``Grants.refused_by``; None: every row fits and is booked.
        """
        parts = _parts(groups, amounts)
        needs: dict[int, int] = {}
        for group, _, total in parts:
            for index in self.scopes.members[group]:
                needs[index] = needs.get(index, 0) + total
        if all(self.accounts[index].left >= need for index, need in needs.items()):
            self._book(ids, groups, amounts, parts, OPEN)
            return None
        refused_by = self._refuse(groups, amounts)
        granted = refused_by < 0
        if all_or_nothing:
            refused_by[:] = refused_by[~granted][0]
        elif granted.any():
            ids = [ids[row] for row in np.flatnonzero(granted).tolist()]
            self.book(ids, groups[granted], amounts[granted])
        return refused_by

    def book(
        self,
        ids: Sequence[str],
        groups: IndexArray,
        amounts: IntArray,
        *,
        overdrawn: bool = False,
    ) -> None:
        """Books decisions without a check of the limits.

        Args:
            ids: [n], none of them ``taken``.
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD, not negative.
            overdrawn: books them as overdraft.
        """
        parts = _parts(groups, amounts)
        self._book(ids, groups, amounts, parts, OVERDRAWN if overdrawn else OPEN)

    def overdraw(self, ids: Sequence[str], groups: IndexArray, amounts: IntArray) -> IndexArray:
        """Books decisions beside those budgets that let requests go on, and within the others.

        Args:
            ids: [n], none of them ``taken``.
            groups: intp [n], see ``Scopes``.
            amounts: int64 [n], nano-USD, not negative.

        Returns:
            intp [n]; -1: booked; else the budget that refuses and lacks the money.
        """
        refused_by = self._refuse(groups, amounts, strict_alone=True)
        fits = refused_by < 0
        if fits.any():
            kept = [ids[row] for row in np.flatnonzero(fits).tolist()]
            self.book(kept, groups[fits], amounts[fits], overdrawn=True)
        return refused_by

    def taken(self, ids: Sequence[str]) -> bool:
        """Returns whether one of the ids is booked already, or stands twice."""
        return self.decisions.holds_any(ids)

    def settle(self, decision_id: str, cost: int) -> Settled:
        """Books a true cost, nano-USD, in the step of its decision."""
        place = self.decisions.place(decision_id)
        if place is None:
            return Settled.UNKNOWN
        table = self.decisions
        state = int(table.states[place])
        if state == REPORTED:
            return Settled.TWICE
        booked = int(table.amounts[place])
        if state in (OPEN, EXPIRED):
            sums = PeriodSums(reserved=-booked, settled=cost)
            if state == EXPIRED:
                sums = PeriodSums(settled=cost - booked, expired=-1)
            if booked:  # else it was released when it expired, or there is nothing to compare with
                sums.reported, sums.reported_reserved = cost, booked
        else:
            sums = PeriodSums(overdraft=cost - booked)
        self._add(int(table.groups[place]), int(table.times[place]), sums)
        table.states[place] = REPORTED
        late = state in (EXPIRED, EXPIRED_OVERDRAWN)
        return Settled.EXPIRED if late else Settled.SETTLED

    def charge(self, index: int, amount: int) -> None:
        """Books an amount, nano-USD, as settled in a budget at the present time."""
        account = self.accounts[index]
        account.book(self.now_ns // account.step_ns, PeriodSums(settled=amount))

    def states(self, *, degraded: bool) -> tuple[BudgetState, ...]:
        """Returns the present state of each budget."""
        return tuple(
            BudgetState(
                terms=account.terms,
                reserved_usd=usd(account.total.reserved),
                settled_usd=usd(account.total.settled),
                overdraft_usd=usd(account.total.overdraft),
                granted=account.total.granted,
                period_left_s=account.left_ns(self.now_ns) / 1e9,
                degraded=degraded,
                reported_usd=usd(account.total.reported),
                reported_reserved_usd=usd(account.total.reported_reserved),
                expired=account.total.expired,
            )
            for account in self.accounts
        )

    def dump(self) -> dict[str, Any]:
        """Returns all that ``load`` needs; what is reserved follows from the open decisions."""
        ids, places = self.decisions.remembered()
        table = self.decisions
        return {
            "budgets": [
                {
                    "name": account.terms.name,
                    "tenant": account.terms.tenant,
                    "step_ns": account.step_ns,
                    "steps": [
                        # Texts, because readers of JSON may not accept numbers of this size.
                        [step, str(sums.settled), str(sums.overdraft), sums.granted]
                        for step, sums in account.steps.items()
                    ],
                    # A value of its own, which versions of before leave out.
                    "reports": [
                        [step, str(sums.reported), str(sums.reported_reserved), sums.expired]
                        for step, sums in account.steps.items()
                    ],
                }
                for account in self.accounts
            ],
            "days": self.days.dump(),
            "tenants": self.scopes.tenants,
            "ids": ids,
            "amounts": table.amounts[places],
            "times": table.times[places],
            "groups": table.groups[places],
            "states": table.states[places],
        }

    def load(self, dumped: dict[str, Any], *, corrects_expired: bool = False) -> None:
        """Takes over a dump, perhaps of other budgets; the books have to be empty.

        A budget of the same name and tenant keeps its money. When the length of its period has
        changed, what was booked in a step counts from the end of that step.

        Args:
            dumped: the dump.
            corrects_expired: late reports correct expired decisions even if the budgets are others.
        """
        old = {(entry["name"], entry["tenant"]): entry for entry in dumped["budgets"]}
        same = len(old) == len(self.accounts)
        for account in self.accounts:
            entry = old.get((account.terms.name, account.terms.tenant))
            same = same and entry is not None and entry["step_ns"] == account.step_ns
            if entry is None:
                continue
            for step, settled, overdraft, granted in entry["steps"]:
                end_ns = min((step + 1) * entry["step_ns"] - 1, self.now_ns)
                sums = PeriodSums(settled=int(settled), overdraft=int(overdraft), granted=granted)
                account.book(end_ns // account.step_ns, sums)
            for step, reported, reserved, expired in entry.get("reports", ()):
                end_ns = min((step + 1) * entry["step_ns"] - 1, self.now_ns)
                sums = PeriodSums(
                    reported=int(reported), reported_reserved=int(reserved), expired=expired
                )
                account.book(end_ns // account.step_ns, sums)
        self.days.load(dumped.get("days", ()))
        ids = dumped["ids"]
        groups = self.scopes.groups(dumped["tenants"])[np.array(dumped["groups"], np.intp)]
        amounts, times = np.array(dumped["amounts"], np.int64), np.array(dumped["times"], np.int64)
        states = np.array(dumped["states"], np.int8)
        if not (same or corrects_expired):
            # An expired decision may be booked in other budgets than those it would belong to now,
            # so a late report must not correct it.
            states[states >= EXPIRED] = REPORTED
        kept = slice(max(0, len(ids) - self.decisions.capacity), len(ids))
        self.decisions.append(ids[kept], amounts[kept], groups[kept], times[kept], states[kept])
        still = states == OPEN
        for group, rows in _by_group(groups[still]):
            for step_time, total, _ in _by_time(times[still][rows], amounts[still][rows]):
                self._add(group, step_time, PeriodSums(reserved=total))

    def _refuse(
        self, groups: IndexArray, amounts: IntArray, *, strict_alone: bool = False
    ) -> IndexArray:
        """Returns ``Grants.refused_by`` of a batch that does not fit as a whole.

        With ``strict_alone``, budgets that let requests go on are not asked.
        """
        # Whether a row fits depends on the rows before it, so this is a loop. It runs only while a
        # budget runs out, and Python's integers take well under a microsecond a row.
        refused_by = np.full(len(groups), -1, np.intp)
        left = [account.left for account in self.accounts]
        rows = zip(groups.tolist(), amounts.tolist(), strict=True)
        for row, (group, amount) in enumerate(rows):
            members: Sequence[int] = self.scopes.members[group]
            if strict_alone:
                members = [one for one in members if self._is_strict(one)]
            for index in members:
                if left[index] < amount:
                    refused_by[row] = index
                    break
            else:
                for index in members:
                    left[index] -= amount
        return refused_by

    def _book(
        self,
        ids: Sequence[str],
        groups: IndexArray,
        amounts: IntArray,
        parts: list[_Part],
        state: int,
    ) -> None:
        for group, count, total in parts:
            if state == OVERDRAWN:
                sums = PeriodSums(overdraft=total)
            else:
                sums = PeriodSums(reserved=total, granted=count)
            self._add(group, self.now_ns, sums)
        if not self.scopes.bounded.all():  # decisions without a budget are not kept
            kept = self.scopes.bounded[groups]
            ids = [ids[row] for row in np.flatnonzero(kept).tolist()]
            groups, amounts = groups[kept], amounts[kept]
        most = self.decisions.capacity
        for start in range(0, len(ids), most):
            part = slice(start, start + most)
            self._make_room(len(ids[part]))
            self.decisions.append(ids[part], amounts[part], groups[part], self.now_ns, state)

    def _add(self, group: int, time_ns: int, sums: PeriodSums) -> None:
        members = self.scopes.members[group]
        for index in members:
            account = self.accounts[index]
            booked = sums
            if sums.overdraft and self._is_strict(index):
                # A budget that refuses has no overdraft: what another one let pass is spent here.
                booked = replace(sums, settled=sums.settled + sums.overdraft, overdraft=0)
            account.book(time_ns // account.step_ns, booked)
        if members:
            self.days.add(self.scopes.tenants[group], time_ns, sums)

    def _is_strict(self, index: int) -> bool:
        return self.scopes.terms[index].on_exhausted == "refuse"

    def _make_room(self, n: int) -> None:
        surplus = self.decisions.room_for(n)
        if surplus:
            self._expire(self.now_ns - self._ttl_ns, at_least=surplus)
            self.decisions.forget(self.now_ns - 2 * self._ttl_ns, at_least=surplus)

    def _expire(self, horizon_ns: int, at_least: int = 0) -> None:
        table = self.decisions
        while (places := table.due(horizon_ns, at_least)) is not None:
            for state in (OPEN, OVERDRAWN):
                chosen = places[table.states[places] == state]
                for group, rows in _by_group(table.groups[chosen]):
                    self._book_expiry(group, chosen[rows], overdrawn=state == OVERDRAWN)
            table.states[places] += EXPIRED - OPEN
            if self._releases_expired:
                table.amounts[places] = 0

    def _book_expiry(self, group: int, places: IndexArray, *, overdrawn: bool) -> None:
        table = self.decisions
        kept = 0 if self._releases_expired else 1
        for time_ns, total, count in _by_time(table.times[places], table.amounts[places]):
            if overdrawn:
                sums = PeriodSums(overdraft=(kept - 1) * total)
            else:
                sums = PeriodSums(reserved=-total, settled=kept * total, expired=count)
            self._add(group, time_ns, sums)


def exact_sum(amounts: IntArray) -> int:
    """Returns the exact sum of int64 amounts that are not negative, however large it is."""
    if len(amounts) <= _SAFE_ROWS or int(amounts.max()) < _LARGEST_SUM // len(amounts):
        return int(amounts.sum())
    return sum(amounts.tolist())


def _parts(groups: IndexArray, amounts: IntArray) -> list[_Part]:
    """Returns each group that occurs, the number of its rows and the sum of their amounts."""
    parts = []
    for group, rows in _by_group(groups):
        chosen = amounts[rows]
        parts.append((group, len(chosen), exact_sum(chosen)))
    return parts


def _by_group(groups: IndexArray) -> Iterator[tuple[int, IndexArray | slice]]:
    """Yields each group that occurs, and its rows."""
    if not len(groups):
        return
    first = int(groups[0])
    if (groups == first).all():
        yield first, slice(None)
        return
    order = np.argsort(groups, kind="stable")
    found, starts = np.unique(groups[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, starts[1:]), strict=True)


def _by_time(times: IntArray, amounts: IntArray) -> Iterator[tuple[int, int, int]]:
    """Yields each time that occurs, sum and number of its amounts; times have to be ascending."""
    found, starts = np.unique(times, return_index=True)
    for time_ns, part in zip(found.tolist(), np.split(amounts, starts[1:]), strict=True):
        yield time_ns, exact_sum(part), len(part)
