"""What happens to predictors, as metrics, log lines and health."""

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
    """Told by the chain of predictors, from any thread.

    Args:
        registry: of the service's metrics.
        health: shows each backend as ``predictor.BACKEND``.

    Attributes:
        on_mismatch: called when a server that is back does not serve the artifact.
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
        """A backend did not answer a batch."""
        kind = getattr(error, "kind", "failed")
        self._fallbacks.labels(backend, kind).inc()
        _log.warning("predictor failed", backend=backend, kind=kind, detail=str(error))

    def component(self, backend: str, *, up: bool) -> None:
        """A backend is used from now on, or is not."""
        self._up.labels(backend).set(up)
        # That everything is there at the start is no news.
        if up != self._known.get(backend, True):
            _log.info("predictor in use" if up else "predictor not in use", backend=backend)
        self._known[backend] = up
        self._health.component(f"predictor.{backend}", up=up)

    def verified(self, backend: str, statistics: Statistics) -> None:
        """A server serves the artifact; what it had done until then."""
        _log.info("predictor verified", backend=backend, **asdict(statistics))

    def mismatched(self, error: ArtifactError) -> None:
        """The server is there again, but does not serve the artifact."""
        _log.warning("predictor not taken back", detail=str(error))
        self.on_mismatch()

    def counted(self, outcome: str) -> None:
        """A reload of everything has looked at the predictor, too, and tells of it itself."""
        self._exchanges.labels(outcome).inc()

    def exchanged(self, outcome: str, version: str, detail: str = "") -> None:
        """A reload of the predictor alone ended; ``version`` is in use now."""
        self._exchanges.labels(outcome).inc()
        log = _log.error if outcome == "refused" else _log.info
        log("predictor reload", outcome=outcome, version=version, detail=detail)
