"""Metrics of the memory of calls in progress and of file descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from routoo.api.memory.in_flight import InFlight
    from routoo.server.resources.descriptors import DescriptorWatch


class ResourceMetrics(Collector):
    """Reads the figures at each scrape.

    Args:
        in_flight: the memory of calls in progress.
        descriptors: knows whether there are any left.
    """

    def __init__(self, in_flight: InFlight, descriptors: DescriptorWatch) -> None:
        self._in_flight = in_flight
        self._descriptors = descriptors

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; called from the scraping thread."""
        yield GaugeMetricFamily(
            "routoo_in_flight_bytes",
            "Memory reserved for calls in progress.",
            value=self._in_flight.held_bytes,
        )
        yield CounterMetricFamily(
            "routoo_memory_refusals",
            "Calls refused because they, or all calls in progress, need too much memory.",
            value=self._in_flight.refused,
        )
        yield GaugeMetricFamily(
            "routoo_memory_short",
            "1 while the process has nearly as much memory as it may have.",
            value=int(self._in_flight.short),
        )
        yield GaugeMetricFamily(
            "routoo_descriptors_short",
            "1 while the process has no file descriptor left.",
            value=int(self._descriptors.short),
        )
        yield CounterMetricFamily(
            "routoo_descriptor_shortages",
            "How often the process has run out of file descriptors.",
            value=self._descriptors.shortages,
        )
