"""Replicas whose network and clocks a test sets, on a Redis whose clock it sets, too."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from routoo.budget.memory.books import Keeping
from routoo.budget.redis.alone import Alone
from routoo.budget.redis.connecting import Connecting
from routoo.budget.redis.lease import Leasing
from routoo.budget.redis.ledger import RedisLedger
from routoo.budget.redis.replies import StoreError
from routoo.budget.redis.store import RedisStore
from routoo.budget.scopes import Scopes
from support.budgets import FakeClock
from support.peers.redis_replica import PATIENT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.peers.redis_server import RedisServer

KEEPING = Keeping(ttl_ns=10**14, releases_expired=False, max_decisions=10_000)


class SplitStore(RedisStore):
    """A store that a test cuts off from Redis.

    Attributes:
        cut: no call arrives.
        loses: so many of the next answers get lost.
        broken: its connections are to a Redis that is no more.
    """

    cut = False
    loses = 0
    broken = False

    def prepare(self) -> None:
        self.broken = False
        super().prepare()

    def _guard(self, call: Callable[[], Any], name: str) -> Any:
        if self.cut:
            raise StoreError("away", "cut off", doubtful=True)
        if self.broken:
            raise StoreError("away", "another process", doubtful=False)
        found = super()._guard(call, name)
        if self.loses:
            self.loses -= 1
            raise StoreError("away", "answer lost", doubtful=True)
        return found


class StillLedger(RedisLedger):
    """A ledger without a thread: the test renews and reconciles."""

    def _run(self) -> None:
        pass


class World:
    """A Redis of keys of its own, a clock of leases, and replicas that come and go."""

    def __init__(
        self,
        server: RedisServer,
        budgets: Any,
        share: float,
        lease_s: float,
        *,
        book_delay_s: float = 0.0,
    ) -> None:
        self.server = server
        self.prefix = uuid.uuid4().hex
        self.scopes = Scopes(tuple(one.terms() for one in budgets))
        self.boot = FakeClock()
        self.leasing = Leasing(share, round(lease_s * 1e9), clock_ns=self.boot)
        self.book_delay_s = book_delay_s
        self.replicas: list[StillLedger] = []
        self.gone: list[StillLedger] = []
        self.saved: dict[bytes, bytes] = {}

    def join(self, *, cut: bool = False) -> StillLedger:
        """Starts a replica, with a time of day of its own."""
        connecting = Connecting(self.server.url, False, PATIENT_S, 1, self.prefix)  # noqa: FBT003
        store = SplitStore(connecting, self.scopes, KEEPING, self.leasing)
        store.cut = cut
        alone = Alone(self.scopes, KEEPING, self.leasing, FakeClock())
        found = StillLedger(
            self.scopes,
            store,
            alone,
            max_probe_s=1,
            book_delay_s=self.book_delay_s,
            jitter=random.Random(1),  # noqa: S311
        )
        self.replicas.append(found)
        return found

    def crash(self, replica: StillLedger) -> None:
        """Ends a replica that tells nobody anything."""
        self.replicas.remove(replica)
        self.gone.append(replica)

    def leave(self, replica: StillLedger) -> None:
        """Stops a replica as it should be."""
        self.replicas.remove(replica)
        replica.close()

    def wait_s(self, seconds: float) -> None:
        """Lets time go by, everywhere."""
        self.boot.forward_s(seconds)
        self.step_s(seconds)

    def step_s(self, seconds: float) -> None:
        """Sets Redis' clock alone."""
        self.server.client.hincrby(f"{{{self.prefix}}}:meta", "ahead", round(seconds * 1e6))

    def align(self, per_s: int) -> None:
        """Sets Redis' clock to the start of a period, which then does not end by chance."""
        self.step_s(per_s - self.now_us() % (per_s * 1_000_000) / 1e6)

    def now_us(self) -> int:
        """Returns the time by the books in Redis."""
        with self.server.client.pipeline() as pipeline:
            pipeline.time()
            pipeline.hmget(f"{{{self.prefix}}}:meta", "now", "ahead")
            (seconds, micros), (last, ahead) = pipeline.execute()
        return max(int(last or 0), seconds * 1_000_000 + micros + int(ahead or 0))

    def save(self) -> None:
        """Takes a snapshot of the books."""
        client = self.server.client
        self.saved = {key: client.dump(key) for key in self._keys()}

    def lose(self, *, all_of_it: bool) -> None:
        """Restarts Redis with the books of the snapshot, or with none; its clock is as before."""
        client, meta = self.server.client, f"{{{self.prefix}}}:meta"
        ahead = client.hget(meta, "ahead") or 0
        self._remove()
        if not all_of_it:
            for key, value in self.saved.items():
                client.restore(key, 0, value)
            if self.saved:
                client.hset(meta, "process", "before")
        client.hset(meta, "ahead", ahead)
        for replica in self.replicas:
            store_of(replica).broken = True

    def close(self) -> None:
        """Ends all, and removes the keys."""
        for replica in (*self.replicas, *self.gone):
            replica._store.close()
        self._remove()

    def _keys(self) -> list[bytes]:
        return list(self.server.client.keys(f"{{{self.prefix}}}:*"))

    def _remove(self) -> None:
        if keys := self._keys():
            self.server.client.delete(*keys)


def store_of(replica: StillLedger) -> SplitStore:
    """Returns the store of a replica, to cut it off."""
    store = replica._store
    assert isinstance(store, SplitStore)
    return store
