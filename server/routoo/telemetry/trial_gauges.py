"""Metrics of the watch on a promise and of an experiment, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric


class TrialMetrics(Collector):
    """Collects the state of what is tried.

    Args:
        promise: returns per tenant and kind of task whether the promise was refuted, and the
            evidence against it; None: nobody watches. Called from the scraping thread.
        reverted: returns whether an experiment's candidate was found worse; None: there is none.
    """

    def __init__(
        self,
        promise: Callable[[], list[tuple[bool, float]] | None],
        reverted: Callable[[], bool | None],
    ) -> None:
        self._promise = promise
        self._reverted = reverted

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; none of what is not tried."""
        found, reverted = self._promise(), self._reverted()
        if found is not None:
            yield GaugeMetricFamily(
                "routoo_guarantee_broken",
                "Tenants and kinds of task, all traffic among them, whose promise was refuted.",
                value=sum(broken for broken, _ in found),
            )
            yield GaugeMetricFamily(
                "routoo_guarantee_evidence",
                "The most evidence against the promise; 1 / (1 - confidence) refutes it.",
                value=max((evidence for _, evidence in found), default=1.0),
            )
        if reverted is not None:
            yield GaugeMetricFamily(
                "routoo_experiment_reverted",
                "1 after the candidate of the experiment was found worse.",
                value=float(reverted),
            )
