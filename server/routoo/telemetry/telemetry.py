"""Metrics, traces and the decision log of a service, opened and closed together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.telemetry.decision_log.log import DecisionLog
from routoo.telemetry.metrics import Metrics
from routoo.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from routoo.config.observability import DecisionLogSettings, TracingSettings
    from routoo.telemetry.tracing import Interceptor, Tracing


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Three objects, each handed to who tells it something.

    Attributes:
        metrics: what Prometheus scrapes.
        tracing: adds decisions to the traces of calls; None: nothing is traced.
        decision_log: where single decisions and reports are told; None: nowhere.
    """

    metrics: Metrics
    tracing: Tracing | None = None
    decision_log: DecisionLog | None = None

    @classmethod
    def open(cls, log: DecisionLogSettings, tracing: TracingSettings) -> Telemetry:
        """Opens what the settings ask for; traces and log count in the metrics' registry.

        Raises:
            ConfigError: traces are asked for and cannot be made; one line.
        """
        metrics = Metrics()
        return cls(
            metrics,
            open_tracing(tracing, metrics.registry),
            DecisionLog.open(log, metrics.registry),
        )

    @property
    def interceptors(self) -> list[Interceptor]:
        """The interceptors that the server has to be made with."""
        return [] if self.tracing is None else [self.tracing.interceptor]

    def close(self) -> None:
        """Writes and sends what is still held; not on the event loop."""
        if self.decision_log is not None:
            self.decision_log.close()
        if self.tracing is not None:
            self.tracing.close()
