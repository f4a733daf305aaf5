"""Messages of Envoy's access log about replies, without an Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.api.extproc.envoy import access_log_pb2

if TYPE_CHECKING:
    import grpc

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


def entry(
    decision_id: str,
    *usages: str,
    status: int = 200,
    left: bool = False,
    first_ms: float | None = None,
    timed_out_ms: float | None = None,
) -> access_log_pb2.HTTPAccessLogEntry:
    """Makes the entry of one reply.

    Args:
        decision_id: of the request's decision.
        usages: the first and the last usage that the reply tells.
        status: of the reply.
        left: whether the caller left before the end.
        first_ms: when the first byte of the reply came; None: it is not logged.
        timed_out_ms: when Envoy gave the upstream up; None: it did not.
    """
    found = access_log_pb2.HTTPAccessLogEntry()
    found.request.request_headers["x-routoo-decision-id"] = decision_id
    found.response.response_code.value = status
    told = found.common_properties
    told.response_flags.downstream_connection_termination = left
    told.time_to_first_upstream_tx_byte.FromMilliseconds(10)
    told.time_to_last_upstream_rx_byte.FromMilliseconds(260)
    if first_ms is not None:
        told.time_to_first_upstream_rx_byte.FromMicroseconds(round(first_ms * 1e3))
    if timed_out_ms is not None:
        told.response_flags.upstream_request_timeout = True
        told.time_to_last_downstream_tx_byte.FromMicroseconds(round(timed_out_ms * 1e3))
    for name, usage in zip(("usage", "last_usage"), usages, strict=False):
        told.metadata.filter_metadata["routoo"].update({name: usage})
    return found


def message(*entries: access_log_pb2.HTTPAccessLogEntry) -> bytes:
    """Makes one message of Envoy's stream, with some entries."""
    found = access_log_pb2.StreamAccessLogsMessage()
    found.http_logs.log_entry.extend(entries)
    sent: bytes = found.SerializeToString()
    return sent


def log_stream(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
    """Opens Envoy's stream; ``await call.write(message(...))`` sends."""
    return channel.stream_unary(METHOD)(metadata=metadata)


async def tell(channel: grpc.aio.Channel, *entries: access_log_pb2.HTTPAccessLogEntry) -> None:
    """Sends entries on a stream of their own, and waits until they are read."""
    call = log_stream(channel)
    await call.write(message(*entries))
    await call.done_writing()
    assert await call == b""
