"""Several gRPC servers behind one port, so that calls are seen soon after they came.

grpc.aio takes one call after the other from a server's queue, with some turns of the event loop
between two of them. While the loop is busy, calls lie in that queue, and nobody decides which of
them are worth answering. Each server has a queue and a turn of its own; the kernel spreads
connections over their sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from routoo.config.address import Address
from routoo.server.ports import is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.telemetry.tracing import Interceptor

SERVERS = 128
"""Under four times the calls that can be answered, on a dozen connections, one server saw half of
the calls before their time was over, eight all but 1 in 200, 64 and more all of them: most
connections have a server of their own. As long as no more comes than goes there is no difference. A
server takes a socket and 5 kB."""


class GrpcServers:
    """Started, stopped and bound together.

    Attributes:
        each: the servers; all of them need the same handlers.

    Args:
        options: of each of them.
        interceptors: of each of them.
        alone: no other process is to share the ports.
    """

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        interceptors: Sequence[Interceptor],
        *,
        alone: bool,
    ) -> None:
        self._alone = alone
        self.each = tuple(
            grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 1), *options])
            for _ in range(SERVERS)
        )

    def add_port(
        self, address: Address, credentials: Callable[[], grpc.ServerCredentials] | None = None
    ) -> int:
        """Opens an address, a socket file on one of the servers only; returns the port.

        Args:
            address: where to listen.
            credentials: makes those of a server, which takes none that another one has; None: no
                TLS.

        Raises:
            RuntimeError: it is in use, or not allowed.
        """
        first, *others = self.each
        if address.path:
            return _add(first, address, None)
        if self._alone and not is_free(address):
            raise RuntimeError(f"{address} is in use, or not allowed")
        port = _add(first, address, credentials)
        for server in others:
            _add(server, Address(address.host, port), credentials)
        return port

    async def start(self) -> None:
        """Serves from now on."""
        for server in self.each:
            await server.start()

    def stop(self, grace_s: float) -> asyncio.Future[list[None]]:
        """Takes no more calls from the loop's next turn on; the future is done when all ended."""
        return asyncio.gather(*(server.stop(grace_s) for server in self.each))

    async def wait_for_termination(self) -> None:
        """Waits for the end of any of them. Not to be cancelled: that ends them, too.

        Raises:
            BaseException: what ended it.
        """
        waiting = [asyncio.ensure_future(server.wait_for_termination()) for server in self.each]
        ended, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in ended:
            one.result()


def _add(
    server: grpc.aio.Server,
    address: Address,
    credentials: Callable[[], grpc.ServerCredentials] | None,
) -> int:
    if credentials is None:
        return server.add_insecure_port(str(address))
    return server.add_secure_port(str(address), credentials())
