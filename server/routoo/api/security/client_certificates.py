"""Client certificates that hold no longer, although their connections are still open.

TLS checks a certificate in the handshake alone, and a connection may last for hours. So each call
and each open stream asks here whether its certificate has expired, and whether the authority that
signed it is still on file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from routoo.api.security.watched_files import WatchedFiles
from routoo.config.files import read_file
from routoo.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_log = structlog.get_logger("routoo.security")
# With more certificates than this, those that were read are read again when they are shown.
_MOST_READ = 10_000


class ClientCertificates:
    """Tells whether certificates that a handshake has accepted still hold.

    A handshake has checked the signatures of a certificate's chain. gRPC shows the client's own
    certificate of it, not those between it and the authority. So the authority that has signed a
    certificate itself is known by that signature, and one that was taken off the file ends what it
    has signed. A certificate that an intermediate one has signed, which is not in the file, goes on
    until its connection is too old.

    To be used on one event loop.

    Args:
        authorities: the PEM file ``security.tls.client_ca``.
        reloaded: called with ``taken`` or ``refused`` when the file has changed.

    Raises:
        ConfigError: the file cannot be read, or holds no certificate.
    """

    def __init__(self, authorities: Path, reloaded: Callable[[str], None]) -> None:
        self._path = authorities
        self._reloaded = reloaded
        self._file = WatchedFiles(authorities)
        self._seen = self._file.signature()
        self._trusted = _read(authorities)
        self._removed: frozenset[x509.Certificate] = frozenset()
        # By a certificate's text, when it expires, in seconds since 1970; 0: it does not hold.
        self._ends_s: dict[bytes, float] = {}

    def look(self) -> None:
        """Reads the authorities again if their file has changed; a damaged file is not taken."""
        signature = self._file.signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            trusted = _read(self._path)
        except ConfigError as error:
            _log.error("kept the old authorities of clients", reason=str(error))
            self._reloaded("refused")
            return
        gone = (self._removed | self._trusted) - trusted
        # One that a trusted authority has signed is as good as before: clients may show it.
        self._removed = frozenset(one for one in gone if not _issued(one, trusted))
        self._trusted = trusted
        self._ends_s.clear()
        _log.info(
            "took new authorities of clients", trusted=len(trusted), removed=len(self._removed)
        )
        self._reloaded("taken")

    def check(self, auth_context: Mapping[str, Any], now_s: float) -> None:
        """Refuses a certificate that holds no longer.

        Args:
            auth_context: the facts about the other side that TLS has verified.
            now_s: seconds since 1970.

        Raises:
            UnauthenticatedError: the certificate has expired, or its authority was taken off.
        """
        (text,) = auth_context.get("x509_pem_cert", (b"",))
        ends_s = self._ends_s.get(text)
        if ends_s is None:
            if len(self._ends_s) >= _MOST_READ:
                self._ends_s.clear()
            ends_s = self._ends_s[text] = self._end_s(text)
        if now_s < ends_s:
            return
        raise UnauthenticatedError(
            "your certificate has expired; connect anew with a renewed one"
            if ends_s
            else "the authority of your certificate is no longer trusted here; get one of another"
        )

    def _end_s(self, text: bytes) -> float:
        try:
            certificate = x509.load_pem_x509_certificate(text)
        except ValueError:
            return 0.0
        if not _issued(certificate, self._trusted) and _issued(certificate, self._removed):
            return 0.0
        return certificate.not_valid_after_utc.timestamp()


def _read(path: Path) -> frozenset[x509.Certificate]:
    try:
        return frozenset(x509.load_pem_x509_certificates(read_file(path)))
    except OSError as error:
        raise ConfigError(f"security.tls: {path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"security.tls.client_ca: {path} is not a PEM file") from None


def _issued(certificate: x509.Certificate, authorities: frozenset[x509.Certificate]) -> bool:
    """Returns whether one of the authorities has signed a certificate itself."""
    for one in authorities:
        if one.subject != certificate.issuer:
            continue
        try:
            certificate.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return True
    return False
