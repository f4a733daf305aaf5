"""A certificate authority for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from routoo.client.channel import Tls

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, and the folder where settings find its certificates."""

    ca: trustme.CA
    folder: Path

    def serve(self, *names: str) -> dict[str, str]:
        """Writes or replaces a service's certificate; returns the section security.tls."""
        certificate = self.ca.issue_cert(*(names or ("127.0.0.1", "localhost")))
        values = {"certificate": "server.pem", "key": "server.key", "client_ca": "clients.pem"}
        (self.folder / "server.pem").write_bytes(
            b"".join(one.bytes() for one in certificate.cert_chain_pems)
        )
        (self.folder / "server.key").write_bytes(certificate.private_key_pem.bytes())
        self.ca.cert_pem.write_to_path(str(self.folder / "clients.pem"))
        return {name: str(self.folder / file) for name, file in values.items()}

    def client(self, *names: str, common_name: str | None = None) -> Tls:
        """Returns the TLS settings of a client; with a certificate if it has a name."""
        ca = self.ca.cert_pem.bytes()
        if not names and common_name is None:
            return Tls(ca)
        own = self.ca.issue_cert(*names, common_name=common_name)
        chain = b"".join(one.bytes() for one in own.cert_chain_pems)
        return Tls(ca, chain, own.private_key_pem.bytes())


def authority(folder: Path) -> Authority:
    """Makes a new authority."""
    return Authority(trustme.CA(), folder)
