"""Sends spans to an OTLP collector.

The part of OTLP that spans need is small and its field numbers do not change, so it is written here
(opentelemetry-proto, trace/v1/trace.proto). OpenTelemetry's own exporter needs three more packages,
sends again what a collector has not taken, and does not count what it loses.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import Counter

from routoo.telemetry.otlp_transport import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from prometheus_client import CollectorRegistry

    from routoo.telemetry.otlp_transport import Transport

_FIXED64, _BYTES, _FIXED32 = 1, 2, 5
_log = structlog.get_logger("routoo.tracing")


class OtlpExporter(SpanExporter):
    """Sends spans; called from the thread that gathers them. Undelivered spans are counted only.

    Args:
        transport: the way to the collector.
        endpoint: the collector, for the log.
        registry: the registry for the metric of sent and lost spans.
    """

    def __init__(self, transport: Transport, endpoint: str, registry: CollectorRegistry) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._away = False
        self._spans = Counter(
            "routoo_trace_spans",
            "Spans of traces: sent, or lost because the collector did not take them.",
            ("result",),
            registry=registry,
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans, and counts them as sent or lost."""
        try:
            self._transport.send(request_of(spans))
        except DeliveryError as error:
            self._spans.labels("lost").inc(len(spans))
            if not self._away:
                _log.warning("trace collector is away", endpoint=self._endpoint, code=str(error))
            self._away = True
            return SpanExportResult.FAILURE
        self._spans.labels("sent").inc(len(spans))
        if self._away:
            _log.info("trace collector is back", endpoint=self._endpoint)
        self._away = False
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the connection."""
        self._transport.close()


def request_of(spans: Sequence[ReadableSpan]) -> bytes:
    """Returns the body of ``TraceService.Export`` for one or more spans of one resource."""
    scopes: dict[tuple[str, str], list[bytes]] = {}
    for span in spans:
        scope = span.instrumentation_scope
        key = ("", "") if scope is None else (scope.name, scope.version or "")
        scopes.setdefault(key, []).append(_field(2, _span(span)))
    resource = _attributes(1, spans[0].resource.attributes)
    scope_spans = b"".join(
        _field(2, _field(1, _text(1, name) + _text(2, version)) + b"".join(encoded))
        for (name, version), encoded in scopes.items()
    )
    return _field(1, _field(1, resource) + scope_spans)


def _span(span: ReadableSpan) -> bytes:
    context, status = span.get_span_context(), span.status
    assert context is not None  # noqa: S101 - a span that has ended has one
    parent = b"" if span.parent is None else _field(4, span.parent.span_id.to_bytes(8, "big"))
    # The kinds and status codes of the SDK count from 0, as OTLP does, whose kind 0 is "unset".
    return b"".join(
        (
            _field(1, context.trace_id.to_bytes(16, "big")),
            _field(2, context.span_id.to_bytes(8, "big")),
            _text(3, context.trace_state.to_header()),
            parent,
            _text(5, span.name),
            _number(6, span.kind.value + 1),
            _fixed64(7, span.start_time or 0),
            _fixed64(8, span.end_time or 0),
            _attributes(9, span.attributes or {}),
            *(
                _field(11, _fixed64(1, event.timestamp) + _text(2, event.name))
                for event in span.events
            ),
            _field(15, _text(2, status.description or "") + _number(3, status.status_code.value)),
            _tag(16, _FIXED32) + pack("<I", int(context.trace_flags)),
        )
    )


def _attributes(number: int, attributes: Mapping[str, Any]) -> bytes:
    return b"".join(
        _field(number, _text(1, key) + _field(2, _value(value)))
        for key, value in attributes.items()
    )


def _value(value: Any) -> bytes:
    """Encodes an attribute's value; all other types than bool, int and float are sent as text."""
    if isinstance(value, bool):
        return _tag(2, 0) + _varint(value)
    if isinstance(value, int):
        return _tag(3, 0) + _varint(value % 2**64)
    if isinstance(value, float):
        return _tag(4, _FIXED64) + pack("<d", value)
    return _field(1, str(value).encode())


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode()) if text else b""


def _number(number: int, value: int) -> bytes:
    return _tag(number, 0) + _varint(value)


def _fixed64(number: int, value: int) -> bytes:
    return _tag(number, _FIXED64) + pack("<Q", value)


def _field(number: int, payload: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(payload)) + payload


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
