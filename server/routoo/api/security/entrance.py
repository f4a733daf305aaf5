"""The gate and the certificate of a service, as the settings want them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from routoo.api.security.certificate_files import CertificateFiles
from routoo.api.security.gate import Gate

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from routoo.config.security import SecuritySettings


@dataclass(frozen=True, slots=True)
class Entrance:
    """What stands between the network and the service.

    Attributes:
        gate: asks who calls.
        certificates: for TLS; None: there is none.
    """

    gate: Gate
    certificates: CertificateFiles | None

    @classmethod
    def open(cls, settings: SecuritySettings, registry: CollectorRegistry) -> Self:
        """Reads the files that the settings name.

        Raises:
            ConfigError: one of them cannot be used.
        """
        gate = Gate(settings, registry)
        if settings.tls is None:
            return cls(gate, None)
        return cls(gate, CertificateFiles(settings.tls, partial(gate.reloaded, "certificate")))
