"""Calls: let in, answered, counted, and what goes wrong in them turned into a status.

This is the one wrapper of every call that the service takes: unary calls, ``RouteStream``, Envoy's
streams and its access log.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc
import structlog

from routoo.api.status import reported, trailers_of
from routoo.errors import InvalidRequestError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from routoo.api.overload import Overload
    from routoo.api.security.gate import Admission

    Handler = grpc.RpcMethodHandler[bytes, bytes]
    Trailers = tuple[tuple[str, str], ...]

Context = Any  # grpc.aio.ServicerContext[bytes, bytes]; the stubs' generic does not fit raw bytes
_log = structlog.get_logger("routoo.api")
# A draining service is left by its callers when none has called for so long.
_QUIET_S, _LONGEST_LISTENING_S = 0.1, 1.0


class Doorkeeper(Protocol):
    """Decides who may call, as ``routoo.api.security.gate.Gate`` does.

    Attributes:
        anyone: what every call is let in with; None: each is asked.
    """

    anyone: Admission | None

    def admit(self, context: Context, rpc: str) -> Admission:
        """Lets a call in, for as long as the admission is entered."""
        ...

    def check_unread(self, metadata: Any) -> None:
        """Refuses a call of which nothing was read yet, if it shows no credential."""
        ...


@dataclass(slots=True)
class StreamState:
    """What Envoy's streams tell of themselves, for their status and time.

    Attributes:
        ended_s: when the service had done its part, ``perf_counter``; 0: at the end of the stream.
        released: the service has ended the stream itself, and cancelling it is no error.
    """

    ended_s: float = 0.0
    released: bool = False


class _NoBound:
    """Stands in for ``Overload`` where a call is never refused for it."""

    def check(self, remaining_s: float | None) -> None:
        """Lets it come."""

    def enter(self, remaining_s: float | None) -> None:
        """Lets it in."""

    def leave(self, entered_s: float) -> None:
        """Counts nothing."""


class Calls:
    """Makes handlers of what answers. Lives on the event loop that serves.

    Args:
        gate: lets calls in.
        overload: refuses what would wait too long.
        answered: counts an ended call: its RPC, its status, its seconds.
        trailers: sent with every refusal, beside its own.
    """

    def __init__(
        self,
        gate: Doorkeeper,
        overload: Overload,
        answered: Callable[[str, str, float], None],
        trailers: Trailers = (),
    ) -> None:
        self.gate = gate
        self.overload = overload
        self.answered = answered
        self._trailers = trailers
        self._active = 0
        self._came_s = -_QUIET_S
        self._idle = asyncio.Event()
        self._idle.set()
        self._may_refuse = asyncio.Event()
        self._may_refuse.set()

    def admit(self, context: Context, rpc: str) -> Admission:
        """Lets a call in; ``leave`` has to follow where the admission ``counts``.

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
        """A handler that answers one message with one.

        gRPC is told that the call is a stream, of which one message is read here: it would wait for
        the message before it asks who calls, and would never answer a call that ends without one.

        Args:
            rpc: its name, for metrics and logs.
            answer: from the message, the call and the admission to the reply.
            sheds: whether it is refused under overload. Other calls ask for little, have a bound of
                their own, or are what an operator looks with.
        """
        overload: Overload | _NoBound = self.overload if sheds else _NoBound()

        async def answered(_: AsyncIterator[bytes], context: Context) -> bytes:
            started_s = self._came_s = perf_counter()
            code = "OK"
            active = 0
            entered_s = None
            admission = self.gate.anyone
            try:
                # Before anything is read: most that comes under overload ends here.
                overload.check(context.time_remaining())
                if admission is None:
                    admission = self.gate.admit(context, rpc)
                body = await context.read()
                if not isinstance(body, bytes):  # the end of the stream
                    raise InvalidRequestError("the call carries no message; send one")  # noqa: TRY301
                started_s = perf_counter()
                self._active += (active := 1)
                self._idle.clear()
                entered_s = overload.enter(context.time_remaining())
                return await answer(body, context, admission)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - it becomes a status
                if isinstance(error, QueueFullError) and error.retry_after_s is None:
                    error.retry_after_s = self.overload.retry_after_s
                status, line = reported(error, rpc)
                code = status.name
                await self._may_refuse.wait()
                await self._abort(context, status, line, error)
            finally:
                if entered_s is not None:
                    overload.leave(entered_s)
                if admission is not None and admission.counts:
                    admission.leave()
                self.answered(rpc, code, perf_counter() - started_s)
                self._left(active)

        return grpc.stream_unary_rpc_method_handler(answered)

    def _left(self, active: int) -> None:
        self._active -= active
        if not self._active:
            self._idle.set()

    def replies(
        self,
        rpc: str,
        answer: Callable[[AsyncIterator[bytes], Context, Admission], AsyncGenerator[bytes]],
    ) -> Handler:
        """A handler that answers a stream with a stream, which counts its messages by itself."""

        async def answered(bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            try:
                admission = self.admit(context, rpc)
            except Exception as error:  # noqa: BLE001 - it becomes a status
                status, line = reported(error, rpc)
                self.answered(rpc, status.name, 0.0)
                await self._abort(context, status, line, error)
            with admission:
                async with aclosing(answer(bodies, context, admission)) as sending:
                    async for reply in sending:
                        yield reply

        return grpc.stream_stream_rpc_method_handler(answered)

    def exchange(
        self, talk: Callable[[Context, StreamState], Awaitable[bytes | None]], rpc: str
    ) -> Any:
        """What answers one of Envoy's streams: ``talk`` reads and writes messages by itself.

        A call without a credential is refused before anything of it is read.
        """

        async def answered(_: object, context: Context) -> bytes | None:
            exchange = StreamState()
            code = "OK"
            started_s = perf_counter()
            try:
                if self.gate.anyone is None:
                    self.gate.check_unread(context.invocation_metadata())
                return await talk(context, exchange)
            except asyncio.CancelledError:
                code = "CANCELLED"
                # Ended by the service: with OK, Envoy goes on by itself.
                if not exchange.released or context.cancelled():
                    raise
                return b""
            except Exception as error:  # noqa: BLE001 - it becomes a status
                status, line = reported(error, rpc)
                code = status.name
                await self._abort(context, status, line, error)
            finally:
                # How long the upstream took is not the service's time.
                self.answered(rpc, code, (exchange.ended_s or perf_counter()) - started_s)

        return answered

    async def drained(self, grace_s: float) -> None:
        """Waits until every unary call has been answered, ``grace_s`` at most, and no more come.

        A caller that was answered may send once more, and a call that meets the end of the server
        is cancelled instead of refused. Refused callers may send again at once, so from then on
        refusals wait for ``refuse_the_last``, when the server takes no more calls.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            _log.warning("calls were still running when the grace period ended", calls=self._active)
            return
        self._may_refuse.clear()
        most_s = perf_counter() + min(grace_s, _LONGEST_LISTENING_S)
        # Time itself is waited for here: that nothing comes is no event.
        while (now_s := perf_counter()) < min(most_s, self._came_s + _QUIET_S):  # noqa: ASYNC110
            await asyncio.sleep(min(most_s, self._came_s + _QUIET_S) - now_s)

    def refuse_the_last(self) -> None:
        """Lets the refusals go that ``drained`` has held back."""
        self._may_refuse.set()

    async def _abort(
        self, context: Context, status: grpc.StatusCode, line: str, error: Exception
    ) -> NoReturn:
        await context.abort(status, line, (*trailers_of(error), *self._trailers))
        raise AssertionError("abort raises")
