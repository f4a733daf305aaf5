"""``envoy.service.ext_proc.v3.ExternalProcessor`` on grpc.aio: one stream per HTTP request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from routoo.api.convert import parse
from routoo.api.extproc.access_log import AccessLog
from routoo.api.extproc.exchange import Exchange
from routoo.api.extproc.guarded_handlers import GuardedHandlers
from routoo.api.extproc.metrics import Tally
from routoo.api.extproc.router import Router
from routoo.api.extproc.settlement import Booking, LoggedReplies
from routoo.api.status import status_of
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from routoo.api.overload import Overload
    from routoo.api.peers import Place
    from routoo.api.security.gate import Gate
    from routoo.engine.current import Current
    from routoo.telemetry.metrics import Metrics

SERVICE: str = ext_proc.DESCRIPTOR.services_by_name["ExternalProcessor"].full_name
RPC = "Process"
Context = Any  # grpc.aio.ServicerContext[bytes, bytes]
_log = structlog.get_logger("routoo.extproc")


class Processor:
    """Serves Envoy. Lives on the loop that serves.

    Args:
        current: the engine and the settings in force.
        metrics: whose registry gets the counters.
        gate: lets Envoy in.
        overload: refuses what would wait too long; shared with the calls of the API.
        place: of this worker among those of the service; None: there are no others.
    """

    def __init__(
        self,
        current: Current,
        metrics: Metrics,
        gate: Gate,
        overload: Overload,
        place: Place | None,
    ) -> None:
        self._current = current
        self._metrics = metrics
        self._gate = gate
        self._router = Router(current, overload)
        self._tally = Tally(metrics.registry)
        self._released = False
        self._streams: dict[asyncio.Task[Any], Exchange] = {}
        self._booking = Booking(current)
        self._logged = LoggedReplies(self._tally, lambda: current.settings.outcomes)
        self._log = AccessLog(self._logged, self._booking, gate, metrics, place)
        self._idle = asyncio.Event()
        self._idle.set()

    def handlers(self) -> tuple[grpc.GenericRpcHandler[bytes, bytes], ...]:
        """What is added to a grpc.aio server."""
        method = grpc.stream_stream_rpc_method_handler(self._process)
        services = (
            grpc.method_handlers_generic_handler(SERVICE, {RPC: method}),
            self._log.handlers(),
        )
        if self._gate.is_open:
            return services
        return tuple(GuardedHandlers(one, self._gate, self._metrics) for one in services)

    async def answer_peer(self, body: bytes) -> tuple[str, bytes]:
        """Answers another worker, which got Envoy's log of a decision of this one."""
        return await self._log.take_for_another(body)

    async def close(self, grace_s: float) -> None:
        """Routes nothing more; waits for the replies under way, ``grace_s`` at most.

        Streams that still wait then are ended, which leaves the reply as it is, and their decisions
        are settled at what was predicted. To be called before the engine is closed.
        """
        self._router.open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._answered()
        self._released = True
        for task, exchange in list(self._streams.items()):
            if exchange.waits_for_upstream:
                task.cancel()
        for outcome in self._logged.rest():
            self._booking.add(outcome)
        self._log.close()
        await asyncio.sleep(0)  # they end
        await self._booking.done()

    async def settled(self) -> None:
        """Waits until no HTTP request is in progress, and all that ended are booked."""
        await self._answered()
        await self._booking.done()

    async def _answered(self) -> None:
        await self._idle.wait()
        await self._logged.none_left.wait()

    async def _process(self, _bodies: object, context: Context) -> None:
        exchange = Exchange(
            self._router,
            self._current.settings.processor,
            self._tally,
            self._logged,
            lambda: self._gate.admit(context, RPC),
        )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        self._streams[task] = exchange
        self._idle.clear()
        code = "OK"
        started_s = perf_counter()
        try:
            await _talk(exchange, context)
            exchange.told()
        except asyncio.CancelledError:
            code = "CANCELLED"
            # Ended by us: with OK, Envoy goes on by itself.
            if not (self._released and exchange.waits_for_upstream) or context.cancelled():
                raise
        except Exception as error:
            status, line = status_of(error)
            code = status.name
            if not isinstance(error, RoutooError):
                _log.error("a stream failed", exc_info=error)
            await context.abort(status, line)
            raise  # abort raises; this line is for the linter
        finally:
            del self._streams[task]
            # How long the upstream took is not the service's time.
            self._metrics.answered(RPC, code, (exchange.sent_s or perf_counter()) - started_s)
            outcome = exchange.outcome()
            if outcome is not None:
                self._booking.add(outcome)
            if not self._streams:
                self._idle.set()


async def _talk(exchange: Exchange, context: Context) -> None:
    """Answers messages until one side has nothing more to say.

    Raises:
        RoutooError: a message is malformed or out of place.
    """
    while not exchange.over:
        body = await context.read()
        if body is grpc.aio.EOF:  # type: ignore[attr-defined]
            return
        answer = await exchange.answer(parse(ext_proc.ProcessingRequest, body))
        if answer is not None:
            await context.write(answer)
