"""Traces go to collectors that take OTLP over HTTP, and what these do wrong costs spans alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from routoo.errors import ConfigError
from routoo.server.assembly import check
from routoo.telemetry import otlp_transport
from routoo.telemetry.otlp_access import CollectorAccess
from routoo.telemetry.otlp_transport import DeliveryError, HttpTransport
from support.certificates import authority
from support.peers.otlp_collector import attributes, http_collector
from support.tiny_service import ROUTE, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

HTTP = "http/protobuf"


def traced(folder: Path, endpoint: str | None, **settings: Any) -> Any:
    section = {"enabled": True, "protocol": HTTP, "sample_ratio": 1.0, **settings}
    if endpoint is not None:
        section["endpoint"] = endpoint
    return tiny_settings(folder, tracing=section)


async def told_of(settings: Any) -> tuple[list[str], float, float]:
    """Routes a prompt; returns the codes that were logged, and the spans sent and lost."""
    async with serving(settings) as running:
        assert (await running.route("easy")).model == "small"
    codes = [one["code"] for one in running.logs if one["event"] == "trace collector is away"]
    value_of = running.service.metrics.registry.get_sample_value
    sent, lost = (value_of("routoo_trace_spans_total", {"result": one}) for one in ("sent", "lost"))
    return codes, sent or 0.0, lost or 0.0


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/v1/traces/", "/v1/traces"),
        ("/api/public/otel", "/api/public/otel/v1/traces"),
        ("/otel/v1/traces", "/otel/v1/traces"),
    ],
)
async def test_spans_go_to_the_path_of_traces_with_the_headers(
    tmp_path: Path, base: str, path: str
) -> None:
    (tmp_path / "headers").write_text("authorization: Basic s3cret\n")
    with http_collector() as collector:
        settings = traced(tmp_path, collector.endpoint + base, headers_file=tmp_path / "headers")
        assert await told_of(settings) == ([], 5.0, 0.0)
    (call,) = collector.named(ROUTE)
    assert attributes(call)["routoo.model"] == "small"
    assert set(collector.paths) == {path}
    for headers in collector.headers:
        assert headers["authorization"] == "Basic s3cret"
        assert headers["content-type"] == "application/x-protobuf"


async def test_a_collector_is_known_by_its_certificate(tmp_path: Path) -> None:
    ours, others = authority(tmp_path), authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.ca.issue_cert("127.0.0.1").configure_cert(tls)
    # Bundles name authorities in comments, in any alphabet.
    (tmp_path / "ca.pem").write_bytes("# Főtanúsítvány\n".encode() + ours.ca.cert_pem.bytes())
    others.ca.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with http_collector(tls) as collector:
        settings = traced(tmp_path, collector.endpoint, ca=tmp_path / "ca.pem")
        assert await told_of(settings) == ([], 5.0, 0.0)
        settings = traced(tmp_path, collector.endpoint, ca=tmp_path / "other.pem")
        assert await told_of(settings) == (["UNAVAILABLE"], 0.0, 5.0)
        assert await told_of(traced(tmp_path, collector.endpoint)) == (["UNAVAILABLE"], 0.0, 5.0)


@pytest.mark.parametrize("status", [401, 429, 503, 302, 307])
async def test_a_batch_that_is_refused_or_sent_elsewhere_is_lost(
    tmp_path: Path, status: int
) -> None:
    with http_collector(answer=lambda path: 200 if path == "/moved" else status) as collector:
        found = await told_of(traced(tmp_path, collector.endpoint))
    assert found == ([f"HTTP {status}"], 0.0, 5.0)
    assert "/moved" not in collector.paths


async def test_a_collector_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_transport, "_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connections are made, and nobody reads
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert await told_of(traced(tmp_path, endpoint)) == (["DEADLINE_EXCEEDED"], 0.0, 5.0)


async def test_a_collector_that_is_away_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nothing listens
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert await told_of(traced(tmp_path, endpoint)) == (["UNAVAILABLE"], 0.0, 5.0)


async def test_a_collector_that_answers_garbage_is_said(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-none\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await told_of(traced(tmp_path, endpoint)) == (["UNAVAILABLE"], 0.0, 5.0)


def test_only_other_machines_are_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_collector() as proxy, http_collector() as here:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for url in ("http://collector.invalid/otel", here.endpoint):
            transport = HttpTransport(url, CollectorAccess())
            transport.send(b"")
            transport.close()
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        transport = HttpTransport("http://collector.invalid", CollectorAccess())
        with pytest.raises(DeliveryError, match="UNAVAILABLE"):
            transport.send(b"")
        transport.close()
    assert proxy.paths == ["http://collector.invalid/otel/v1/traces"]
    assert here.paths == ["/v1/traces"]


@pytest.mark.parametrize(
    ("protocol", "endpoint", "message"),
    [
        ("grpc", "http://127.0.0.1", "HOST:PORT"),
        ("grpc", "http://127.0.0.1:4318/v1/traces", "set protocol: http/protobuf"),
        ("grpc", "127.0.0.1:4317", "HOST:PORT"),
        (HTTP, "127.0.0.1:4318", "https://HOST"),
        (HTTP, "ftp://127.0.0.1", "https://HOST"),
        (HTTP, "https://", "https://HOST"),
        (HTTP, "https://h:99999", "https://HOST"),
        (HTTP, "https://h:x", "https://HOST"),
        (HTTP, "https://key:s3cret@h/otel", "keys go into headers_file"),
        (HTTP, "https://h/otel?key=s3cret", "https://HOST"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(
    tmp_path: Path, protocol: str, endpoint: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        traced(tmp_path, endpoint, protocol=protocol)
    assert "s3cret" not in str(refused.value)


def test_the_usual_port_is_the_protocol_s(tmp_path: Path) -> None:
    assert traced(tmp_path, None).tracing.url == "http://127.0.0.1:4318"
    assert traced(tmp_path, None, protocol="grpc").tracing.url == "http://127.0.0.1:4317"


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\n!"]
)
def test_certificates_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    settings = traced(tmp_path, "https://127.0.0.1", ca=tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"tracing.ca: .*ca.pem is not a PEM file"):
        check(settings)
