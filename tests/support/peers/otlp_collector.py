"""An OTLP collector that keeps what it gets, over gRPC or HTTP.

It reads messages by OpenTelemetry's own definitions.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass
class Collector:
    """A collector that runs.

    Attributes:
        endpoint: its URL.
        spans: the spans that came.
        resources: the resources that the spans came from.
        headers: the headers of each request.
        paths: the path of each request over HTTP.
    """

    endpoint: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def export(self, request: Any, context: Any) -> Any:
        """Keeps the spans of a request over gRPC."""
        return self.keep(request, {one.key: one.value for one in context.invocation_metadata()})

    def keep(self, request: Any, headers: dict[str, str]) -> Any:
        """Keeps the spans of a request."""
        self.headers.append(headers)
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


@contextmanager
def http_collector(
    tls: ssl.SSLContext | None = None, answer: Callable[[str], int] = lambda _path: 200
) -> Iterator[Collector]:
    """Starts a collector that takes HTTP on a free port.

    Args:
        tls: its certificate; None: without TLS.
        answer: returns the status for a path, before spans are kept; 3xx: to the path ``/moved``.
    """
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.paths.append(self.path)
            status, reply = answer(self.path), b""
            if status == 200:
                read = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = collector.keep(read, headers).SerializeToString()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/moved")
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        collector.endpoint = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """Returns a span's attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
