"""Settlement of decisions by Envoy's access log: awaited replies, and outcomes of log entries."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from routoo.api.extproc.headers import DECISION_ID
from routoo.api.extproc.usage import usage_in
from routoo.errors import RoutooError
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.extproc.metrics import ExchangeCounts
    from routoo.config.settings import OutcomeSettings
    from routoo.engine.current import ActiveEngine

Entry = Any  # envoy.data.accesslog.v3.HTTPAccessLogEntry; it has no types
METADATA = "routoo"
"""The namespace of the metadata in which deploy/envoy/envoy.yaml puts the usage of a reply, as
JSON: the first usage in the reply and, if there are more, the last."""
_USAGES = ("usage", "last_usage")
FIRST_ERROR_STATUS = 400

_log = structlog.get_logger("routoo.extproc")


class AwaitedReplies:
    """Keeps the ids of decisions that wait for their log entry. Lives on one event loop.

    Attributes:
        none_left: set while no decision waits.

    Args:
        tally: counts the results of replies.
        terms: returns how many decisions are kept, and for how long; called each time, as a reload
            changes the settings.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        tally: ExchangeCounts,
        terms: Callable[[], OutcomeSettings],
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._tally = tally
        self._terms = terms
        self._clock_s = clock_s
        # By decision id, the oldest first: the time of the decision, and its tenant.
        self._waiting: dict[str, tuple[float, str]] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()

    def expect(self, decision_id: str, tenant: str) -> None:
        """Adds a decision, which Envoy is about to get and whose reply it will log."""
        now_s = self._clock_s()
        terms = self._terms()
        self._waiting[decision_id] = now_s, tenant
        self.none_left.clear()
        # The engine forgets decisions by the same limits, so these need not be booked.
        while (
            len(self._waiting) > terms.max_open_decisions
            or now_s - next(iter(self._waiting.values()))[0] > terms.max_age_s
        ):
            self.forget(next(iter(self._waiting)))
            self._tally.reply("gone")

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
        return [OutcomeReport(decision_id) for decision_id in left]

    def outcome(self, entry: Entry, tenant: str | None) -> OutcomeReport | None:
        """Returns the outcome that a log entry reports; None: of no awaited decision.

        Args:
            entry: an entry of the access log.
            tenant: the tenant whose decision it has to be; None: any tenant's.
        """
        decision_id = decision_of(entry)
        _, owner = self._waiting.get(decision_id, (0.0, None))
        if owner is None or tenant not in (None, owner):
            return None
        self.forget(decision_id)
        status = entry.response.response_code.value
        if status >= FIRST_ERROR_STATUS:
            self._tally.reply("failed")
            return OutcomeReport(decision_id, error=f"HTTP status {status}")
        told = entry.common_properties
        flags = told.response_flags
        # The caller left before the reply had ended, or there was no reply.
        gone = (
            flags.downstream_connection_termination or flags.downstream_remote_reset or not status
        )
        texts = told.metadata.filter_metadata[METADATA].fields
        usage = usage_in(texts[name].string_value for name in _USAGES if name in texts)
        if not usage.complete:
            self._tally.reply("gone" if gone else "estimated")
            return OutcomeReport(decision_id)
        self._tally.reply("read")
        return OutcomeReport(
            decision_id,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            latency_ms=None if gone else _latency_ms(told),
        )


def decision_of(entry: Entry) -> str:
    """Returns the id of the decision that a log entry is about; empty: of none."""
    found: str = entry.request.request_headers.get(DECISION_ID, "")
    return found


def _latency_ms(told: Entry) -> float | None:
    """Returns the time of the upstream in ms; None: the entry lacks it.

    It is measured from the first byte of the request that is sent to the upstream to the last byte
    of its reply.
    """
    if not (
        told.HasField("time_to_first_upstream_tx_byte")
        and told.HasField("time_to_last_upstream_rx_byte")
    ):
        return None
    ended_us = told.time_to_last_upstream_rx_byte.ToMicroseconds()
    took_us: int = ended_us - told.time_to_first_upstream_tx_byte.ToMicroseconds()
    return max(0.0, took_us * 1e-3)


class OutcomeQueue:
    """Books outcomes; those that are added while others are booked are booked together afterwards.

    Args:
        current: the engine in force.
    """

    def __init__(self, current: ActiveEngine) -> None:
        self._current = current
        self._outcomes: list[OutcomeReport] = []
        self._running: asyncio.Task[None] | None = None

    def add(self, outcome: OutcomeReport) -> None:
        """Adds an outcome, which is booked soon."""
        self._outcomes.append(outcome)
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._book())

    async def done(self) -> None:
        """Waits until all that were added are booked."""
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def _book(self) -> None:
        while self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            try:
                results = await self._current.engine.report_all(outcomes)
            except RoutooError as error:
                results = [error]
            for result in results:
                if isinstance(result, RoutooError):
                    _log.warning("an outcome was not booked", reason=str(result))
