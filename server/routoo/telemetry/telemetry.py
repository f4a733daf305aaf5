"""Opens and closes the metrics, the traces and the decision log of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.telemetry.decision_log.log import DecisionLog
from routoo.telemetry.metrics import Metrics
from routoo.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from routoo.config.sections.observability import DecisionLogSettings, TracingSettings
    from routoo.telemetry.tracing import Interceptor, Tracing


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The metrics, the traces and the decision log of a service.

    Attributes:
        metrics: the metrics that Prometheus scrapes.
        tracing: adds decisions to the traces of calls; None: nothing is traced.
        decision_log: logs single decisions and reports; None: nothing is logged.
    """

    metrics: Metrics
    tracing: Tracing | None = None
    decision_log: DecisionLog | None = None

    @classmethod
    def open(cls, log: DecisionLogSettings, tracing: TracingSettings) -> Telemetry:
        """Opens the parts that the settings enable; all metrics go to one registry.

        Args:
            log: section ``decision_log``.
            tracing: section ``tracing``.

        Raises:
            ConfigError: traces are enabled and cannot be made; one line.
        """
        metrics = Metrics()
        metrics.live.prompts = log.kept == "text"
        return cls(
            metrics,
            open_tracing(tracing, metrics.registry),
            DecisionLog.open(log, metrics.registry),
        )

    @property
    def interceptors(self) -> list[Interceptor]:
        """The interceptors that the gRPC server needs."""
        return [] if self.tracing is None else [self.tracing.interceptor]

    def close(self) -> None:
        """Writes and sends the lines and spans that are left; not on the event loop."""
        if self.decision_log is not None:
            self.decision_log.close()
        if self.tracing is not None:
            self.tracing.close()
