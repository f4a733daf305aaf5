"""The latest decisions over HTTP: a list of them, and a stream of them."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.api.convert.live import decision_message, totals_message
from routoo.api.http.door import Door
from routoo.api.http.json_form import JsonForm
from routoo.api.http.rpcs import admitted, query_of
from routoo.api.tenancy import decisions_shown
from routoo.errors import InvalidRequestError, QueueFullError, RoutooError
from routoo.telemetry.live.feed import MOST_KEPT
from routoo.telemetry.live.sums import totals_of
from routoo.v1.live_pb2 import DecisionTotals, ListDecisionsRequest, ListDecisionsResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.api.calls import Doorkeeper
    from routoo.api.http.call import HttpCall
    from routoo.engine.current import ActiveEngine
    from routoo.telemetry.live.feed import LiveFeed
    from routoo.telemetry.live.seen_decision import SeenDecision

_USUAL, _MOST_VIEWERS = 100, 32
_TICK_S, _QUIET_S, _ASK_AGAIN_S = 0.5, 15.0, 5.0
_LIST: Final = (ListDecisionsRequest, ListDecisionsResponse)


class DecisionDoors:
    """Shows the latest decisions. Lives on the event loop that serves.

    Args:
        current: the engine and the settings in force.
        feed: notes decisions while somebody looks.
        gate: tells whether a caller may still look.
    """

    def __init__(self, current: ActiveEngine, feed: LiveFeed, gate: Doorkeeper) -> None:
        self._current = current
        self._feed = feed
        self._gate = gate
        self._viewers = 0
        # By tenant: the newest decision that is among the sums, and the sums. Those who look at the
        # same decisions have them added up once.
        self._totals: dict[str | None, tuple[int, DecisionTotals]] = {}
        self._asked = JsonForm.of(ListDecisionsRequest)
        self._listed = JsonForm.of(ListDecisionsResponse)

    def doors(self) -> list[Door]:
        """Returns the doors."""
        return [
            Door(
                "GET",
                "/v1/decisions",
                self._list,
                "ListDecisions",
                summary="Lists the latest decisions, noted while somebody looks.",
                messages=_LIST,
            ),
            Door(
                "GET",
                "/v1/decisions/stream",
                self._stream,
                "WatchDecisions",
                summary="Streams them as server-sent events; each has such a list as its data.",
                messages=_LIST,
                media="text/event-stream",
            ),
        ]

    async def _list(self, call: HttpCall) -> None:
        tenant = decisions_shown(admitted(call).caller)
        asked = self._asked.read(query_of(call))
        most = _checked_limit(asked)
        self._feed.look()
        found = self._feed.latest(tenant)
        await call.reply(200, orjson.dumps(self._written(tenant, found, asked.after, most)))

    def _written(
        self, tenant: str | None, found: Sequence[SeenDecision], after: int, most: int
    ) -> dict[str, Any]:
        shown = [one for one in found if one.number > after][-most:]
        return self._listed.written(
            ListDecisionsResponse(
                decisions=[decision_message(one) for one in reversed(shown)],
                totals=self._totals_of(tenant, found),
                workers=self._current.settings.workers,
                has_prompts=self._feed.prompts,
            )
        )

    def _totals_of(self, tenant: str | None, found: Sequence[SeenDecision]) -> DecisionTotals:
        if not found:
            self._totals.pop(tenant, None)
            return DecisionTotals()
        newest, known = found[-1].number, self._totals.get(tenant)
        if known is None or known[0] != newest:
            if len(self._totals) >= _MOST_VIEWERS:
                self._totals.clear()
            known = self._totals[tenant] = newest, totals_message(totals_of(found))
        return known[1]

    async def _stream(self, call: HttpCall) -> None:
        caller = admitted(call).caller
        tenant = decisions_shown(caller)
        asked = self._asked.read(query_of(call))
        most, after = _checked_limit(asked), asked.after
        if self._viewers >= _MOST_VIEWERS:
            raise QueueFullError(f"{_MOST_VIEWERS} pages look already; close one")
        self._viewers += 1
        # How long somebody looks is no measure of the service.
        call.handed_s = monotonic()
        gone = asyncio.create_task(call.gone())
        try:
            await call.begin(
                200,
                (
                    (b"content-type", b"text/event-stream"),
                    (b"cache-control", b"no-store"),
                    (b"x-accel-buffering", b"no"),  # for a proxy before the service
                ),
            )
            sent_s, asked_s = 0.0, monotonic()
            while not (gone.done() or self._feed.closed):
                now_s = monotonic()
                if now_s - asked_s > _ASK_AGAIN_S:
                    asked_s = now_s
                    if not self._may_go_on(call, tenant):
                        break
                self._feed.look()
                found = self._feed.latest(tenant)
                newest = found[-1].number if found else after
                if newest > after or not sent_s:
                    data = orjson.dumps(self._written(tenant, found, after, most))
                    await call.write(b"event: decisions\ndata: " + data + b"\n\n")
                    after, sent_s = max(after, newest), now_s
                elif now_s - sent_s > _QUIET_S:
                    await call.write(b": nothing new\n\n")
                    sent_s = now_s
                await asyncio.wait((gone,), timeout=_TICK_S)
            await call.end()
        finally:
            self._viewers -= 1
            gone.cancel()

    def _may_go_on(self, call: HttpCall, tenant: str | None) -> bool:
        """Returns whether a caller may still see what it sees; a token may be taken back."""
        if self._gate.anyone is not None:
            return tenant is None
        try:
            return decisions_shown(self._gate.identify(call, "WatchDecisions")) == tenant
        except RoutooError:
            return False


def _checked_limit(asked: ListDecisionsRequest) -> int:
    if asked.limit > MOST_KEPT:
        raise InvalidRequestError(f"{asked.limit} is above {MOST_KEPT}", field="limit")
    return asked.limit or _USUAL
