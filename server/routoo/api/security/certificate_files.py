"""The service's certificate, read again when its files change."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

import grpc
import structlog

from routoo.api.security.watched_files import WatchedFiles
from routoo.config.files import read_file
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.sections.security import TlsSettings

_log = structlog.get_logger("routoo.security")


class CertificateFiles:
    """Credentials of a server, which uses renewed files for new connections.

    Open connections keep the old certificate, so that no call is cut off.

    Args:
        tls: names the files.
        on_reload: called with the result when files have changed: ``taken`` or ``refused``.

    Raises:
        ConfigError: a file cannot be read, or the files do not fit together.
    """

    def __init__(self, tls: TlsSettings, on_reload: Callable[[str], None]) -> None:
        self._tls = tls
        self._on_reload = on_reload
        self._lock = threading.Lock()
        paths = (tls.certificate, tls.key, *([tls.client_ca] if tls.client_ca else []))
        self._files = WatchedFiles(*paths)
        self._seen = self._files.signature()
        self._newest, self._context = self._read()
        self._version = 0

    def credentials(self) -> grpc.ServerCredentials:
        """Returns credentials for ``add_secure_port``; each address needs its own."""
        taken = self._version

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # gRPC calls this before each handshake, on a thread of its own. None: not changed.
            nonlocal taken
            with self._lock:
                self._look()
                if taken == self._version:
                    return None
                taken = self._version
                return self._newest

        return grpc.dynamic_ssl_server_credentials(
            self._newest,
            renewed,  # type: ignore[arg-type] # the stubs leave out that None keeps the old one
            require_client_authentication=self._tls.client_ca is not None,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Returns a context for a server of HTTP, which takes the newest files at each handshake.

        Every handshake has its own session, so that a client's certificate is checked each time.
        """

        def renewed(connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
            with self._lock:
                self._look()
                connection.context = self._context

        first = _context_of(self._tls)
        first.sni_callback = renewed
        return first

    def _look(self) -> None:
        signature = self._files.signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._newest, self._context = self._read()
        except ConfigError as error:
            _log.error("kept the old certificate", reason=str(error))
            self._on_reload("refused")
            return
        self._version += 1
        _log.info("took a renewed certificate", certificate=str(self._tls.certificate))
        self._on_reload("taken")

    def _read(self) -> tuple[grpc.ServerCertificateConfiguration, ssl.SSLContext]:
        tls = self._tls
        try:
            certificate, key = read_file(tls.certificate), read_file(tls.key)
            client_ca = read_file(tls.client_ca) if tls.client_ca else None
        except OSError as error:
            raise ConfigError(
                f"security.tls: {error.filename}: cannot be read: {error.strerror}"
            ) from None
        context = _context_of(tls)
        if self._files.signature() != self._seen:  # old and new files may be mixed
            raise ConfigError("security.tls: the files changed while they were read")
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca), context


def _context_of(tls: TlsSettings) -> ssl.SSLContext:
    """Reads the files; gRPC would only fail at the first handshake, without a report.

    Raises:
        ConfigError: a file is not PEM, or the key does not belong to the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without the argument, OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError):
        raise ConfigError(
            f"security.tls: {tls.certificate} and {tls.key} are not a PEM certificate and its key"
            " without a password"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is None:
        return context
    try:
        context.load_verify_locations(tls.client_ca)
    except (ssl.SSLError, OSError):
        raise ConfigError(f"security.tls.client_ca: {tls.client_ca} is not a PEM file") from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context
