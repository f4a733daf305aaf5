"""The gate and the certificate of a service, made from the settings."""

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
    """The access control between the network and the service.

    Attributes:
        gate: lets calls in or refuses them.
        certificates: the files for TLS; None: without TLS.
    """

    gate: Gate
    certificates: CertificateFiles | None

    @classmethod
    def open(cls, settings: SecuritySettings, registry: CollectorRegistry) -> Self:
        """Makes the gate and the certificate from the files that the settings name.

        Raises:
            ConfigError: one of the files cannot be used.
        """
        gate = Gate(settings, registry)
        if settings.tls is None:
            return cls(gate, None)
        return cls(gate, CertificateFiles(settings.tls, partial(gate.reloaded, "certificate")))
