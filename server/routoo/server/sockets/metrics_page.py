"""The page that Prometheus scrapes: over HTTP, and between a worker and its supervisor.

A worker writes its page to each connection to a unix socket, and closes the connection. The
supervisor needs only a socket to read it, and stays small.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import generate_latest, make_wsgi_app

from routoo.config.address import Address
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

_WORKER_TIMEOUT_S = 0.8
"""A scrape is answered within a second, whatever a worker does."""
_IDLE_S = 10.0
_MOST_CONNECTIONS = 32


class WorkerAwayError(Exception):
    """A worker does not show its page, because it has ended or is about to end."""


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_S  # of a connection that sends nothing

    def log_message(self, *_: object) -> None:
        """Writes nothing: scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection on a thread of its own; what is above the bound is closed."""

    daemon_threads = True

    def __init__(self, address: Address) -> None:
        self._free = BoundedSemaphore(_MOST_CONNECTIONS)
        # A name may stand for an address of either family.
        self.address_family, *_, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__((str(name[0]), address.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class MetricsPage:
    """Serves the page over HTTP; ``close`` gives the address back.

    Attributes:
        address: HOST:PORT, with the real port where port 0 was asked for.

    Args:
        listen: HOST:PORT, as the setting ``metrics.listen``.
        registry: the metrics on the page.

    Raises:
        ConfigError: the address cannot be used; one line.
    """

    def __init__(self, listen: str, registry: CollectorRegistry) -> None:
        asked = Address.parse(listen)
        try:
            self._http = _Server(asked)
        except OSError as error:
            raise ConfigError(
                f"cannot serve metrics on {listen}: {error.strerror}; set another address with"
                " metrics.listen or metrics.enabled to false"
            ) from None
        self._http.set_app(make_wsgi_app(registry))
        self.address = str(Address(asked.host, self._http.server_port))
        self._thread = Thread(target=self._http.serve_forever, name="routoo-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Closes the page and waits until it is closed; not on the event loop."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


async def show_page(path: Path, registry: CollectorRegistry) -> asyncio.Server:
    """Writes the page to each connection to a unix socket, whose file has mode 0600."""

    async def show(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the reader has gone
            writer.write(await asyncio.to_thread(generate_latest, registry))
            await writer.drain()
        writer.close()

    # After a crash the socket file is still there; asyncio replaces it.
    server = await asyncio.start_unix_server(show, path)
    path.chmod(0o600)  # noqa: ASYNC240 - takes no time
    return server


def read_page(path: Path) -> str:
    """Reads a worker's page; for a thread that may wait.

    Raises:
        WorkerAwayError: the worker does not show it.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_WORKER_TIMEOUT_S)
            connection.connect(str(path))
            with connection.makefile("rb") as page:
                text = page.read().decode()
    except OSError as error:
        raise WorkerAwayError(f"{path.name}: {error!r}") from None
    if not text:
        raise WorkerAwayError(f"{path.name}: showed nothing")
    return text
