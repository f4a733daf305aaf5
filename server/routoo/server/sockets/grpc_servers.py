"""Several gRPC servers share one port, so that calls are seen soon after they arrive.

grpc.aio takes one call after the other from a server's queue, with some turns of the event loop
between two of them. While the loop is busy, calls wait in that queue, where they cannot be refused.
Each server has a queue of its own and is served in turn; the kernel spreads connections over their
sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from routoo.config.address import Address
from routoo.server.sockets.ports import check_free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.telemetry.tracing import Interceptor

SERVERS = 128
"""Number of servers.

Measured at four times the calls that can be answered, on a dozen connections: one server saw half
of the calls before their deadline, eight servers all but 1 in 200, and 64 or more servers all of
them, as most connections then have a server of their own. Below overload the number makes no
difference. A server takes a socket and 5 kB.
"""


class GrpcServers:
    """Starts, stops and binds ``SERVERS`` gRPC servers together.

    Attributes:
        each: the servers; all of them need the same handlers.

    Args:
        options: channel options of each server.
        interceptors: interceptors of each server.
        alone: whether no other process may share the ports.
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
        """Opens an address on all servers, or a socket file on one of them; returns the port.

        Args:
            address: where to listen.
            credentials: makes the credentials of one server, as servers cannot share them; None:
                no TLS.

        Raises:
            ConfigError: the address is in use, or not allowed.
            RuntimeError: gRPC cannot listen there, and does not tell why.
        """
        first, *others = self.each
        if address.path:
            return _add(first, address, None)
        if self._alone:
            check_free(address)
        port = _add(first, address, credentials)
        for server in others:
            _add(server, Address(address.host, port), credentials)
        return port

    async def start(self) -> None:
        """Starts all servers."""
        for server in self.each:
            await server.start()

    def stop(self, grace_s: float) -> asyncio.Future[list[None]]:
        """Stops all servers; they take no calls from the loop's next turn on.

        Returns:
            A future that is done when all servers have ended.
        """
        return asyncio.gather(*(server.stop(grace_s) for server in self.each))

    async def wait_for_termination(self) -> None:
        """Waits until any server ends. Do not cancel this call: that ends the servers, too.

        Raises:
            BaseException: the error that ended the server.
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
