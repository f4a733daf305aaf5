"""The HTTP front in the service's event loop: its port, its connections, and their end."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import partial
from time import time
from typing import TYPE_CHECKING, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from routoo.api.http.admission import HttpAdmission
from routoo.api.http.app import HttpApp
from routoo.api.http.hosts import KnownHosts
from routoo.api.http.lines import LineDoor
from routoo.api.http.pages import (
    MetricsAccess,
    description_doors,
    health_doors,
    metrics_door,
)
from routoo.api.http.protocol import BoundedProtocol
from routoo.api.http.rpcs import HttpRpcs
from routoo.config.address import Address
from routoo.server.sockets.ports import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

    from prometheus_client import CollectorRegistry

    from routoo.api.calls import Calls
    from routoo.api.http.door import Door
    from routoo.api.security.entrance import Entrance
    from routoo.api.service import RouterService
    from routoo.config.settings import Settings
    from routoo.engine.current import ActiveEngine

_SETTING: Final = "http.listen"
_LOOK_S: Final = 1.0
_HANDSHAKE_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.02


class HttpServer:
    """Serves HTTP on one port. Lives on the event loop that serves.

    Attributes:
        address: HOST:PORT, with the real port where port 0 was asked for.
    """

    def __init__(self, settings: Settings, doors: Iterable[Door], admission: HttpAdmission) -> None:
        """Not to be called directly: ``open`` also opens the port."""
        http = settings.http
        given = Address.parse(http.listen)
        # A name that other machines may call is not one of this machine alone.
        any_name = given.leaves_the_machine and not http.hosts
        app = HttpApp(doors, admission, KnownHosts(http.hosts, any_name=any_name))
        self._admission = admission
        self._config = Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=http.idle_timeout_s,  # type: ignore[arg-type] # a fraction is taken
        )
        self._config.load()
        self._state = ServerState()
        self._most_connections = http.max_connections
        self._timeout_s = http.transfer_timeout_s
        tls = settings.security.tls
        self._most_age_s = None if tls is None else tls.max_connection_age_s
        self._server: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._given = given
        self.address = ""

    @classmethod
    async def open(
        cls,
        settings: Settings,
        doors: Iterable[Door],
        admission: HttpAdmission,
        context: ssl.SSLContext | None,
        *,
        alone: bool,
    ) -> HttpServer:
        """Opens the port of the setting ``http.listen``, and serves.

        Args:
            settings: of the service.
            doors: what is answered.
            admission: lets calls in.
            context: for TLS; None: without TLS.
            alone: whether no other process may share the port.

        Raises:
            ConfigError: the port cannot be had; one line.
        """
        server = cls(settings, doors, admission)
        await server._open(context, alone=alone)
        return server

    async def _open(self, context: ssl.SSLContext | None, *, alone: bool) -> None:
        opened = listening(self._given, _SETTING, alone=alone)
        self.address = str(Address(self._given.host, opened.getsockname()[1]))
        self._look()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: BoundedProtocol(self._config, self._state, self._most_connections),
            sock=opened,
            ssl=context,
            ssl_handshake_timeout=None if context is None else _HANDSHAKE_TIMEOUT_S,
        )
        self._looking = loop.create_task(self._keep_looking())

    async def drain(self, grace_s: float) -> None:
        """Refuses further calls, and waits until those in progress are answered.

        Args:
            grace_s: the longest wait, in seconds.
        """
        await self._admission.drain(grace_s)

    async def close(self, grace_s: float) -> None:
        """Closes the port and the connections; a reply that is being sent may end.

        Args:
            grace_s: the longest wait for replies, in seconds.
        """
        if self._looking is not None:
            self._looking.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + grace_s
        while self._state.tasks and loop.time() < until_s:  # noqa: ASYNC110 - uvicorn tells no event
            await asyncio.sleep(_POLL_S)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look()

    def _look(self) -> None:
        """Renews the header ``date``, and ends connections that are too slow or too old."""
        date = formatdate(time(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._state.connections):
            assert isinstance(connection, BoundedProtocol)  # noqa: S101 - it makes no others
            connection.expire(now_s, self._timeout_s)
            if self._most_age_s is not None and now_s - connection.opened_s > self._most_age_s:
                connection.shutdown()


async def open_http(
    current: ActiveEngine,
    calls: Calls,
    router: RouterService,
    entrance: Entrance,
    registry: CollectorRegistry,
    is_serving: Callable[[], Awaitable[bool]],
    more: Iterable[Door] = (),
    *,
    alone: bool,
) -> HttpServer:
    """Opens the HTTP front of a service.

    Args:
        current: the engine and the settings in force.
        calls: of gRPC; limits and counts are the same.
        router: answers the RPCs.
        entrance: the gate, and the files for TLS.
        registry: the metrics.
        is_serving: tells whether the service takes calls.
        more: doors besides those of the RPCs and the service's own pages.
        alone: whether no other process may share the port; with several, no one's metrics are
            those of the service, and none are shown.

    Raises:
        ConfigError: the port cannot be had; one line.
    """
    settings = current.settings
    http = settings.http
    doors = [*HttpRpcs(current, router, calls).doors(), LineDoor(current, router, calls).door()]
    doors += [*health_doors(is_serving), *more]
    if alone and settings.metrics.enabled:
        stays = not Address.parse(http.listen).leaves_the_machine
        access = partial(_metrics_access, current, stays=stays)
        doors.append(metrics_door(registry, entrance.gate, access))
    doors += description_doors(doors, asks=settings.security.asks_who_calls)
    context = None
    if http.tls and entrance.certificates is not None:
        context = entrance.certificates.ssl_context()
    admission = HttpAdmission(calls)
    return await HttpServer.open(settings, doors, admission, context, alone=alone)


def _metrics_access(current: ActiveEngine, *, stays: bool) -> MetricsAccess:
    """Returns who may read the metrics now.

    Args:
        current: the settings in force; a reload may ask who calls, or stop to.
        stays: whether only this machine reaches the front.
    """
    security = current.settings.security
    if security.asks_who_calls:
        return MetricsAccess.ADMINS
    return MetricsAccess.ANYBODY if stays or security.allow_open_metrics else MetricsAccess.NOBODY
