"""The two ways by which OTLP takes a batch of spans to a collector: gRPC, and HTTP with protobuf.

Both are told by OpenTelemetry's protocol (https://opentelemetry.io/docs/specs/otlp). Many hosted
collectors take HTTP alone.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import grpc

from routoo.config.address import past_proxies, target_leaves_the_machine
from routoo.config.sections.observability import TRACES_PATH

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from routoo.config.sections.observability import TracingSettings
    from routoo.telemetry.otlp_access import CollectorAccess

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# How long a collector may take for one batch of spans; also limits the wait at the end.
_TIMEOUT_S: Final = 5.0
# Collectors close idle connections after 5 s and more; a batch sent at that moment would be lost.
_KEEP_ALIVE_S: Final = 2.0
# An answer is a few bytes; a connection with more of them is not used again.
_ANSWER_BYTES: Final = 65536


class DeliveryError(Exception):
    """A collector did not take a batch; its text is a code, such as UNAVAILABLE or HTTP 401."""


class Transport(Protocol):
    """A way to a collector. ``send`` is called by one thread at a time."""

    def send(self, body: bytes) -> None:
        """Sends the body of an export request, and waits until it is taken.

        Raises:
            DeliveryError: it was not taken.
        """
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


def open_transport(settings: TracingSettings, access: CollectorAccess) -> Transport:
    """Opens the way to the collector that the settings name."""
    way = GrpcTransport if settings.protocol == "grpc" else HttpTransport
    return way(settings.url, access)


class GrpcTransport:
    """Sends over gRPC.

    Args:
        url: http://HOST:PORT or https://HOST:PORT.
        access: headers that go along, and whose certificate is trusted.
    """

    def __init__(self, url: str, access: CollectorAccess) -> None:
        scheme, _, address = url.partition("://")
        self._channel = (
            grpc.insecure_channel(address, past_proxies(address))
            if scheme == "http"
            else grpc.secure_channel(
                address, grpc.ssl_channel_credentials(access.ca), past_proxies(address)
            )
        )
        self._call = self._channel.unary_unary(EXPORT, None, None)  # bytes
        self._headers = access.headers

    def send(self, body: bytes) -> None:
        """Sends a batch; see ``Transport``."""
        try:
            self._call(body, timeout=_TIMEOUT_S, metadata=self._headers)
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
            raise DeliveryError(code) from None

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


class HttpTransport:
    """Sends over HTTP, on an event loop in a thread of its own.

    Args:
        url: the collector's, to which OTLP's path for traces is added where it lacks.
        access: headers that go along, and whose certificate is trusted.
    """

    def __init__(self, url: str, access: CollectorAccess) -> None:
        self._url = url.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH
        self._headers = {**dict(access.headers), "content-type": "application/x-protobuf"}
        self._tls = None if access.ca is None else access.tls()
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="routoo-otlp", daemon=True
        )
        self._thread.start()

    def send(self, body: bytes) -> None:
        """Sends a batch; see ``Transport``. A redirection is not followed."""
        try:
            status: int = self._run(self._post(body))
        except TimeoutError:
            raise DeliveryError("DEADLINE_EXCEEDED") from None
        except (aiohttp.ClientError, OSError, ValueError):  # the last: a proxy of another kind
            raise DeliveryError("UNAVAILABLE") from None
        if not 200 <= status < 300:
            raise DeliveryError(f"HTTP {status}")

    def close(self) -> None:
        """Closes the connection, and ends the thread."""
        self._run(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _post(self, body: bytes) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=True if self._tls is None else self._tls, keepalive_timeout=_KEEP_ALIVE_S
                ),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        async with self._session.post(
            self._url,
            data=body,
            headers=self._headers,
            allow_redirects=False,
            proxy=_proxy_to(self._url),
        ) as reply:
            # What was refused of a batch is not counted apart, so the rest is left unread.
            await reply.content.read(_ANSWER_BYTES)
            return reply.status

    async def _ended(self) -> None:
        if self._session is not None:
            await self._session.close()


def _proxy_to(url: str) -> str | None:
    """Returns the proxy that the environment names for a URL; none for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not target_leaves_the_machine(f"[{host}]:0" if ":" in host else f"{host}:0"):
        return None
    return None if proxy_bypass(host) else getproxies().get(parts.scheme)
