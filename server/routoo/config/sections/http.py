"""Settings of the HTTP front, which takes the same calls as gRPC and OpenAI-compatible requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from routoo.config.address import Address
from routoo.config.section import Section
from routoo.config.sections.security import tcp_address


def _address_or_off(value: str) -> str:
    return tcp_address(value) if value else value


def _host_name(value: str) -> str:
    name = value.lower()
    if not name or any(one in name for one in " /@:,[]"):
        raise ValueError("has to be a host name without scheme and port, e.g. routoo.example")
    return name


class HttpSettings(Section):
    """The HTTP front. It has the certificate, tokens and limits of the section ``security``."""

    listen: Annotated[str, AfterValidator(_address_or_off)] = "127.0.0.1:8080"
    """HOST:PORT. Empty: there is no HTTP front."""
    tls: bool = True
    """Clear to serve HTTP without TLS where security.tls is set."""
    hosts: tuple[Annotated[str, AfterValidator(_host_name)], ...] = ()
    """Names by which callers may reach the front besides localhost and numbers. A front on the
    loopback address refuses others, so that no web page reaches it under a name of its own."""
    max_connections: int = Field(default=2048, ge=1, le=1_000_000)
    """Most open connections of one process; one more is answered with 503 and closed."""
    transfer_timeout_s: float = Field(default=30.0, ge=0.1, le=3600, allow_inf_nan=False)
    """Longest time from a request's first byte to its last, and longest time in which a caller
    takes nothing of its reply."""
    idle_timeout_s: float = Field(default=75.0, ge=0.1, le=86_400, allow_inf_nan=False)
    """Longest time that a connection stays open without a request. Choose it longer than that of a
    proxy before the service."""

    console: bool | None = None
    """Whether the front shows the page for people at ``/``. Unset: where no other machine reaches
    the front."""

    @property
    def enabled(self) -> bool:
        """Returns whether there is an HTTP front."""
        return bool(self.listen)

    @property
    def has_console(self) -> bool:
        """Returns whether the front shows the page."""
        if self.console is not None:
            return self.console
        return self.enabled and not Address.parse(self.listen).leaves_the_machine
