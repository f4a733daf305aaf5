"""Channels to the service, and their security: tokens, TLS, certificates.

    tls = Tls(ca=Path("ca.pem").read_bytes())
    channel = open_channel("router:50051", tls=tls)
    stub.Route(request, metadata=token_metadata("routoo_...", "router:50051", tls))

Every call carries the token in its metadata. Over plain TCP, everybody on the way can read it, so
it is only sent to this machine itself, or to another one where the caller asked for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from routoo.config.address import past_proxies, target_leaves_the_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    Options = Sequence[tuple[str, int | str]]
    Metadata = tuple[tuple[str, str], ...]

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_MESSAGE_BYTES: Final = 128 * 1024 * 1024
"""A batch of 100,000 prompts and its reply fit. What the service reads is bounded by its own
settings ``limits.max_message_bytes`` and ``limits.max_in_flight_bytes``."""

OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Machines behind one address (dns:///routoo:50051) are asked in turn.
    ("grpc.lb_policy_name", "round_robin"),
    # Retries find a service that restarts. gRPC's own first pause, 1 s, is longer than all of them.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # gRPC's name for the time that an attempt to connect has; the pauses are not bound by it. A
    # service that is far away or busy needs more than a pause.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # A peer that vanished is noticed within 10 s of the first call that it does not acknowledge.
    # Pings are sent during calls only, one in 5 minutes: by default, a server closes the connection
    # of a client that pings more often.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """The settings of an encrypted connection; contents of PEM files, not their names.

    Attributes:
        ca: the authorities that may sign the service's certificate; None: those of the system.
        certificate: the client's certificate chain, without the root; None: it has none.
        key: the private key of ``certificate``.
        server_name: the name in the service's certificate, where it differs from the address.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs its key, and the key the certificate")

    def __repr__(self) -> str:
        """Keeps the key out of logs and tracebacks."""
        return f"Tls(server_name={self.server_name!r})"

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials for ``grpc.secure_channel``."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    def options(self) -> Options:
        """Returns the options that the channel needs in addition to its own."""
        if not self.server_name:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)


def token_metadata(
    token: str | None, address: str, tls: Tls | None, *, insecure: bool = False
) -> Metadata:
    """Returns the metadata of every call, for stubs: ``stub.Route(request, metadata=...)``.

    Args:
        token: what ``routoo token new`` printed; None: nothing is sent.
        address: the target of the calls.
        tls: the connection's encryption; None: it is not encrypted.
        insecure: send a token to another machine without encryption, too.

    Raises:
        ValueError: the token would leave this machine unencrypted, or it is malformed.
    """
    if token is None:
        return ()
    token = token.strip()
    # A header can carry nothing else, and gRPC's own error would quote the token.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token is empty or has characters that no token has")
    if tls is None and not insecure and target_leaves_the_machine(address):
        raise ValueError(
            f"{address} is another machine, and the token would be sent there unencrypted; use TLS"
        )
    return (("authorization", f"Bearer {token}"),)


def open_channel(address: str, options: Options = (), *, tls: Tls | None = None) -> grpc.Channel:
    """Opens a channel, with TLS or without; to this machine itself it goes past any HTTP proxy."""
    options = (*options, *past_proxies(address))
    if tls is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, tls.credentials(), options=(*options, *tls.options()))


def open_aio_channel(
    address: str, options: Options = (), *, tls: Tls | None = None
) -> grpc.aio.Channel:
    """Opens a channel for asyncio as ``open_channel`` does."""
    options = (*options, *past_proxies(address))
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.credentials(), options=(*options, *tls.options()))
