"""Merges the metrics pages of all workers into one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Most gauges are equal in every worker (a price, a budget in the shared ledger, a version), so the
# page shows the largest value. These gauges are summed, or the least value is shown.
SUMMED_GAUGES = frozenset(
    {"routoo_queue_depth", "routoo_provider_limit_amount", "routoo_provider_limit_used"}
)
LEAST_GAUGES = frozenset(
    {
        "routoo_serving",
        "routoo_predictor_up",
        "routoo_decision_log_up",
        "routoo_provider_health",
    }
)

_Key = tuple[str, tuple[tuple[str, str], ...]]


def merged(pages: Iterable[str]) -> Iterator[Metric]:
    """Merges pages in Prometheus' text format.

    Counters and histograms are summed. Of a gauge the largest value is taken, except for
    ``SUMMED_GAUGES`` and ``LEAST_GAUGES``.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[_Key, float]] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            found = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                known = found.get(key)
                found[key] = (
                    sample.value
                    if known is None
                    else _together(family, sample.name)(known, sample.value)
                )
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
        yield family


def _together(family: Metric, sample_name: str) -> Callable[[float, float], float]:
    if sample_name.endswith("_created") or family.name in LEAST_GAUGES:
        return min
    if family.type != "gauge" or family.name in SUMMED_GAUGES:
        return float.__add__
    return max


@dataclass(frozen=True, slots=True)
class Pages:
    """The metrics pages of a service's workers.

    Attributes:
        texts: the pages in Prometheus' text format; of a worker that does not answer, its last one.
        up: number of workers that answer.
    """

    texts: list[str]
    up: int


class MergedMetrics(Collector):
    """Collects the merged pages of the workers, and metrics about the workers.

    Args:
        pages: reads the pages; called from the scraping thread.
        expected: number of workers that should run.
        restarts: returns how often a worker was started again.
    """

    def __init__(
        self, pages: Callable[[], Pages], expected: int, restarts: Callable[[], int]
    ) -> None:
        self._pages = pages
        self._expected = expected
        self._restarts = restarts

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering does not read the workers' pages."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        pages = self._pages()
        yield GaugeMetricFamily("routoo_workers", "Workers wanted.", self._expected)
        yield GaugeMetricFamily("routoo_workers_up", "Workers that answer.", pages.up)
        yield CounterMetricFamily(
            "routoo_worker_restarts", "Workers started again after they ended.", self._restarts()
        )
        yield from merged(pages.texts)
