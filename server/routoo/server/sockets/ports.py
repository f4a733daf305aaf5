"""TCP ports that several sockets of one service share, and no socket of another service."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from routoo.errors import ConfigError
from routoo.server.resources.descriptors import none_left, reason

if TYPE_CHECKING:
    from routoo.config.address import Address

_BACKLOG = 1024


def refusal(address: Address, error: OSError | None = None, setting: str = "listen") -> ConfigError:
    """Returns why an address cannot be listened on.

    Args:
        address: where to listen.
        error: of the attempt; None: it is looked for, as gRPC does not tell.
        setting: names the address.
    """
    if error is None and not address.path:
        try:
            _bound_alone(address)
        except OSError as found:
            error = found
    said = none_left() if error is None else reason(error)
    if said:
        return ConfigError(f"cannot listen on {address}: {said}")
    if error is not None and error.errno == errno.EACCES:
        why = f"the system does not allow it; name a port from 1024 on with {setting}"
    elif error is not None and error.errno not in (None, errno.EADDRINUSE):
        why = f"{error.strerror}; name an address of this machine with {setting}"
    else:
        why = (
            f"in use or not allowed; stop what listens there or set another address with {setting}"
        )
    return ConfigError(f"cannot listen on {address}: {why}")


def check_free(address: Address) -> None:
    """Checks that this process may listen there, and no other socket is bound to the port.

    Raises:
        ConfigError: it may not; one line.
    """
    try:
        _bound_alone(address)
    except OSError as error:
        raise refusal(address, error) from None


def shared_port(address: Address, setting: str = "listen") -> socket.socket:
    """Reserves a port for processes that share it; the returned socket accepts no connections.

    Args:
        address: where to listen.
        setting: names the address, for errors.

    Raises:
        ConfigError: the port cannot be had; one line.
    """
    try:
        family, name = _bound_alone(address)
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(name)
    except OSError as error:
        raise refusal(address, error, setting) from None
    return held


def listening(address: Address, setting: str, *, alone: bool) -> socket.socket:
    """Opens a port that accepts connections.

    Args:
        address: where to listen.
        setting: names the address, for errors.
        alone: whether no other process may share the port.

    Raises:
        ConfigError: the port cannot be had; one line.
    """
    try:
        family, *_, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise refusal(address, error, setting) from None
    opened = socket.socket(family)
    try:
        shares = socket.SO_REUSEADDR if alone else socket.SO_REUSEPORT
        opened.setsockopt(socket.SOL_SOCKET, shares, 1)
        opened.bind(name)
        opened.listen(_BACKLOG)
        opened.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError as error:
        opened.close()
        raise refusal(address, error, setting) from None
    return opened


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
