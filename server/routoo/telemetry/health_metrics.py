"""Metrics of the health of models and providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry, Metric

    from routoo.routing.health.overview import HealthOverview


class HealthCounts:
    """Counters of reported failures; they are kept over reloads.

    Attributes:
        failures: failures by provider, model and cause.
        opens: breakers that opened, by provider, model and cause of the last failure; an empty
            model: that of the provider.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failures = Counter(
            "routoo_provider_failures",
            "Reported failures of models, by provider and cause.",
            ("provider", "model", "cause"),
            registry=registry,
        )
        self.opens = Counter(
            "routoo_provider_health_opens",
            "How often a model was left out as it failed, by the cause of the last failure; an"
            " empty model: its whole provider.",
            ("provider", "model", "cause"),
            registry=registry,
        )


class HealthMetrics(Collector):
    """Collects the health of all models and providers.

    Args:
        overview: returns it; None: nobody watches it. Called from the scraping thread.
    """

    def __init__(self, overview: Callable[[], HealthOverview | None]) -> None:
        self._overview = overview

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering does not read the health."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; none where nobody watches the health."""
        found = self._overview()
        if found is None:
            return
        shares = GaugeMetricFamily(
            "routoo_provider_health",
            "Share of the requests that may go to a model: 1 all, 0 none (or a few, to see whether"
            " it answers again), between while it comes back; an empty model: its whole provider.",
            labels=("provider", "model"),
        )
        for one in (*found.models, *found.providers):
            shares.add_metric((one.provider, one.model), one.share)
        yield shares
