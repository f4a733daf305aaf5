"""TCP ports that several sockets of one service share, and no socket of another service."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.config.address import Address


def is_free(address: Address) -> bool:
    """Returns whether this process may listen there, and no other socket is bound to the port."""
    try:
        _bound_alone(address)
    except OSError:
        return False
    return True


def shared_port(address: Address) -> socket.socket:
    """Reserves a port for processes that share it; the returned socket accepts no connections.

    Raises:
        ConfigError: the port is in use.
    """
    try:
        family, name = _bound_alone(address)
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(name)
    except OSError:
        raise ConfigError(
            f"cannot listen on {address}: in use or not allowed; stop what listens there or set"
            " another address with listen"
        ) from None
    return held


def _bound_alone(address: Address) -> tuple[socket.AddressFamily, Any]:
    """Binds a port without sharing it, and releases it again.

    Returns:
        The family and the socket's name, with the real port where port 0 was asked for.

    Raises:
        OSError: another socket has it, or it is not allowed.
    """
    family, *_, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(name)
        return family, alone.getsockname()
