"""``envoy.service.accesslog.v3.AccessLogService``: settles decisions by what Envoy logs of replies.

A reply that the processor reads itself makes Envoy wait for an answer to every piece of it, and a
message in Python for each. The access log comes by itself, some entries at a time, after the reply
has reached its caller.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import orjson
import structlog
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2

from routoo.api.convert import parse
from routoo.api.extproc.settlement import decision_of
from routoo.api.peers import ACCESS_LOG, OK, PeerAwayError, ask, socket_of
from routoo.api.status import status_of
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from routoo.api.extproc.settlement import Booking, Entry, LoggedReplies
    from routoo.api.peers import Place
    from routoo.api.security.gate import Gate
    from routoo.telemetry.metrics import Metrics

SERVICE: str = als_pb2.DESCRIPTOR.services_by_name["AccessLogService"].full_name
RPC = "StreamAccessLogs"
Context = Any  # grpc.aio.ServicerContext[bytes, bytes]
_log = structlog.get_logger("routoo.extproc")


class AccessLog:
    """Reads Envoy's log streams. Lives on the loop that serves.

    Args:
        replies: which decisions are waited for.
        booking: books what is told of them.
        gate: lets Envoy in.
        metrics: told of calls.
        place: of this worker, which hands on what another one decided; None: there are no others.
    """

    def __init__(
        self,
        replies: LoggedReplies,
        booking: Booking,
        gate: Gate,
        metrics: Metrics,
        place: Place | None,
    ) -> None:
        self._replies = replies
        self._booking = booking
        self._gate = gate
        self._metrics = metrics
        self._place = place
        self._closing = False
        self._streams: set[asyncio.Task[Any]] = set()

    def handlers(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What is added to a grpc.aio server."""
        method = grpc.stream_unary_rpc_method_handler(self._read)
        return grpc.method_handlers_generic_handler(SERVICE, {RPC: method})

    def close(self) -> None:
        """Ends the streams, which otherwise last as long as Envoy does."""
        self._closing = True
        for task in self._streams:
            task.cancel()

    async def take_for_another(self, sent: bytes) -> tuple[str, bytes]:
        """Takes an entry that another worker of the service got, and the caller's tenant."""
        tenant, _, body = sent.partition(b"\n")
        self._take(accesslog_pb2.HTTPAccessLogEntry.FromString(body), orjson.loads(tenant))
        return OK, b""

    async def _read(self, _bodies: object, context: Context) -> bytes:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        self._streams.add(task)
        code = "OK"
        started_s = perf_counter()
        try:
            # Let in once: the stream lasts, and is no prompt in progress.
            with self._gate.admit(context, RPC) as admission:
                tenant = admission.caller.confined_to
            while (body := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                message = parse(als_pb2.StreamAccessLogsMessage, body)
                for entry in message.http_logs.log_entry:
                    await self._take_where_it_is_open(entry, tenant)
        except asyncio.CancelledError:
            code = "CANCELLED"
            if not self._closing or context.cancelled():
                raise
        except Exception as error:
            status, line = status_of(error)
            code = status.name
            if not isinstance(error, RoutooError):
                _log.error("a stream failed", exc_info=error)
            await context.abort(status, line)
            raise  # abort raises; this line is for the linter
        finally:
            self._streams.discard(task)
            self._metrics.answered(RPC, code, perf_counter() - started_s)
        return b""  # a StreamAccessLogsResponse has no fields

    async def _take_where_it_is_open(self, entry: Entry, tenant: str | None) -> None:
        place = self._place
        owner = None if place is None else place.other_owner(decision_of(entry))
        if place is None or owner is None:
            self._take(entry, tenant)
            return
        body = orjson.dumps(tenant) + b"\n" + entry.SerializeToString()
        with suppress(PeerAwayError):  # its decisions ended with it
            await ask(socket_of(place.folder, owner), ACCESS_LOG, body)

    def _take(self, entry: Entry, tenant: str | None) -> None:
        outcome = self._replies.outcome(entry, tenant)
        if outcome is not None:
            self._booking.add(outcome)
