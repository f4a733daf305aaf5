"""``envoy.service.accesslog.v3.AccessLogService``: settles decisions by Envoy's log of replies.

If the processor reads a reply itself, Envoy waits for an answer to every piece of it, and Python
handles a message for each piece. Envoy sends the access log without being asked, several entries at
a time, after the reply has reached its caller.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from routoo.api.extproc.envoy import access_log_pb2
from routoo.api.extproc.log_entry import LogEntry
from routoo.api.extproc.log_message import entries_of
from routoo.api.memory.compressed import decompressed, is_compressed, length_of
from routoo.api.peers import PeerAwayError

if TYPE_CHECKING:
    from routoo.api.calls import Calls, Context, StreamState
    from routoo.api.extproc.log_message import Entry
    from routoo.api.extproc.settlement import AwaitedReplies
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.api.llm.settlement import OutcomeQueue
    from routoo.api.peers import Peers
    from routoo.routing.outcome import OutcomeReport

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
RPC = "StreamAccessLogs"


class AccessLog:
    """Reads Envoy's log streams. Lives on the loop that serves.

    Args:
        replies: the decisions whose replies are awaited.
        booking: books their outcomes.
        peers: the other workers, which get the entries of their own decisions; None: there are
            none.
        tally: counts entries that are not whole.
    """

    def __init__(
        self,
        replies: AwaitedReplies,
        booking: OutcomeQueue,
        peers: Peers | None,
        tally: ExchangeCounts,
    ) -> None:
        self._replies = replies
        self._booking = booking
        self._peers = peers
        self._tally = tally
        self._closing = False
        self._streams: set[asyncio.Task[Any]] = set()

    def handlers(self, calls: Calls) -> grpc.GenericRpcHandler[bytes, bytes]:
        """Returns the handler for a grpc.aio server, behind the gate of ``calls``."""

        async def read(context: Context, ending: StreamState) -> bytes:
            # Admitted for a moment only: the stream lasts, and is no call in progress.
            with calls.admit(context, RPC):
                pass
            return await self._read(context, ending, calls)

        method = grpc.stream_unary_rpc_method_handler(calls.exchange(read, RPC))
        return grpc.method_handlers_generic_handler(SERVICE, {RPC: method})

    def close(self) -> None:
        """Ends the streams, which otherwise last as long as Envoy runs."""
        self._closing = True
        for task in self._streams:
            task.cancel()

    async def _read(self, context: Context, ending: StreamState, calls: Calls) -> bytes:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        self._streams.add(task)
        try:
            while (body := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                # Envoy sends many entries at a time; whoever sends them has to be known each time.
                tenant = calls.gate.identify(context, RPC).confined_to
                if is_compressed(body):
                    length = length_of(body, calls.in_flight.longest_message_bytes)
                    body = await calls.aside.run(decompressed, body, length)
                await self._take(entries_of(body, self._tally), tenant)
        except asyncio.CancelledError:
            ending.released = self._closing
            raise
        finally:
            self._streams.discard(task)
        return b""  # a StreamAccessLogsResponse has no fields

    async def _take(self, entries: list[Entry], tenant: str | None) -> None:
        """Settles this worker's decisions, and hands the other entries on to their workers."""
        others: dict[int, list[Entry]] = {}
        for entry in entries:
            told = LogEntry(entry)
            owner = None if self._peers is None else self._peers.owner_of(told.decision_id)
            if owner is not None:
                others.setdefault(owner, []).append(entry)
                continue
            self._book(
                self._replies.outcome(told, tenant) or self._replies.outcome_of_lost(told, tenant)
            )
        for owner, theirs in others.items():
            message = access_log_pb2.StreamAccessLogsMessage()
            message.http_logs.log_entry.extend(theirs)
            assert self._peers is not None  # noqa: S101 - it has named the owner
            try:
                await self._peers.ask(
                    owner, f"/{SERVICE}/{RPC}", message.SerializeToString(), tenant
                )
            except PeerAwayError:  # the shared ledger knows its decisions
                for entry in theirs:
                    self._book(self._replies.outcome_of_lost(LogEntry(entry), tenant))

    def _book(self, outcome: OutcomeReport | None) -> None:
        if outcome is not None:
            self._booking.add(outcome)
