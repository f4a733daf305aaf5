"""Reports changes of predictors as metrics, log lines and health."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge

from routoo.predictor.chain import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from routoo.errors import ArtifactError
    from routoo.predictor.triton_check import Statistics
    from routoo.server.health import Health

_log = structlog.get_logger("routoo.predictor")


class PredictorWatch(Watch):
    """Counts, logs and shows what the chain of predictors reports. Thread-safe.

    Args:
        registry: the registry of the service's metrics.
        health: shows each backend as ``predictor.BACKEND``.

    Attributes:
        on_mismatch: called when a server answers again but does not serve the artifact.
    """

    def __init__(self, registry: CollectorRegistry, health: Health) -> None:
        self._health = health
        self.on_mismatch: Callable[[], object] = lambda: None
        self._known: dict[str, bool] = {}
        self._fallbacks = Counter(
            "routoo_predictor_fallbacks",
            "Batches that a backend did not answer and the next in turn was asked for.",
            ("backend", "kind"),
            registry=registry,
        )
        self._up = Gauge(
            "routoo_predictor_up", "1 while a backend is in use.", ("backend",), registry=registry
        )
        self._exchanges = Counter(
            "routoo_predictor_reloads",
            "Reloads of the predictor by outcome: switched, unchanged, refused.",
            ("outcome",),
            registry=registry,
        )

    def failed(self, backend: str, error: Exception) -> None:
        """Counts and logs that a backend did not answer a batch."""
        kind = getattr(error, "kind", "failed")
        self._fallbacks.labels(backend, kind).inc()
        _log.warning("predictor failed", backend=backend, kind=kind, detail=str(error))

    def component(self, backend: str, *, up: bool) -> None:
        """Shows whether a backend is in use from now on; logs changes."""
        self._up.labels(backend).set(up)
        # A backend that is in use from the start is not logged.
        if up != self._known.get(backend, True):
            _log.info("predictor in use" if up else "predictor not in use", backend=backend)
        self._known[backend] = up
        self._health.component(f"predictor.{backend}", up=up)

    def verified(self, backend: str, statistics: Statistics) -> None:
        """Logs that a server serves the artifact, with the server's statistics up to then."""
        _log.info("predictor verified", backend=backend, **asdict(statistics))

    def mismatched(self, error: ArtifactError) -> None:
        """Logs that a server answers again but does not serve the artifact; calls the hook."""
        _log.warning("predictor not taken back", detail=str(error))
        self.on_mismatch()

    def counted(self, outcome: str) -> None:
        """Counts the predictor's part of a full reload, which logs its outcome itself."""
        self._exchanges.labels(outcome).inc()

    def exchanged(self, outcome: str, version: str, detail: str = "") -> None:
        """Counts and logs a reload of the predictor alone; ``version`` is in use now."""
        self._exchanges.labels(outcome).inc()
        log = _log.error if outcome == "refused" else _log.info
        log("predictor reload", outcome=outcome, version=version, detail=detail)
