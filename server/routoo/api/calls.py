"""The wrapper of every call: it admits and counts the call and turns errors into a status.

All calls that the service takes pass through it: unary calls, ``RouteStream``, Envoy's streams and
Envoy's access log.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc
import grpc.aio
import structlog

from routoo.api.aside import Aside
from routoo.api.memory.arrivals import Arrivals
from routoo.api.memory.compressed import decompressed, is_compressed, length_of
from routoo.api.memory.in_flight import message_bytes
from routoo.api.open_streams import OpenStreams
from routoo.api.status import reported, status_of, trailers_of
from routoo.errors import InvalidRequestError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from routoo.api.memory.in_flight import InFlight
    from routoo.api.overload import Overload
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission

    Handler = grpc.RpcMethodHandler[bytes, bytes]
    Trailers = tuple[tuple[str, str], ...]

STREAM = "RouteStream"
Context = Any  # grpc.aio.ServicerContext[bytes, bytes]; the stubs' generic does not fit raw bytes
_log = structlog.get_logger("routoo.api")
# When no call has come for _QUIET_S, all callers have left a draining service. It waits for that
# for _LONGEST_LISTENING_S at most.
_QUIET_S, _LONGEST_LISTENING_S = 0.3, 1.0


class Doorkeeper(Protocol):
    """Decides who may call, as ``routoo.api.security.gate.Gate`` does.

    Attributes:
        anyone: the admission that every call gets; None: ``admit`` decides about each call.
    """

    anyone: Admission | None

    def admit(self, context: Context, rpc: str) -> Admission:
        """Lets a call in, for as long as the admission is entered."""
        ...

    def identify(self, context: Context, rpc: str) -> Caller:
        """Returns the caller of a call that goes on, if it may still make it."""
        ...

    def check_unread(self, metadata: Any) -> None:
        """Refuses a call that shows no credential, before its body is read."""
        ...


@dataclass(slots=True)
class StreamState:
    """The state of one of Envoy's streams, from which its status and time are counted.

    Attributes:
        ended_s: when the service had done its part, in seconds of ``perf_counter``; 0: at the end
            of the stream.
        released: the service has ended the stream itself, and cancelling it is no error.
    """

    ended_s: float = 0.0
    released: bool = False


class _NoBound:
    """Stands in for ``Overload`` for calls that are never refused under overload."""

    def check(self, remaining_s: float | None) -> None:
        """Accepts every call."""

    def enter(self, remaining_s: float | None) -> None:
        """Accepts every call."""

    def leave(self, entered_s: float) -> None:
        """Counts nothing."""


class Calls:
    """Makes gRPC handlers of functions that answer. Lives on the event loop that serves.

    Attributes:
        gate: lets calls in.
        overload: refuses calls that would wait too long.
        answered: counts a call that has ended.
        aside: reads and writes large messages.

    Args:
        gate: lets calls in.
        overload: refuses calls that would wait too long.
        in_flight: refuses calls that there is no memory for.
        answered: counts a call that has ended; gets its RPC, its status and its time in seconds.
        trailers: sent with every refusal, in addition to the refusal's own.
    """

    def __init__(
        self,
        gate: Doorkeeper,
        overload: Overload,
        in_flight: InFlight,
        answered: Callable[[str, str, float], None],
        trailers: Trailers = (),
    ) -> None:
        self.gate = gate
        self.overload = overload
        self.in_flight = in_flight
        self.answered = answered
        self._arrivals = Arrivals(in_flight, self._end)
        self._ending: set[asyncio.Task[None]] = set()
        self.aside = Aside()
        self._trailers = trailers
        self._streams = OpenStreams(gate)
        self._active = 0
        self._came_s = -_QUIET_S
        self._idle = asyncio.Event()
        self._idle.set()
        self._may_refuse = asyncio.Event()
        self._may_refuse.set()

    def admit(self, context: Context, rpc: str) -> Admission:
        """Lets a call in; the caller has to call ``leave`` if the admission ``counts``.

        Raises:
            UnauthenticatedError, PermissionDeniedError, RateLimitedError: it is not let in.
        """
        return self.gate.anyone or self.gate.admit(context, rpc)

    def unary(
        self,
        rpc: str,
        answer: Callable[[bytes, Context, Admission], Awaitable[bytes]],
        *,
        sheds: bool = False,
    ) -> Handler:
        """Returns a handler that answers one message with one reply.

        The handler is registered as a stream, of which it reads one message. With a unary handler,
        gRPC would wait for the message before the gate is asked, and would never answer a call that
        ends without a message.

        Args:
            rpc: the name of the RPC, for metrics and logs.
            answer: makes the reply from the message, the call's context and its admission.
            sheds: whether the RPC is refused under overload. The other RPCs cost little, have a
                bound of their own, or are needed by an operator to inspect the service.
        """
        overload: Overload | _NoBound = self.overload if sheds else _NoBound()

        async def answered(_: AsyncIterator[bytes], context: Context) -> bytes:
            started_s = self._came_s = perf_counter()
            code = "OK"
            active = held_bytes = 0
            body = b""
            entered_s = None
            admission = self.gate.anyone
            try:
                # Checked before anything is read: under overload, most calls end here.
                overload.check(context.time_remaining())
                if admission is None:
                    admission = self.gate.admit(context, rpc)
                body = await self._message(context)
                started_s = perf_counter()
                self._active += (active := 1)
                self._idle.clear()
                entered_s = overload.enter(context.time_remaining())
                length = length_of(body, self.in_flight.longest_message_bytes)
                held_bytes = self.in_flight.take(message_bytes(length))
                if is_compressed(body):
                    body = await self.aside.run(decompressed, body, length)
                answering = answer(body, context, admission)
                body = b""  # it may be large, and is parsed before the answer is computed
                return await answering
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:  # by ``_end``
                code = grpc.StatusCode.RESOURCE_EXHAUSTED.name
                raise
            except Exception as error:  # noqa: BLE001 - it becomes a status
                if isinstance(error, QueueFullError) and error.retry_after_s is None:
                    error.retry_after_s = self.overload.retry_after_s
                status, line = reported(error, rpc)
                code = status.name
                # gRPC keeps what ``abort`` raises in a cycle with the call. The message, which
                # the frames of the error hold, would stay until the garbage collector finds it.
                error.__traceback__ = None
                failed = error
                del body
            finally:
                if entered_s is not None:
                    overload.leave(entered_s)
                self.in_flight.give(held_bytes)
                if admission is not None and admission.counts:
                    admission.leave()
                self.answered(rpc, code, perf_counter() - started_s)
                self._left(active)
            # Only now, so that a caller that is refused finds its own room free again.
            await self._may_refuse.wait()
            return await self._abort(context, status, line, failed)

        return grpc.stream_unary_rpc_method_handler(answered)

    async def _message(self, context: Context) -> bytes:
        """Waits for the message of a unary call.

        Raises:
            InvalidRequestError: the caller has ended the call without one.
            AbortError: it was ended, as too many are on their way.
        """
        if self._arrivals.full:
            await self._arrivals.turn()
        self._arrivals.enter(context)
        try:
            body = await context.read()
        finally:
            self._arrivals.leave(context)
        if not isinstance(body, bytes):  # the end of the stream
            raise InvalidRequestError("the call carries no message; send one")
        return body

    def _left(self, active: int) -> None:
        self._active -= active
        if not self._active:
            self._idle.set()

    def replies(
        self,
        rpc: str,
        answer: Callable[[AsyncIterator[bytes], Context, Admission], AsyncGenerator[bytes]],
    ) -> Handler:
        """Returns a handler of a stream in both directions.

        Args:
            rpc: the name of the RPC, for metrics and logs.
            answer: makes the replies from the messages, the call's context and its admission; it
                counts its messages by itself.
        """

        async def answered(bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            try:
                # Also where anybody may call: a reload may bring limits while the stream is open.
                admission = self.gate.admit(context, rpc)
            except Exception as error:  # noqa: BLE001 - it becomes a status
                status, line = reported(error, rpc)
                self.answered(rpc, status.name, 0.0)
                await self._abort(context, status, line, error)
            self._streams.enter(context, rpc, admission)
            bodies = self._streams.checked(bodies)
            ended: Exception | None = None
            try:
                with admission:
                    async with aclosing(answer(bodies, context, admission)) as sending:
                        async for reply in sending:
                            yield reply
            except asyncio.CancelledError:
                ended = self._streams.leave()
                if ended is None:
                    raise
            finally:
                self._streams.leave()
            if ended is not None:
                status, line = reported(ended, rpc)
                await self._abort(context, status, line, ended)

        return grpc.stream_stream_rpc_method_handler(answered)

    def exchange(
        self, talk: Callable[[Context, StreamState], Awaitable[bytes | None]], rpc: str
    ) -> Any:
        """Returns a function that answers one of Envoy's streams.

        It refuses a call without a credential before anything of it is read.

        Args:
            talk: reads and writes the messages of the stream by itself.
            rpc: the name of the RPC, for metrics and logs.
        """

        async def answered(_: object, context: Context) -> bytes | None:
            exchange = StreamState()
            code = "OK"
            started_s = perf_counter()
            # Otherwise the messages of the stream are checked alone, which are few.
            asks = self.gate.anyone is None
            try:
                if asks:
                    self.gate.check_unread(context.invocation_metadata())
                    self._streams.enter(context, rpc)
                return await talk(context, exchange)
            except asyncio.CancelledError:
                ended = self._streams.leave()
                if ended is not None:
                    status, line = reported(ended, rpc)
                    code = status.name
                    await self._abort(context, status, line, ended)
                code = "CANCELLED"
                # The service has ended the stream: with OK, Envoy continues the request.
                if not exchange.released or context.cancelled():
                    raise
                return b""
            except Exception as error:  # noqa: BLE001 - it becomes a status
                status, line = reported(error, rpc)
                code = status.name
                await self._abort(context, status, line, error)
            finally:
                if asks:
                    self._streams.leave()
                # The time that the upstream took does not count as the service's.
                self.answered(rpc, code, (exchange.ended_s or perf_counter()) - started_s)

        return answered

    def relieve(self) -> None:
        """Ends the calls and streams whose callers keep the service waiting."""
        why = QueueFullError("the service is short of memory; retry later or add replicas")
        self._arrivals.relieve()
        for context in self._streams.contexts(STREAM):
            self._end(context, why)

    def _end(self, context: Context, error: QueueFullError) -> None:
        """Ends a call that waits for a message of its caller.

        Its own task is not cancelled: of a read that is cancelled, grpc.aio never frees the message
        that has arrived meanwhile. The read fails once the call has ended.
        """

        async def end() -> None:
            status, line = status_of(error)
            with suppress(grpc.aio.AbortError, grpc.aio.UsageError):  # raised in any case
                await context.abort(status, line, (*trailers_of(error), *self._trailers))

        ending = asyncio.get_running_loop().create_task(end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def drained(self, grace_s: float) -> None:
        """Waits until every unary call has been answered and no more come.

        A caller that was answered may send once more, and a call that is open when the server stops
        is cancelled instead of refused. So this waits a moment for such calls. Refused callers may
        send again at once, so meanwhile refusals are held back until ``refuse_the_last``, when the
        server takes no more calls.

        Args:
            grace_s: the longest wait for running calls, in seconds.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            _log.warning("calls were still running when the grace period ended", calls=self._active)
            return
        self._may_refuse.clear()
        most_s = perf_counter() + min(grace_s, _LONGEST_LISTENING_S)
        # This sleeps because no event tells that no call has come.
        while (now_s := perf_counter()) < min(most_s, self._came_s + _QUIET_S):  # noqa: ASYNC110
            await asyncio.sleep(min(most_s, self._came_s + _QUIET_S) - now_s)

    def refuse_the_last(self) -> None:
        """Sends the refusals that ``drained`` has held back."""
        self._may_refuse.set()

    async def _abort(
        self, context: Context, status: grpc.StatusCode, line: str, error: Exception
    ) -> NoReturn:
        await context.abort(status, line, (*trailers_of(error), *self._trailers))
        raise AssertionError("abort raises")
