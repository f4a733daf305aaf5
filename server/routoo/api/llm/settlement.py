"""Settlement of decisions by the usage that their replies tell, and the queue to the books."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from routoo.errors import RoutooError
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.engine.current import ActiveEngine
    from routoo.tariffs.usage_reader import UsageReading

FIRST_ERROR_STATUS: Final = 400

_log = structlog.get_logger("routoo.llm")


def settled_by(
    decision_id: str,
    reading: UsageReading,
    latency_ms: float | None,
    tally: ExchangeCounts,
    *,
    broke_off: bool,
    first_token_ms: float | None = None,
) -> OutcomeReport:
    """Returns the outcome of a reply that is no error, and counts it.

    Args:
        decision_id: of the decision.
        reading: the usage in the reply.
        latency_ms: time to the last token; None: not known.
        tally: counts the reply.
        broke_off: whether the reply did not come to its end.
        first_token_ms: time to the first byte of the reply; None: not known.
    """
    if reading.told:
        tally.reply("read")
        return OutcomeReport(
            decision_id,
            usage=reading.usage,
            latency_ms=latency_ms,
            time_to_first_token_ms=first_token_ms,
            read=True,
        )
    tally.reply("gone" if broke_off else "estimated")
    return OutcomeReport(decision_id, usage=reading.usage, estimated=True, read=True)


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
