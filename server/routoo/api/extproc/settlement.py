"""Settlement of decisions by Envoy's access log: awaited replies, and outcomes of log entries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from routoo.api.llm.settlement import FIRST_ERROR_STATUS, settled_by
from routoo.engine.open_decisions import made_for
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.extproc.log_entry import LogEntry
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.settings import OutcomeSettings, Settings

DOUBT_S = 30.0
"""Envoy writes its log when a reply has ended, which most have by then."""


class AwaitedReplies:
    """Keeps the ids of decisions that wait for their log entry. Lives on one event loop.

    Attributes:
        none_left: set while no decision waits.

    Args:
        tally: counts the results of replies.
        settings: returns the settings in force, which say how many decisions are kept, for how
            long, and how failures are booked.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        tally: ExchangeCounts,
        settings: Callable[[], Settings],
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._tally = tally
        self._settings = settings
        self._clock_s = clock_s
        # By decision id, the oldest first: the time of the decision, and its tenant.
        self._waiting: dict[str, tuple[float, str]] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()

    def expect(self, decision_id: str, tenant: str) -> None:
        """Adds a decision, which Envoy is about to get and whose reply it will log."""
        now_s = self._clock_s()
        terms: OutcomeSettings = self._settings().outcomes
        self._waiting[decision_id] = now_s, tenant
        self.none_left.clear()
        # The engine forgets decisions by the same limits, so these need not be booked.
        while (
            len(self._waiting) > terms.max_open_decisions
            or now_s - next(iter(self._waiting.values()))[0] > terms.max_age_s
        ):
            self.forget(next(iter(self._waiting)))
            self._tally.reply("gone")

    def expect_briefly(
        self, decision_id: str, book: Callable[[OutcomeReport], None], within_s: float = DOUBT_S
    ) -> None:
        """Books an awaited decision at the estimate, unless the log tells of it soon.

        Args:
            decision_id: the decision.
            book: gets the outcome.
            within_s: the longest time until the reply has ended and Envoy has written its log.
        """

        def give_up() -> None:
            if self.forget(decision_id):
                self._tally.reply("gone")
                book(OutcomeReport(decision_id, estimated=True))

        asyncio.get_running_loop().call_later(within_s, give_up)

    def forget(self, decision_id: str) -> bool:
        """Removes a decision, and returns whether it was awaited."""
        found = self._waiting.pop(decision_id, None) is not None
        if not self._waiting:
            self.none_left.set()
        return found

    def rest(self) -> list[OutcomeReport]:
        """Removes all decisions that are left, and returns their outcomes at the predicted cost."""
        left = list(self._waiting)
        for decision_id in left:
            self.forget(decision_id)
            self._tally.reply("gone")
        return [OutcomeReport(decision_id, estimated=True) for decision_id in left]

    def outcome(self, entry: LogEntry, tenant: str | None) -> OutcomeReport | None:
        """Returns the outcome that a log entry reports; None: of no awaited decision.

        Args:
            entry: an entry of the access log.
            tenant: the tenant whose decision it has to be; None: any tenant's.
        """
        decision_id = entry.decision_id
        _, owner = self._waiting.get(decision_id, (0.0, None))
        if owner is None or tenant not in (None, owner):
            return None
        self.forget(decision_id)
        return self._outcome(entry)

    def outcome_of_lost(self, entry: LogEntry, tenant: str | None) -> OutcomeReport | None:
        """Returns the outcome of a decision that nobody awaits; None: too little is logged.

        Its worker has ended, or it is another replica's. The shared ledger still knows its
        reservation, and books each decision once.

        Args:
            entry: an entry of the access log.
            tenant: the tenant whose decision it has to be, by its id; None: any tenant's.
        """
        if self._settings().processor.usage_from != "access_log":
            return None
        known = entry.decision_id and entry.model
        if not known or (tenant is not None and not made_for(entry.decision_id, tenant)):
            self._tally.entry("lost")
            return None
        found = self._outcome(entry)
        found = replace(found, model=found.model or entry.model, age_s=entry.took_s)
        told = found.usage is not None and not found.estimated
        if told or (found.error and not found.estimated):
            return found
        return replace(found, cost_usd=entry.predicted_cost_usd, usage=None, estimated=True)

    def _outcome(self, entry: LogEntry) -> OutcomeReport:
        found, first_try = self._reply_of(entry), entry.first_try
        if first_try is None:
            return found
        self._tally.retried(first_try)
        name = f"{entry.model}@{entry.arm}" if entry.arm else entry.model
        return replace(found, model=name, first_try=first_try)

    def _reply_of(self, entry: LogEntry) -> OutcomeReport:
        decision_id, status = entry.decision_id, entry.status
        timed_out_ms = entry.timed_out_ms
        if status >= FIRST_ERROR_STATUS:
            self._tally.reply("failed")
            estimated = (
                self._settings().processor.failed_upstream == "estimate" and entry.may_have_worked
            )
            found = OutcomeReport(decision_id, error=f"HTTP status {status}", estimated=estimated)
        else:
            broke_off = entry.broke_off
            found = settled_by(
                decision_id,
                entry.reading(),
                None if broke_off else entry.latency_ms,
                self._tally,
                broke_off=broke_off,
                first_token_ms=None if broke_off else entry.first_byte_ms,
            )
        found = replace(found, status=status, failure=entry.failure, witnessed=True)
        # Nobody waited any longer: the answer would have taken more time than that.
        return found if timed_out_ms is None else replace(found, latency_ms=timed_out_ms)
