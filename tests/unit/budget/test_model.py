"""The ledger in memory against a plain exact model that adds everything up anew each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routoo.budget.ledger import Settled
from support.budgets import FakeClock, budget, opened, usd

if TYPE_CHECKING:
    from routoo.budget.terms import BudgetTerms

TTL_S = 40
TENANTS = ("x", "y", "z")
BUDGETS = (
    budget("x", 3e-8, "1m", tenant="x"),
    budget("all", 8e-8, "1m", window="sliding"),
    budget("y", 5e-8, "2m", tenant="y", window="sliding"),
)
amounts = st.integers(0, 40)


@dataclass(slots=True)
class Entry:
    """A decision: its time, its tenant, the amount that counts, and whether that is final.

    Its reported cost is compared with the amount, unless that was released, or there is none.
    """

    at_ns: int
    tenant: str
    amount: int
    overdrawn: bool
    reported: bool = False
    cost: int | None = None
    compared: bool = False


class Model:
    def __init__(self, terms: tuple[BudgetTerms, ...], *, releases: bool) -> None:
        self.terms = terms
        self.releases = releases
        self.entries: dict[str, Entry] = {}

    def members(self, tenant: str) -> list[int]:
        every = [index for index, terms in enumerate(self.terms) if not terms.tenant]
        return every + [index for index, terms in enumerate(self.terms) if terms.tenant == tenant]

    def sums(self, index: int, now_ns: int) -> tuple[int, int, int, int]:
        terms = self.terms[index]
        reserved = settled = overdraft = granted = 0
        for entry in self.entries.values():
            age = now_ns // terms.step_ns - entry.at_ns // terms.step_ns
            if index not in self.members(entry.tenant) or age >= terms.steps:
                continue
            expired = now_ns - entry.at_ns >= TTL_S * 10**9
            counts = entry.cost
            if counts is None:
                counts = 0 if expired and self.releases else entry.amount
            if entry.overdrawn:
                overdraft += counts
                continue
            granted += 1
            if entry.reported or expired:
                settled += counts
            else:
                reserved += counts
        return reserved, settled, overdraft, granted

    def reports(self, index: int, now_ns: int) -> tuple[int, int, int]:
        """Returns reported costs, what was reserved for them, and the number that expired."""
        terms = self.terms[index]
        granted = [
            one
            for one in self.entries.values()
            if index in self.members(one.tenant)
            and now_ns // terms.step_ns - one.at_ns // terms.step_ns < terms.steps
            and not one.overdrawn
        ]
        compared = [one for one in granted if one.compared]
        return (
            sum(one.cost or 0 for one in compared),
            sum(one.amount for one in compared),
            sum(not one.reported and now_ns - one.at_ns >= TTL_S * 10**9 for one in granted),
        )

    def reserve(self, rows: list[tuple[str, str, int]], now_ns: int, *, whole: bool) -> list[int]:
        before = dict(self.entries)
        answer = []
        for key, tenant, amount in rows:
            lacking = -1
            for index in self.members(tenant):
                reserved, settled, _, _ = self.sums(index, now_ns)
                if reserved + settled + amount > self.terms[index].limit_nano_usd:
                    lacking = index
                    break
            if lacking < 0:
                self.entries[key] = Entry(now_ns, tenant, amount, overdrawn=False)
            answer.append(lacking)
        refusals = [lacking for lacking in answer if lacking >= 0]
        if whole and refusals:
            self.entries = before
            return [refusals[0]] * len(rows)
        return answer

    def settle(self, key: str, cost: int, now_ns: int) -> Settled:
        entry = self.entries.get(key)
        if entry is None or now_ns - entry.at_ns >= 2 * TTL_S * 10**9:
            return Settled.UNKNOWN
        if entry.reported:
            return Settled.TWICE
        entry.reported, entry.cost = True, cost
        late = now_ns - entry.at_ns >= TTL_S * 10**9
        entry.compared = entry.amount > 0 and not (late and self.releases)
        return Settled.EXPIRED if late else Settled.SETTLED


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    @initialize(releases=st.booleans())
    def open(self, releases: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        self.clock = FakeClock()
        self.ledger = opened(
            self.clock,
            *BUDGETS,
            reservation_ttl_s=TTL_S,
            on_expiry="release" if releases else "settle",
        )
        self.model = Model(self.ledger.terms, releases=releases)

    @rule(
        rows=st.lists(st.tuples(st.sampled_from(TENANTS), amounts), max_size=6),
        whole=st.booleans(),
    )
    def reserve(self, rows: list[tuple[str, int]], whole: bool) -> None:  # noqa: FBT001
        named = [(self._name(), tenant, amount) for tenant, amount in rows]
        found = self.ledger.reserve(
            [key for key, _, _ in named],
            [tenant for _, tenant, _ in named],
            usd(amount / 1e9 for _, _, amount in named),
            all_or_nothing=whole,
        )
        expected = self.model.reserve(named, self.clock.now_ns, whole=whole)
        assert found.refused_by.tolist() == expected

    @rule(tenant=st.sampled_from(TENANTS), amount=amounts)
    def overdraw(self, tenant: str, amount: int) -> None:
        key = self._name()
        self.ledger.overdraw([key], [tenant], usd([amount / 1e9]))
        self.model.entries[key] = Entry(self.clock.now_ns, tenant, amount, overdrawn=True)

    @rule(back=st.integers(0, 12), cost=st.integers(0, 90))
    def settle(self, back: int, cost: int) -> None:
        key = str(max(0, self.number - back))
        found = self.ledger.settle(key, cost / 1e9)
        assert found is self.model.settle(key, cost, self.clock.now_ns)

    @rule(wait_ms=st.one_of(st.integers(0, 3_000), st.integers(0, 200_000)))
    def wait(self, wait_ms: int) -> None:
        self.clock.now_ns += wait_ms * 1_000_000

    @invariant()
    def same_figures(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for index, state in enumerate(self.ledger.states()):
            found = tuple(
                round(value * 1e9)
                for value in (state.reserved_usd, state.settled_usd, state.overdraft_usd)
            )
            expected = self.model.sums(index, self.clock.now_ns)
            assert (*found, state.granted) == expected
            reported = round(state.reported_usd * 1e9), round(state.reported_reserved_usd * 1e9)
            assert (*reported, state.expired) == self.model.reports(index, self.clock.now_ns)

    def _name(self) -> str:
        self.number += 1
        return str(self.number)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
