"""The gate and the certificate of a service, made from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from routoo.api.security.certificate_files import CertificateFiles
from routoo.api.security.gate import Gate
from routoo.api.security.shared_counts import SharedCounts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from routoo.api.worker_address import WorkerAddress
    from routoo.config.sections.security import SecuritySettings


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
    def open(
        cls,
        settings: SecuritySettings,
        registry: CollectorRegistry,
        worker: WorkerAddress | None = None,
    ) -> Self:
        """Makes the gate and the certificate from the files that the settings name.

        Args:
            settings: the section ``security``.
            registry: gets the metrics.
            worker: address of this process among the workers of a service; None: there are none.

        Raises:
            ConfigError: one of the files cannot be used.
        """
        shared = None
        if worker is not None:
            shared = SharedCounts(worker.counts_file, worker.index, worker.workers)
        gate = Gate(settings, registry, shared=shared)
        if settings.tls is None:
            return cls(gate, None)
        return cls(gate, CertificateFiles(settings.tls, partial(gate.reloaded, "certificate")))
