"""Opens the addresses that take calls: TCP, with or without TLS, and socket files."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from routoo.api.memory.compressed import GRPC_OPTIONS
from routoo.config.address import Address
from routoo.config.sections.security import ListenerSettings
from routoo.errors import ConfigError
from routoo.server.sockets.ports import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.api.security.certificate_files import CertificateFiles
    from routoo.config.settings import Settings
    from routoo.server.sockets.grpc_servers import GrpcServers

# Limits how long a client may hold a connection without a handshake.
_HANDSHAKE_TIMEOUT_MS = 10_000
# Gateways ask every ten seconds whether a connection still lives, with calls or without. By default
# gRPC ends one that asks more often than every five minutes. Half of the ten seconds leaves room
# for clocks and queues.
_LEAST_PING_INTERVAL_MS = 5_000
# The service asks, too, so that the calls of a peer that vanished do not stay open for hours.
_PING_INTERVAL_MS = 30_000
_PING_TIMEOUT_MS = 20_000


def channel_options(settings: Settings) -> list[tuple[str, int]]:
    """Returns the gRPC channel options that follow from the settings."""
    options = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65536),
        ("grpc.max_receive_message_length", settings.limits.max_message_bytes),
        # A reply is longer than its request, whose memory is bounded together with it.
        ("grpc.max_send_message_length", -1),
        *GRPC_OPTIONS,
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", _PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.server.max_pending_requests", settings.overload.max_unseen),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.overload.max_unseen),
    ]
    tls = settings.security.tls
    if tls is not None:
        options += (
            ("grpc.max_connection_age_ms", int(tls.max_connection_age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", int(tls.max_connection_grace_s * 1000)),
        )
    return options


@dataclass(frozen=True, slots=True)
class Listeners:
    """Addresses that are open.

    Attributes:
        addresses: as clients name them, the setting ``listen`` first, each with its real port.
    """

    addresses: tuple[str, ...]
    _sockets: tuple[_SocketFile, ...]

    def remove_socket_files(self) -> None:
        """Removes the socket files; call it when the server has stopped."""
        for one in self._sockets:
            one.remove()


def open_listeners(
    servers: GrpcServers, settings: Settings, certificates: CertificateFiles | None
) -> Listeners:
    """Opens the addresses of the settings ``listen`` and ``listeners``.

    Args:
        servers: gRPC servers that are not started yet.
        settings: read for the sections ``listen``, ``listeners`` and ``security``.
        certificates: the files for TLS; None: there is no TLS.

    Raises:
        ConfigError: an address is in use or not allowed; one line.
    """
    addresses: list[str] = []
    sockets: list[_SocketFile] = []
    mode = int(settings.security.socket_mode, 8)
    try:
        for listener in (ListenerSettings(address=settings.listen), *settings.listeners):
            address = Address.parse(listener.address)
            if address.path:
                sockets.append(_open_socket_file(servers, address, mode))
                addresses.append(str(address))
            else:
                secure = certificates if listener.tls else None
                addresses.append(_open_port(servers, address, secure))
    except BaseException:
        for one in sockets:
            one.remove()
        raise
    return Listeners(tuple(addresses), tuple(sockets))


def _open_port(
    servers: GrpcServers, address: Address, certificates: CertificateFiles | None
) -> str:
    try:
        credentials = None if certificates is None else certificates.credentials
        port = servers.add_port(address, credentials)
    except RuntimeError:
        raise refusal(address) from None
    return str(Address(address.host, port))


def _open_socket_file(servers: GrpcServers, address: Address, mode: int) -> _SocketFile:
    path = Path(address.path)
    _make_way(path, address)
    try:
        # No other user may connect before the socket file has its mode.
        with _new_files_are_mine():
            servers.add_port(address)
        path.chmod(mode)
        return _SocketFile(path, path.stat().st_ino)
    except (RuntimeError, OSError):
        raise refusal(address) from None


def _make_way(path: Path, address: Address) -> None:
    """Removes the socket file of a killed service; refuses the path where a service listens.

    gRPC itself would remove the file of a running service, too.

    Raises:
        ConfigError: the path cannot be used; one line.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigError(
                f"cannot listen on {address}: there is no folder {path.parent}; make it"
            ) from None
        return
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(
            f"cannot listen on {address}: there is a file that is no socket; name another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - its only argument
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError:  # too busy to answer, or not ours to ask
            pass
    raise refusal(address)


@contextmanager
def _new_files_are_mine() -> Iterator[None]:
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


@dataclass(frozen=True, slots=True)
class _SocketFile:
    path: Path
    inode: int

    def remove(self) -> None:
        with suppress(OSError):
            # Another service may have taken the path over.
            if self.path.stat().st_ino == self.inode:
                self.path.unlink()
