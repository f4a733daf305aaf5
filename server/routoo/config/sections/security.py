"""Settings of access: listeners, TLS, tokens, client certificates and limits per client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from routoo.config.address import Address
from routoo.config.section import Section

Role = Literal["route", "admin", "proxy"]
"""route: decisions, and calls about the caller's own tenant. admin: also calls that show all
tenants. proxy: calls on behalf of any tenant."""


def call_address(value: str) -> str:
    """Checks an address for calls: HOST:PORT or unix:/path."""
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
    """One more address for calls; a text in place of the section is its ``address``."""

    address: CallAddress
    """HOST:PORT, or ``unix:/path``."""
    tls: bool = True
    """Clear to serve this address without TLS where security.tls is set. A socket file never has
    TLS."""


def _listener(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


Listener = Annotated[ListenerSettings, BeforeValidator(_listener)]


class TlsSettings(Section):
    """Encrypted connections. The files are read again when they change."""

    certificate: Path
    """PEM: the service's certificate, then the intermediate ones up to the root."""
    key: Path
    """PEM: the private key of the certificate, without a password."""
    client_ca: Path | None = None
    """PEM: authorities, one of which has to have signed a client's certificate. Unset: clients need
    no certificate."""
    max_connection_age_s: float = Field(default=3600.0, ge=1, le=30 * 86_400, allow_inf_nan=False)
    """An older connection is closed once its calls are answered, and clients connect anew."""
    max_connection_grace_s: float = Field(default=900.0, ge=1, le=30 * 86_400, allow_inf_nan=False)
    """What is still open on a connection that is too old ends after this time, such as a stream.
    Choose it longer than the longest answer that Envoy waits for."""


class CertificateSettings(Section):
    """One client certificate that is accepted, with the tenant and roles of its holder."""

    subject: str = Field(min_length=1, max_length=512)
    """A subject alternative name (DNS name, URI, e-mail address); where the certificate has none,
    its common name."""
    tenant: str = ""
    """The tenant whose budgets pay for its requests."""
    roles: tuple[Role, ...] = ("route",)
    """The calls that it may make."""


class ClientLimitSettings(Section):
    """Limits of one client in all workers: a token, a certificate, or else a network address."""

    max_concurrent: int | None = Field(default=None, ge=1, le=1_000_000)
    """Most calls in progress. Unset: no limit."""
    prompts_per_s: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """Calls per second in the long run; each prompt of a batch counts as one. Unset: no limit."""
    burst_prompts: int = Field(default=100, ge=1, le=1_000_000_000)
    """Most calls, or prompts of batches, that may come at once."""

    @property
    def any(self) -> bool:
        """Returns whether any limit is set."""
        return self.max_concurrent is not None or self.prompts_per_s is not None


class SecuritySettings(Section):
    """Access to the service: TLS, tokens, client certificates and limits."""

    tls: TlsSettings | None = None
    """The certificate that the service shows; unset: no TLS."""
    tokens: Path | None = None
    """File of the tokens that are accepted, written by ``routoo token new``; read again when it
    changes. Set: every call needs one of them, or a certificate of ``certificates``."""
    certificates: tuple[CertificateSettings, ...] = ()
    """Client certificates that are accepted; needs tls.client_ca."""
    per_client: ClientLimitSettings = ClientLimitSettings()
    reflection: bool = False
    """Set to let every client that may connect read the API's description."""
    socket_mode: Annotated[str, AfterValidator(_mode)] = "0600"
    """Mode of a socket file, in octal. The default admits its owner alone."""
    allow_insecure_exposure: bool = False
    """Set to take calls from other machines without TLS, or without authentication."""
    allow_open_metrics: bool = False
    """Set to show the metrics page, which has no authentication, to other machines."""

    @property
    def asks_who_calls(self) -> bool:
        """Returns whether calls need a token or a certificate of the list."""
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
