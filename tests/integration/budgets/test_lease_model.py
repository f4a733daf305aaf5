"""Replicas never grant more than the limit, whatever network, clocks, Redis and replicas do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from routoo.budget.ledger import Settled
from support.budgets import budget, usd
from support.peers.redis_server import RedisServer
from support.peers.split_replica import StillLedger, World, store_of

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1000
BUDGETS = (
    budget("all", LIMIT / 1e9, "1h", on_exhausted="refuse"),
    budget("x", LIMIT / 2e9, "2h", tenant="x", window="sliding"),
)
MOST_REPLICAS = 4
LEASE_S = 900.0
SILENT_S = 9
replicas = st.integers(0, MOST_REPLICAS - 1)


@dataclass(slots=True)
class Granted:
    """Money that a client was granted, and what counts of it.

    It was granted between two readings of Redis' clock, and counts where it does for both: the time
    itself goes on meanwhile, perhaps into another period.
    """

    from_us: int
    until_us: int
    tenant: str
    amount: int


class LeaseMachine(RuleBasedStateMachine):
    """The judge adds up what clients were told, and knows nothing of leases."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.granted: dict[str, Granted] = {}
        self.number = 0

    @initialize(
        count=st.integers(1, MOST_REPLICAS),
        share=st.sampled_from([0.1, 0.5, 1.0]),
        book_delay_s=st.sampled_from([0.0, 0.02, 0.02]),
    )
    def open(self, count: int, share: float, book_delay_s: float) -> None:
        self.world = World(self.server, BUDGETS, share, LEASE_S, book_delay_s=book_delay_s)
        for _ in range(count):
            self.world.join()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

    def pick(self, at: int) -> StillLedger | None:
        living = self.world.replicas
        return living[at % len(living)] if living else None

    @rule(
        at=replicas,
        tenant=st.sampled_from("xy"),
        amounts=st.lists(st.integers(0, 400), min_size=1, max_size=3),
        whole=st.booleans(),
        overdrawn=st.booleans(),
    )
    def spend(
        self,
        at: int,
        tenant: str,
        amounts: list[int],
        whole: bool,  # noqa: FBT001 - hypothesis passes by name
        overdrawn: bool,  # noqa: FBT001
    ) -> None:
        replica = self.pick(at)
        if replica is None:
            return
        self.number += 1
        ids = [f"{self.number}-{row}" for row in range(len(amounts))]
        from_us = self.world.now_us()
        found = replica.reserve(
            ids, [tenant] * len(ids), usd(amount / 1e9 for amount in amounts), all_or_nothing=whole
        )
        refused = found.refused_by.tolist()
        until_us = self.world.now_us()
        for key, amount, by in zip(ids, amounts, refused, strict=True):
            if by < 0:
                self.granted[key] = Granted(from_us, until_us, tenant, amount)
            elif overdrawn and tenant == "y":
                again = replica.overdraw([key], [tenant], usd([amount / 2e9]))
                if again.refused_by[0] < 0:
                    until_us = self.world.now_us()
                    self.granted[key] = Granted(from_us, until_us, tenant, -(-amount // 2))
        self.judge(until_us)

    @rule(at=replicas, tenant=st.sampled_from("xy"), amount=st.sampled_from([60, 100, 250]))
    def drain(self, at: int, tenant: str, amount: int) -> None:
        self.spend(at, tenant, [amount] * 16, whole=False, overdrawn=False)

    @rule(at=replicas, back=st.integers(0, 8), part=st.floats(0, 1))
    def settle(self, at: int, back: int, part: float) -> None:
        replica = self.pick(at)
        if replica is None or len(self.granted) <= back:
            return
        key = list(self.granted)[-1 - back]
        cost = int(self.granted[key].amount * part)
        if replica.settle(key, cost / 1e9) is Settled.SETTLED:
            self.granted[key].amount = cost

    @rule(at=replicas)
    def book(self, at: int) -> None:
        replica = self.pick(at)
        if replica is not None:
            replica.book()

    @rule(at=replicas, tenant=st.sampled_from("xy"), amounts=st.lists(st.integers(0, 60)))
    def spend_singly(self, at: int, tenant: str, amounts: list[int]) -> None:
        """Single rows are granted out of the lease, before Redis books them."""
        for amount in amounts:
            self.spend(at, tenant, [amount], whole=False, overdrawn=False)

    @rule(at=replicas)
    def renew(self, at: int) -> None:
        replica = self.pick(at)
        if replica is not None:
            replica.renew()

    @rule(at=replicas, cut=st.booleans())
    def cut_or_heal(self, at: int, cut: bool) -> None:  # noqa: FBT001
        replica = self.pick(at)
        if replica is not None:
            store_of(replica).cut = cut
            if not cut:
                replica.reconcile()

    @rule(at=replicas, many=st.integers(1, 3))
    def lose_answers(self, at: int, many: int) -> None:
        replica = self.pick(at)
        if replica is not None:
            store_of(replica).loses = many

    @rule(at=replicas, crashes=st.booleans())
    def end(self, at: int, crashes: bool) -> None:  # noqa: FBT001
        replica = self.pick(at)
        if replica is not None:
            (self.world.crash if crashes else self.world.leave)(replica)

    @precondition(lambda self: len(self.world.replicas) < MOST_REPLICAS)
    @rule(cut=st.booleans())
    def join(self, cut: bool) -> None:  # noqa: FBT001
        self.world.join(cut=cut)

    @rule(seconds=st.sampled_from([1, 8, 60, 850, 1000, 3600, 9000]))
    def wait(self, seconds: int) -> None:
        self.world.wait_s(seconds)

    @rule(at=replicas, seconds=st.sampled_from([100, 1000, 3600]))
    def serve(self, at: int, seconds: int) -> None:
        """Lets time go by in which a replica calls Redis: it counts towards the end of leases."""
        replica = self.pick(at)
        for _ in range(seconds // SILENT_S):
            self.world.wait_s(SILENT_S)
            if replica is not None:
                replica.renew()

    @rule(seconds=st.sampled_from([-7200, -59, 5, 1000, 3600, 10_000]))
    def set_the_clock_of_redis(self, seconds: int) -> None:
        self.world.step_s(seconds)

    @rule()
    def save(self) -> None:
        self.world.save()

    @rule(
        spent=st.lists(st.tuples(replicas, st.sampled_from("xy"), st.integers(1, 400)), max_size=3),
        all_of_it=st.booleans(),
        crashes=st.integers(0, 2),
    )
    def lose_the_books(
        self,
        spent: list[tuple[int, str, int]],
        all_of_it: bool,  # noqa: FBT001
        crashes: int,
    ) -> None:
        """Redis forgets what was spent since all replicas renewed, and some replicas are lost, too.

        One of the others notices at once. The rest may be slow, be cut off, or crash.
        """
        for replica in self.world.replicas:
            store_of(replica).cut, store_of(replica).loses = False, 0
            replica.renew()
            replica.reconcile()
        for replica in self.world.replicas:
            replica.renew()
        for at, tenant, amount in spent:
            self.spend(at, tenant, [amount], whole=False, overdrawn=False)
        self.world.lose(all_of_it=all_of_it)
        for replica in self.world.replicas[:crashes]:
            self.world.crash(replica)
        if self.world.replicas:
            self.world.replicas[0].renew()
            self.world.replicas[0].reconcile()
        else:
            self.granted.clear()  # nobody knows, and Redis neither

    def judge(self, now_us: int) -> None:
        for one in BUDGETS:
            terms = one.terms()
            period_us = terms.period_ns // 1000
            counts = [
                each.amount
                for each in self.granted.values()
                if (not terms.tenant or each.tenant == terms.tenant)
                and (
                    now_us - each.from_us < period_us
                    if terms.sliding
                    else each.from_us // period_us == each.until_us // period_us
                    and now_us // period_us == each.until_us // period_us
                )
            ]
            assert sum(counts) <= terms.limit_nano_usd


@pytest.mark.parametrize("steps", [12, 50])
def test_the_limit_holds(tmp_path: Path, steps: int) -> None:
    with RedisServer(tmp_path) as server:
        LeaseMachine.server = server
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            LeaseMachine,
            settings=settings(max_examples=40, stateful_step_count=steps, deadline=None),
        )
