"""An OTLP collector that keeps what it gets.

It reads messages by OpenTelemetry's own definitions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass
class Collector:
    """A collector that runs.

    Attributes:
        endpoint: its URL.
        spans: the spans that came.
        resources: the resources that the spans came from.
        headers: the headers of each request.
    """

    endpoint: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def export(self, request: Any, context: Any) -> Any:
        """Keeps the spans of a request."""
        self.headers.append({one.key: one.value for one in context.invocation_metadata()})
        for resource_spans in request.resource_spans:
            self.resources.append(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                self.spans.extend(scope_spans.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Any]:
        """Returns the spans with a name."""
        return [span for span in self.spans if span.name == name]


@contextmanager
def otlp_collector() -> Iterator[Collector]:
    """Starts a collector on a free port."""
    collector = Collector()
    export = grpc.unary_unary_rpc_method_handler(
        collector.export,
        trace_service_pb2.ExportTraceServiceRequest.FromString,
        trace_service_pb2.ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),)
    )
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def attributes(span: Any) -> dict[str, Any]:
    """Returns a span's attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
