"""The settings of who may connect, as whom, and how much they may ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from routoo.config.address import Address
from routoo.config.section import Section

Role = Literal["route", "admin", "proxy"]
"""route: decisions, and what concerns the caller's own tenant. admin: also what shows all tenants.
"""


def call_address(value: str) -> str:
    """Checks where calls are taken: HOST:PORT or unix:/path."""
    Address.parse(value)
    return value


def tcp_address(value: str) -> str:
    """Checks an address that cannot be a socket file."""
    if Address.parse(value).path:
        raise ValueError("has to be HOST:PORT, e.g. 127.0.0.1:9095 (port 0 takes a free one)")
    return value


def _mode(text: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError('has to be three octal digits in quotes, e.g. "0600" or "0660"')
    return text


CallAddress = Annotated[str, AfterValidator(call_address)]
TcpAddress = Annotated[str, AfterValidator(tcp_address)]


class ListenerSettings(Section):
    """One more address on which calls are taken; a text alone is its ``address``."""

    address: CallAddress
    tls: bool = True
    """Whether TLS is spoken where security.tls is set; never on a socket file."""


def _listener(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


Listener = Annotated[ListenerSettings, BeforeValidator(_listener)]


class TlsSettings(Section):
    """Encrypted connections. The files are read again when they change."""

    certificate: Path
    """PEM: the service's certificate and what is between it and the root, in this order."""
    key: Path
    """PEM: its private key, without a password."""
    client_ca: Path | None = None
    """PEM: clients have to show a certificate that one of these has signed. Unset: they need
    none."""
    max_connection_age_s: float = Field(default=3600.0, ge=1, le=30 * 86_400, allow_inf_nan=False)
    """After that a connection is closed once its calls are answered, and clients connect anew: a
    certificate that has expired or was taken off the list is good for so long at most."""


class CertificateSettings(Section):
    """Who the holder of a client certificate is."""

    subject: str = Field(min_length=1, max_length=512)
    """A subject alternative name (DNS name, URI, e-mail address); where the certificate has none,
    its common name."""
    tenant: str = ""
    """Who pays for its requests."""
    roles: tuple[Role, ...] = ("route",)


class ClientLimitSettings(Section):
    """What one client may ask for.

    A client is a token, a certificate, or else a network address.
    """

    max_concurrent: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most calls in progress. Unset: no limit."""
    prompts_per_s: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """Calls per second in the long run; each prompt of a batch counts as one. Unset: no limit."""
    burst_prompts: int = Field(default=100, ge=1, le=1_000_000_000)
    """So many may come at once."""

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.max_concurrent is not None or self.prompts_per_s is not None


class SecuritySettings(Section):
    """Who may connect, as whom, and how much they may ask for."""

    tls: TlsSettings | None = None
    tokens: Path | None = None
    """File of the tokens that are let in, written by ``routoo token new``; read again when it
    changes. Set: every call needs one, or a certificate of the list below."""
    certificates: tuple[CertificateSettings, ...] = ()
    """Client certificates that are let in; needs tls.client_ca."""
    per_client: ClientLimitSettings = ClientLimitSettings()
    reflection: bool = False
    """Whether anyone who may connect can ask for the API's description."""
    socket_mode: Annotated[str, AfterValidator(_mode)] = "0600"
    """Who may connect to a socket file: its mode, in octal. The default: its owner alone."""
    allow_insecure_exposure: bool = False
    """Take calls from other machines without TLS, or without asking who calls."""
    allow_open_metrics: bool = False
    """Show the metrics page to other machines; it asks nobody who they are."""

    @property
    def asks_who_calls(self) -> bool:
        """Whether calls need a token or a certificate of the list."""
        return self.tokens is not None or bool(self.certificates)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        asks_for_certificates = self.tls is not None and self.tls.client_ca is not None
        if self.certificates and not asks_for_certificates:
            raise ValueError(
                "certificates needs tls.client_ca, which says who signs them; set it too"
            )
        if asks_for_certificates and not self.asks_who_calls:
            raise ValueError(
                "tls.client_ca alone says not who calls; list the clients under certificates, or"
                " set tokens"
            )
        subjects = [one.subject for one in self.certificates]
        twice = next((one for one in subjects if subjects.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"certificate subject {twice!r} stands twice; keep one of them")
        return self
