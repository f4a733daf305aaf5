"""The ledger that replicas share through Redis, with leases for the time without Redis."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import structlog

from routoo.budget.ledger import BudgetState, Grants, Settled
from routoo.budget.redis.advice import warn_of_losses
from routoo.budget.redis.asking import Asking
from routoo.budget.redis.replies import StoreError
from routoo.budget.redis.store import ROWS_AT_ONCE
from routoo.budget.scopes import nano_usd
from routoo.budget.terms import one_nano_usd

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.budget.redis.alone import Alone
    from routoo.budget.redis.replies import Renewal
    from routoo.budget.redis.store import RedisStore
    from routoo.budget.scopes import Scopes
    from routoo.budget.terms import BudgetTerms

    IntArray = NDArray[np.int64]
    IndexArray = NDArray[np.intp]

_log = structlog.get_logger(__name__)
_FIRST_PROBE_S = 0.1
# Leases are renewed this often even without requests, so that they are a share of what is left now,
# and so that usually no request is the first to find that Redis is away.
_RENEWAL_INTERVAL_S = 1.0


class RedisLedger:
    """Implements ``Ledger``; check and booking are one script in Redis.

    The first call that fails, or takes longer than the timeout, opens a circuit breaker: from then
    on nothing waits for Redis. The replica decides by itself, within its leases (``lease.py``), and
    a thread tries to reach Redis. Once Redis answers, it gets everything that was decided without
    it, and the breaker closes.

    A Redis that has lost its books, or gone back to an older state of them, is away, too. Each
    replica that notices raises the books to what it saw last. The books then hold all that any
    replica had an answer for, once every replica has done so; until then, grants stay within
    leases.

    A call of one row is granted at once if the replica's leases have the money, and booked in Redis
    soon after (``ahead.py``). Redis alone refuses.

    An id that Redis has already is taken for the same decision: it is granted, and not booked
    again. While Redis is away, costs are not checked: nobody knows whether the decision exists, and
    ``settle`` answers ``SETTLED``.
    """

    def __init__(
        self,
        scopes: Scopes,
        store: RedisStore,
        alone: Alone,
        *,
        max_probe_s: float,
        book_delay_s: float,
        jitter: random.Random,
    ) -> None:
        """Starts the ledger, whether Redis answers or not.

        Args:
            scopes: the budgets.
            store: Redis; closed with the ledger.
            alone: decides within the leases.
            max_probe_s: longest time between two attempts to reach Redis.
            book_delay_s: time until Redis is told what was granted out of leases; 0: each call asks
                Redis first.
            jitter: spreads the attempts of replicas that lost Redis at the same time.
        """
        self._scopes = scopes
        self._store = store
        self._alone = alone
        self._max_probe_s = max_probe_s
        self._book_delay_s = book_delay_s
        self._jitter = jitter
        self._lock = threading.Lock()  # over _away and _alone
        self._reconciling = threading.Lock()
        self._renewing = threading.Lock()
        self._asking = Asking(store, alone, self._lock, self._leave)
        self._away = False
        self._lost = False
        self._warned: str | None = None
        self._reason = ""
        self._ended = threading.Event()
        self._wake = threading.Event()
        try:
            self._connect()
            self._warn()
            self._renew()
        except StoreError as error:
            with self._lock:
                self._leave(error)
        self._thread = threading.Thread(target=self._run, name="routoo-ledger", daemon=True)
        self._thread.start()

    @property
    def terms(self) -> tuple[BudgetTerms, ...]:
        return self._scopes.terms

    @property
    def waits(self) -> bool:
        return True

    @property
    def degraded(self) -> bool:
        """Returns whether Redis is away, without any effect on the ledger."""
        return self._away

    def applies(self, tenant: str) -> tuple[int, ...]:
        return self._scopes.budgets(tenant)

    def reserve(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: NDArray[np.float64],
        *,
        all_or_nothing: bool = False,
    ) -> Grants:
        mode = "all" if all_or_nothing else "any"
        return self._decide(ids, tenants, amounts_usd, mode)

    def overdraw(
        self, ids: Sequence[str], tenants: Sequence[str], amounts_usd: NDArray[np.float64]
    ) -> Grants:
        return self._decide(ids, tenants, amounts_usd, "over")

    def settle(self, decision_id: str, cost_usd: float) -> Settled:
        cost = one_nano_usd(cost_usd)
        ahead = self._alone.ahead
        if ahead.rows or ahead.costs:
            with self._lock:
                noted = ahead.settle(decision_id, cost)
            if noted is not None:
                return Settled.SETTLED if noted else Settled.TWICE
        error = None
        if not self._away:
            try:
                (settled,), told = self._store.settle([(decision_id, cost)])
            except StoreError as caught:
                error = caught
            else:
                self._alone.saw(told)
                if self._alone.waits and settled is Settled.SETTLED:
                    with self._lock:
                        self._alone.settled(decision_id, cost)
                return settled
        with self._lock:
            self._leave(error)
            return self._alone.settle(decision_id, cost)

    def states(self) -> tuple[BudgetState, ...]:
        error = None
        if not self._away:
            try:
                self._asking.book()
                look = self._store.look()
            except StoreError as caught:
                error = caught
            else:
                self._alone.saw(look.told)
                self._alone.reports = look.reports
                return look.states(self.terms)
        with self._lock:
            self._leave(error)
            return self._alone.states()

    def reconcile(self) -> bool:
        """Tries to reach Redis and sends it everything that was decided without it.

        Safe to call at any time.

        Returns:
            True: Redis has everything and is used again.
        """
        with self._reconciling:
            try:
                return self._reconcile()
            except StoreError as error:
                self._lost |= error.kind == "lost"
                self._say(error)
                return False

    def renew(self) -> None:
        """Renews the leases, as the thread does each second."""
        try:
            if not self._away:
                self._renew()
        except StoreError as error:
            with self._lock:
                self._leave(error)

    def book(self) -> None:
        """Books in Redis what was granted out of leases, as the thread does all the time."""
        try:
            self._asking.book()
        except StoreError as error:
            with self._lock:
                self._leave(error)

    def close(self) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()
        self.book()
        if self._away and len(self._alone.pending) and not self.reconcile():
            _log.error(
                "stopped while Redis is away: these decisions and costs are lost",
                entries=len(self._alone.pending),
            )
        elif not self._away:
            self._give_back()
        self._store.close()

    def _decide(
        self,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts_usd: NDArray[np.float64],
        mode: str,
    ) -> Grants:
        if not len(ids) == len(tenants) == len(amounts_usd):
            raise ValueError(
                f"{len(ids)} ids, {len(tenants)} tenants and {len(amounts_usd)} amounts;"
                " each row has one of each"
            )
        if len(set(ids)) < len(ids):
            raise ValueError("a decision id stands twice")
        amounts, groups = nano_usd(amounts_usd), self._scopes.groups(tenants)
        refused_by = np.full(len(ids), -1, np.intp)
        degraded = False
        rows = np.flatnonzero(self._scopes.bounded[groups])
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            part_ids = [ids[row] for row in part.tolist()]
            found, alone = self._decide_part(part_ids, groups[part], amounts[part], mode)
            degraded |= alone
            refused_by[part] = found
            if mode == "all" and (found >= 0).any():
                # The earlier parts were booked by scripts of their own; they are taken back.
                self._take_back([ids[row] for row in rows[:start].tolist()])
                refused_by[:] = found[found >= 0][0]
                break
        return Grants(refused_by, degraded)

    def _decide_part(
        self, ids: list[str], groups: IndexArray, amounts: IntArray, mode: str
    ) -> tuple[IndexArray, bool]:
        if len(ids) == 1 and mode != "over" and self._grants_ahead(ids[0], groups, amounts):
            return np.full(1, -1, np.intp), False
        sent, doubtful = None, False
        try:
            if not self._away:
                # Noted before the breaker is asked: whoever opens it then sees the call.
                sent = self._alone.sending(groups, amounts, over=mode == "over")
            if not self._away:
                try:
                    answer = self._asking.ask(ids, groups, amounts, mode)
                except StoreError as error:
                    doubtful = error.doubtful
                else:
                    if answer is not None:
                        return answer
                    doubtful = True
            with self._lock:
                self._leave(None)
                found = self._alone.decide(ids, groups, amounts, mode, sent=sent, doubtful=doubtful)
                return found, True
        finally:
            if sent is not None:
                self._alone.arrived(sent)

    def _grants_ahead(self, key: str, groups: IndexArray, amounts: IntArray) -> bool:
        if self._away or not self._book_delay_s:
            return False
        with self._lock:
            granted = not self._away and self._alone.grant_ahead(
                key, int(groups[0]), int(amounts[0])
            )
        if granted and not self._wake.is_set():
            self._wake.set()
        return granted

    def _take_back(self, ids: list[str]) -> None:
        error = None
        if not self._away:
            try:
                for start in range(0, len(ids), ROWS_AT_ONCE):
                    self._alone.saw(self._store.cancel(ids[start : start + ROWS_AT_ONCE]))
                if self._alone.waits:
                    with self._lock:
                        self._alone.forget(ids)
            except StoreError as caught:
                error = caught
            else:
                return
        with self._lock:
            self._leave(error)
            self._alone.take_back(ids)

    def _leave(self, error: StoreError | None) -> None:
        """Opens the breaker for a call that is then decided without Redis.

        Args:
            error: why Redis is away; None: the breaker was open when the call began. If Redis came
                back meanwhile, the breaker is opened again until Redis has this decision, too.
        """
        self._lost |= error is not None and error.kind == "lost"
        if self._away:
            return
        self._away = True
        self._alone.begin()
        if error is not None:
            self._say(error)
        self._wake.set()

    def _say(self, error: StoreError) -> None:
        if error.kind != self._reason:
            self._reason = error.kind
            _log.warning(
                "budgets are degraded: this replica spends its leases",
                kind=error.kind,
                reason=str(error),
            )

    def _run(self) -> None:
        renew_at_s = monotonic() + _RENEWAL_INTERVAL_S
        while not self._ended.is_set():
            self._wake.wait(max(0.0, renew_at_s - monotonic()))
            self._wake.clear()
            wait_s = _FIRST_PROBE_S
            while self._away and not self._ended.is_set():
                self._wake.wait(self._jitter.uniform(0.5, 1.0) * min(wait_s, self._max_probe_s))
                self._wake.clear()
                if not self._ended.is_set():
                    self.reconcile()
                wait_s = min(2 * wait_s, self._max_probe_s)
            if self._alone.ahead.rows or self._alone.ahead.costs:
                self._ended.wait(self._book_delay_s)
                self.book()
            if monotonic() >= renew_at_s and not self._ended.is_set():
                self.renew()
                renew_at_s = monotonic() + _RENEWAL_INTERVAL_S

    def _reconcile(self) -> bool:
        if not self._away:
            return True
        self._connect()
        while True:
            with self._lock:
                part = self._alone.pending.part(ROWS_AT_ONCE)
                unspent = self._alone.unspent
            if part.bookings or part.costs or part.doubts:
                late_us = self._alone.late_us
                self._alone.saw(self._alone.pending.deliver(self._store, part, late_us))
                with self._lock:
                    self._alone.delivered(part)
                continue
            # What is spent until the answer comes is a part of this, and is delivered after it.
            with self._renewing:
                renewal = self._store.renew(unspent)
            with self._lock:
                if len(self._alone.pending) == 0:
                    self._away = False
                    self._alone.end()
                    self._renewed(renewal)
                    self._reason = ""
                    break
        _log.info("Redis is back and has everything that was decided without it")
        self._warn()
        return True

    def _connect(self) -> None:
        """Takes up the books, and tells them what is known if Redis has lost them."""
        self._store.prepare()
        try:
            if not self._lost:
                look = self._store.look(first=True)
                self._store.epoch = look.told.epoch
                self._alone.entered(look.told)
                self._alone.reports = look.reports
                return
        except StoreError as error:
            if error.kind != "lost":
                raise
            self._say(error)
        alone = self._alone
        claims = alone.claims()
        found = self._store.restore(
            claims, version=alone.version, peers=alone.peers, now_us=alone.now_us
        )
        alone.entered(found.told)
        self._lost = False
        with self._lock:
            alone.tell_again()
        if found.awaited:
            _log.warning(
                "only leases are spent until these replicas tell what they know of the budgets that"
                " Redis has lost; if they have ended for good, docs/explanation/budgets.md tells"
                " how to go on",
                replicas=" ".join(found.awaited),
            )

    def _renew(self) -> None:
        with self._renewing:
            renewal = self._store.renew(self._alone.most)
            with self._lock:
                self._renewed(renewal)

    def _renewed(self, renewal: Renewal) -> None:
        self._alone.renewed(renewal)
        if renewal.waiting or self._away or not self._book_delay_s:
            self._alone.ahead.shut()
        else:
            self._alone.ahead.open()

    def _give_back(self) -> None:
        try:
            self._store.give_back()
        except StoreError as error:
            _log.warning("leases stay until they expire: Redis is away", reason=str(error))

    def _warn(self) -> None:
        """Warns of what may lose the books, once per process of Redis."""
        if self._warned == self._store.process:
            return
        self._warned = self._store.process
        warn_of_losses(self._store)
