"""Books what became of HTTP requests, many at a time, while their streams go on or end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from routoo.errors import RoutooError

if TYPE_CHECKING:
    from routoo.engine.current import Current
    from routoo.routing.outcome import Outcome

_log = structlog.get_logger("routoo.extproc")


class Booking:
    """Takes outcomes; those that come while others are booked are booked together after them.

    Args:
        current: the engine in force.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._outcomes: list[Outcome] = []
        self._running: asyncio.Task[None] | None = None

    def add(self, outcome: Outcome) -> None:
        """Books an outcome, some time soon."""
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
