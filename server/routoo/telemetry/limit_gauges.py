"""Metrics of the limits of providers, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from routoo.routing.arms.limit_rows import LimitState

_LABELS = ("scope", "kind")


class LimitMetrics(Collector):
    """Collects the limits of providers and models, and their use.

    Args:
        limits: returns the limits; called from the scraping thread.
    """

    def __init__(self, limits: Callable[[], list[LimitState]]) -> None:
        self._limits = limits

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        states = self._limits()
        for name, text, values in (
            (
                "amount",
                "The part of a limit that this process may use.",
                [one.limit for one in states],
            ),
            ("used", "Used of it in the last minute, or now.", [one.used for one in states]),
            ("price", "Predicted score per unit.", [one.price for one in states]),
        ):
            gauge = GaugeMetricFamily(f"routoo_provider_limit_{name}", text, labels=_LABELS)
            for one, value in zip(states, values, strict=True):
                gauge.add_metric((one.scope, one.kind), value)
            yield gauge
        refused = CounterMetricFamily(
            "routoo_provider_limit_refused",
            "Requests that were refused for the sake of the limit.",
            labels=_LABELS,
        )
        for one in states:
            refused.add_metric((one.scope, one.kind), one.refused)
        yield refused
