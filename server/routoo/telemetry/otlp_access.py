"""Access to a hosted OTLP collector: headers with keys, and the certificates it is known by."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from routoo.config.files import read_file
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from routoo.config.sections.observability import TracingSettings

HEADERS_VARIABLE: Final = "OTEL_EXPORTER_OTLP_HEADERS"
"""The variable of the environment that OpenTelemetry names for headers: ``name=value,name=value``,
values with percent signs as in a URL."""
_NAME = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_VALUE = re.compile(r"[ -~]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CollectorAccess:
    """How a collector is reached.

    Attributes:
        headers: names and values, which are secrets.
        ca: certificates in PEM, one of which has to have signed the collector's; None: those that
            the system trusts.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca: bytes | None = None

    @classmethod
    def of(
        cls, settings: TracingSettings, environ: Mapping[str, str] = os.environ
    ) -> CollectorAccess:
        """Reads the headers of the environment and of the file, which goes first, and the CA.

        Raises:
            ConfigError: a file cannot be read or is no PEM, or a header is malformed; tells no
                value.
        """
        told = environ.get(HEADERS_VARIABLE, "")
        found = dict(_headers(told.split(","), "=", HEADERS_VARIABLE, quoted=True))
        if settings.headers_file is not None:
            text = _read(settings.headers_file, "tracing.headers_file").decode("utf-8", "replace")
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            found |= _headers(lines, ":", f"tracing.headers_file {settings.headers_file}")
        ca = None if settings.ca is None else _read(settings.ca, "tracing.ca")
        access = cls(tuple(found.items()), ca)
        try:
            access.tls()
        except (ssl.SSLError, ValueError):
            raise ConfigError(f"tracing.ca: {settings.ca} is not a PEM file") from None
        return access

    def tls(self) -> ssl.SSLContext:
        """Returns what TLS trusts.

        Raises:
            ssl.SSLError: a certificate of ``ca`` is damaged.
            ValueError: ``ca`` has no certificates.
        """
        if self.ca is None:
            return ssl.create_default_context()
        # Bundles name authorities in comments, in any alphabet; certificates are ASCII.
        text = self.ca.decode("ascii", "ignore")
        if "-----BEGIN" not in text:
            raise ValueError("no certificate")
        return ssl.create_default_context(cadata=text)


def _headers(
    parts: Iterable[str], sign: str, source: str, *, quoted: bool = False
) -> Iterable[tuple[str, str]]:
    for position, part in enumerate(parts, start=1):
        if not part.strip():
            continue
        name, found, value = part.partition(sign)
        name, value = name.strip().lower(), value.strip()
        if quoted:
            value = unquote(value)
        # gRPC reads names that end so as binary, and keeps those that begin so for itself.
        usable = not name.endswith("-bin") and not name.startswith("grpc-")
        if not found or not usable or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(
                f"{source}: header {position} is malformed; write name{sign}value in printable"
                " ASCII, with a name that neither begins with grpc- nor ends with -bin"
            )
        yield name, value


def _read(path: Path, setting: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
