"""The ledger that replicas share through Redis, with leases for the time without Redis."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import structlog

from routoo.budget.ledger import BudgetState, Grants, Settled
from routoo.budget.redis.replies import StoreError
from routoo.budget.redis.store import ROWS_AT_ONCE
from routoo.budget.scopes import nano_usd
from routoo.budget.terms import one_nano_usd, usd

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.budget.redis.alone import Alone
    from routoo.budget.redis.replies import Look
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
        jitter: random.Random,
    ) -> None:
        """Starts the ledger, whether Redis answers or not.

        Args:
            scopes: the budgets.
            store: Redis; closed with the ledger.
            alone: decides within the leases.
            max_probe_s: longest time between two attempts to reach Redis.
            jitter: spreads the attempts of replicas that lost Redis at the same time.
        """
        self._scopes = scopes
        self._store = store
        self._alone = alone
        self._max_probe_s = max_probe_s
        self._jitter = jitter
        self._lock = threading.Lock()  # over _away and _alone
        self._reconciling = threading.Lock()
        self._renewing = threading.Lock()
        self._away = False
        self._lost = False
        self._warned: str | None = None
        self._reason = ""
        self._stopped = False
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
        error = None
        if not self._away:
            try:
                (settled,), told = self._store.settle([(decision_id, cost)])
            except StoreError as caught:
                error = caught
            else:
                self._alone.saw(told)
                return settled
        with self._lock:
            self._leave(error)
            return self._alone.settle(decision_id, cost)

    def states(self) -> tuple[BudgetState, ...]:
        error = None
        if not self._away:
            try:
                look = self._store.look()
            except StoreError as caught:
                error = caught
            else:
                self._alone.saw(look.told)
                self._alone.reports = look.reports
                return self._seen_states(look)
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

    def close(self) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join()
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
        error, sent, doubtful = None, None, False
        try:
            if not self._away:
                # Noted before the breaker is asked: whoever opens it then sees the call.
                sent = self._alone.sending(groups, amounts, over=mode == "over")
            if not self._away:
                try:
                    reply = self._store.reserve(ids, groups.tolist(), amounts.tolist(), mode)
                except StoreError as caught:
                    error, doubtful = caught, caught.doubtful
                else:
                    if self._alone.saw(reply.told):
                        return np.array(reply.refused_by, np.intp), reply.waiting
                    doubtful = True
            with self._lock:
                self._leave(error)
                found = self._alone.decide(ids, groups, amounts, mode, sent=sent, doubtful=doubtful)
                return found, True
        finally:
            if sent is not None:
                self._alone.arrived(sent)

    def _take_back(self, ids: list[str]) -> None:
        error = None
        if not self._away:
            try:
                for start in range(0, len(ids), ROWS_AT_ONCE):
                    self._alone.saw(self._store.cancel(ids[start : start + ROWS_AT_ONCE]))
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
        while not self._stopped:
            self._wake.wait(_RENEWAL_INTERVAL_S)
            self._wake.clear()
            if not self._away and not self._stopped:
                self.renew()
            wait_s = _FIRST_PROBE_S
            while self._away and not self._stopped:
                self._wake.wait(self._jitter.uniform(0.5, 1.0) * min(wait_s, self._max_probe_s))
                self._wake.clear()
                if not self._stopped:
                    self.reconcile()
                wait_s = min(2 * wait_s, self._max_probe_s)

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
                    self._alone.pending.delivered(part)
                continue
            # What is spent until the answer comes is a part of this, and is delivered after it.
            with self._renewing:
                renewal = self._store.renew(unspent)
            with self._lock:
                if len(self._alone.pending) == 0:
                    self._alone.renewed(renewal)
                    self._away = False
                    self._alone.end()
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
        if found.awaited:
            _log.warning(
                "only leases are spent until these replicas tell what they know of the budgets that"
                " Redis has lost; if they have ended for good, docs/budgets.md tells how to go on",
                replicas=" ".join(found.awaited),
            )

    def _renew(self) -> None:
        with self._renewing:
            self._alone.renewed(self._store.renew(self._alone.held))

    def _give_back(self) -> None:
        try:
            self._store.give_back()
        except StoreError as error:
            _log.warning("leases stay until they expire: Redis is away", reason=str(error))

    def _seen_states(self, look: Look) -> tuple[BudgetState, ...]:
        states = []
        for index, terms in enumerate(self.terms):
            seen, oldest = look.told.seen[index], look.oldest[index]
            step_us = terms.step_ns // 1000
            if not terms.sliding:
                left_us = (seen.step + 1) * step_us - look.told.now_us
            elif oldest is None:
                left_us = terms.period_ns // 1000
            else:
                left_us = (oldest + terms.steps) * step_us - look.told.now_us
            states.append(
                BudgetState(
                    terms=terms,
                    reserved_usd=usd(seen.reserved),
                    settled_usd=usd(seen.settled),
                    overdraft_usd=usd(seen.overdraft),
                    granted=seen.granted,
                    period_left_s=left_us / 1e6,
                    degraded=False,
                    reported_usd=usd(look.reports[index].reported),
                    reported_reserved_usd=usd(look.reports[index].reported_reserved),
                    expired=look.reports[index].expired,
                )
            )
        return tuple(states)

    def _warn(self) -> None:
        """Warns of what may lose the books, once per process of Redis."""
        if self._warned == self._store.process:
            return
        self._warned = self._store.process
        try:
            policy = self._store.evicts()
            lacks = self._store.forgets()
        except StoreError:
            return  # these commands may be forbidden, and the warnings are only advice
        if policy is not None:
            _log.warning(
                "Redis may throw budgets away to make room; set its maxmemory-policy to noeviction",
                policy=policy,
            )
        if lacks is not None:
            _log.warning(
                "Redis may forget budgets when it restarts; set its appendonly to yes",
                reason=lacks,
            )
