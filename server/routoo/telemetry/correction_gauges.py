"""Metrics of the corrections of predicted lengths and latencies, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from routoo.routing.corrections.table import LearnedFactor, ModelCorrection

_ALL = ""  # the label of a model's figures over all kinds of task


class CorrectionMetrics(Collector):
    """Collects the factors of all models, by kind of task, and the reports behind them.

    Args:
        corrections: returns what is known of each model, by its name; called from the scraping
            thread.
    """

    def __init__(self, corrections: Callable[[], Mapping[str, ModelCorrection]]) -> None:
        self._corrections = corrections

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering does not read the corrections."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; kinds of task of which nothing was reported are left out."""
        found = self._corrections()
        for at, name, of_what in ((0, "length", "output tokens"), (1, "latency", "latencies")):
            factors = GaugeMetricFamily(
                f"routoo_{name}_factor",
                f"Factor by which predicted {of_what} are multiplied; an empty task: a task that"
                " nothing was reported of.",
                labels=("model", "task"),
            )
            reports = GaugeMetricFamily(
                f"routoo_{name}_factor_reports",
                "Reports that the factor was learned from; an empty task: all of them.",
                labels=("model", "task"),
            )
            for model, known in found.items():
                rows: dict[str, tuple[LearnedFactor, LearnedFactor]] = {
                    _ALL: (known.lengths, known.latencies),
                    **known.kinds,
                }
                for task, both in rows.items():
                    factors.add_metric((model, task), both[at].factor)
                    reports.add_metric((model, task), both[at].answers)
            yield factors
            yield reports
