"""``envoy.service.ext_proc.v3.ExternalProcessor`` on grpc.aio: one stream per HTTP request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import grpc

from routoo.api.convert.messages import parse
from routoo.api.extproc.access_log import AccessLog
from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from routoo.api.extproc.exchange import Exchange
from routoo.api.extproc.questions import OwnAnswers
from routoo.api.extproc.settlement import AwaitedReplies
from routoo.api.llm.router import RPC, Router
from routoo.api.llm.settlement import OutcomeQueue
from routoo.api.memory.compressed import decompressed, is_compressed, length_of
from routoo.api.memory.held import Held
from routoo.api.memory.in_flight import message_bytes

if TYPE_CHECKING:
    from routoo.api.calls import Calls, Context, StreamState
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.api.peers import Peers
    from routoo.api.security.gate import Admission
    from routoo.engine.current import ActiveEngine
    from routoo.telemetry.tracing import Tracing

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"


class Processor:
    """Serves Envoy. Lives on the loop that serves.

    Args:
        current: the engine and the settings in force.
        calls: wraps the streams.
        tally: counts the results of requests and replies.
        tracing: gets the decisions; None: nothing is traced.
        peers: the other workers of the service; None: there are none.
    """

    def __init__(
        self,
        current: ActiveEngine,
        calls: Calls,
        tally: ExchangeCounts,
        tracing: Tracing | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._current = current
        self._calls = calls
        self._tally = tally
        self._router = Router(
            current, calls.overload, tracing, aside=calls.aside, on_fault=self._tally.fault
        )
        self._questions = OwnAnswers(current, calls.aside)
        self._released = False
        self._streams: dict[asyncio.Task[Any], Exchange] = {}
        self._booking = OutcomeQueue(current)
        self._logged = AwaitedReplies(self._tally, lambda: current.settings)
        self._log = AccessLog(self._logged, self._booking, peers, self._tally)
        self._idle = asyncio.Event()
        self._idle.set()

    def handlers(self) -> tuple[grpc.GenericRpcHandler[bytes, bytes], ...]:
        """Returns the handlers of both services, to be added to a grpc.aio server."""
        method = grpc.stream_stream_rpc_method_handler(self._calls.exchange(self._process, RPC))
        return (
            grpc.method_handlers_generic_handler(SERVICE, {RPC: method}),
            self._log.handlers(self._calls),
        )

    def peer_handlers(self, calls: Calls) -> grpc.GenericRpcHandler[bytes, bytes]:
        """Returns the handler for other workers, which hand on entries of Envoy's log."""
        return self._log.handlers(calls)

    async def close(self, grace_s: float) -> None:
        """Stops routing, and waits for the replies under way.

        Streams that still wait when the time is over are ended, which leaves the reply unchanged,
        and their decisions are settled at the predicted cost. To be called before the engine is
        closed.

        Args:
            grace_s: the longest wait, in seconds.
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
        await asyncio.sleep(0)  # lets the cancelled streams end
        await self._booking.done()

    async def settled(self) -> None:
        """Waits until no HTTP request is in progress and all outcomes are booked."""
        await self._answered()
        await self._booking.done()

    async def _answered(self) -> None:
        await self._idle.wait()
        await self._logged.none_left.wait()

    async def _process(self, context: Context, ending: StreamState) -> None:
        held = Held(self._calls.in_flight)
        exchange = Exchange(
            self._router,
            self._current.settings.processor,
            self._tally,
            self._logged,
            lambda: self._admitted(context, held.size_bytes),
            self._calls.aside,
            held,
            self._questions,
        )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        self._streams[task] = exchange
        self._idle.clear()
        try:
            await self._talk(exchange, held, context)
            exchange.told()
        except asyncio.CancelledError:
            ending.released = self._released and exchange.waits_for_upstream
            raise
        finally:
            held.release()
            del self._streams[task]
            ending.ended_s = exchange.sent_s
            outcome = exchange.outcome()
            if outcome is not None:
                self._booking.add(outcome)
            if exchange.in_doubt:
                self._logged.expect_briefly(exchange.in_doubt, self._booking.add)
            if not self._streams:
                self._idle.set()

    def _admitted(self, context: Context, own_bytes: int) -> Admission:
        """Lets a request in; its body has been read already."""
        self._calls.in_flight.check(own_bytes)
        return self._calls.admit(context, RPC)

    async def _talk(self, exchange: Exchange, held: Held, context: Context) -> None:
        """Answers messages until one side has nothing more to say.

        Raises:
            RoutooError: a message is malformed or out of place.
        """
        longest_bytes = self._calls.in_flight.longest_message_bytes
        while not exchange.over:
            body = await context.read()
            if body is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            length = length_of(body, longest_bytes)
            size_bytes = message_bytes(length)
            held.keep(size_bytes)
            try:
                if is_compressed(body):
                    body = await self._calls.aside.run(decompressed, body, length)
                answers = await exchange.answer(parse(ext_proc.ProcessingRequest, body))
            finally:
                held.give(size_bytes)
            if answers:
                exchange.handed()
                for answer in answers:
                    await context.write(answer)
                exchange.told()
