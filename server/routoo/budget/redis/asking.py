"""The calls of requests to Redis, in the order that keeps the leases whole."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.redis.replies import StoreError
from routoo.budget.redis.store import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.redis.alone import Alone
    from routoo.budget.redis.replies import Reply, Told
    from routoo.budget.redis.store import RedisStore

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]
    Answer = tuple[IndexArray, bool]


class Asking:
    """Asks Redis for grants, and tells it what was granted ahead. Thread-safe."""

    def __init__(
        self,
        store: RedisStore,
        alone: Alone,
        lock: threading.Lock,
        leave: Callable[[StoreError | None], None],
    ) -> None:
        """Prepares the calls.

        Args:
            store: Redis.
            alone: what the replica knows and has granted by itself.
            lock: guards ``alone``.
            leave: called with the lock held when Redis does not answer, or has lost the books (None
                when the ledger knows already).
        """
        self._store = store
        self._alone = alone
        self._lock = lock
        self._leave = leave
        self._booking = threading.Lock()

    def ask(
        self, ids: Sequence[str], groups: IndexArray, amounts: IntArray, mode: str
    ) -> Answer | None:
        """Asks for grants, see ``RedisStore.reserve``.

        Returns:
            ``Grants.refused_by``, and whether nothing but leases was granted; None: the answer came
            after Redis had lost the books.

        Raises:
            StoreError: the replica has left Redis.
        """
        answer, took = self._ask_once(ids, groups, amounts, mode)
        if answer is None or took or answer[0].max() < 0:
            return answer
        return self._ask_once(ids, groups, amounts, mode, shuts=True)[0]

    def book(self) -> None:
        """Tells Redis what has been granted ahead, and what that has cost, as of now.

        Raises:
            StoreError: what it has still to be told is kept.
        """
        ahead = self._alone.ahead
        if not ahead.rows and not ahead.costs:
            return
        with self._booking:
            with self._lock:
                rows = ahead.rows_to_book()
            for start in range(0, len(rows), ROWS_AT_ONCE):
                part = rows[start : start + ROWS_AT_ONCE]
                self._booked(self._store.adopt(part, leased=True), [row[0] for row in part], ())
            with self._lock:
                costs = ahead.costs_to_book()
            for start in range(0, len(costs), ROWS_AT_ONCE):
                some = costs[start : start + ROWS_AT_ONCE]
                told = self._store.settle(some, steady=True)[1]
                self._booked(told, (), [cost[0] for cost in some])

    def _ask_once(
        self,
        ids: Sequence[str],
        groups: IndexArray,
        amounts: IntArray,
        mode: str,
        *,
        shuts: bool = False,
    ) -> tuple[Answer | None, bool]:
        with self._lock:
            if shuts:  # here, as a renewal opens it again
                self._alone.ahead.shut()
            took = self._alone.ahead.ask(len(ids))
        try:
            if took:
                self.book()
            reply = self._store.reserve(ids, groups.tolist(), amounts.tolist(), mode, takes=took)
            known = self._alone.saw(reply.told)
            if known and self._alone.waits:
                known = self._noted(reply, ids, groups, amounts, overdrawn=mode == "over")
        except StoreError as error:
            # Before anything is granted ahead again: the call may have taken from the leases.
            with self._lock:
                self._leave(error)
            raise
        finally:
            with self._lock:
                self._alone.ahead.answered(took=took)
        answer = (np.array(reply.refused_by, np.intp), reply.waiting)
        return (answer if known else None), took

    def _noted(
        self,
        reply: Reply,
        ids: Sequence[str],
        groups: IndexArray,
        amounts: IntArray,
        *,
        overdrawn: bool,
    ) -> bool:
        """Notes what was granted by books that may not be whole; False: they have been lost."""
        if not reply.waiting:
            try:
                look = self._store.look()
            except StoreError:
                pass  # the next call tells
            else:
                with self._lock:
                    self._alone.whole(look.told)
        rows = zip(ids, groups.tolist(), amounts.tolist(), reply.refused_by, strict=True)
        granted = [row[:3] for row in rows if row[3] < 0]
        with self._lock:
            return self._alone.granted(reply.told, granted, overdrawn=overdrawn)

    def _booked(self, told: Told, rows: Sequence[str], costs: Sequence[str]) -> None:
        known = self._alone.saw(told)
        with self._lock:
            if not known:
                self._leave(None)
            self._alone.ahead.booked(rows, costs)
