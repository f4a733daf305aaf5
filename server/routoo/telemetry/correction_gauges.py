"""Metrics of the corrections of predicted lengths and latencies, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from routoo.request_fields import PERCENTILES

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
        lengths = {model: {_ALL: known.lengths, **known.kinds} for model, known in found.items()}
        yield from _factors("length", "output tokens", lengths)
        latencies = {model: {_ALL: known.latencies} for model, known in found.items()}
        yield from _factors("latency", "latencies", latencies)
        first = GaugeMetricFamily(
            "routoo_first_token_ms", "Mean time to the first token, now.", labels=("model",)
        )
        each = GaugeMetricFamily(
            "routoo_per_output_token_ms", "Mean time for each output token, now.", labels=("model",)
        )
        percentiles = GaugeMetricFamily(
            "routoo_latency_percentile_factor",
            "Factor of the mean time to the last token that so many of 100 answers keep.",
            labels=("model", "percentile"),
        )
        for model, known in found.items():
            first.add_metric((model,), known.times.first_token_ms)
            each.add_metric((model,), known.times.per_token_ms)
            for name, factor in zip(PERCENTILES, known.times.percentiles, strict=True):
                percentiles.add_metric((model, str(name)), factor)
        yield from (first, each, percentiles)


def _factors(
    name: str, of_what: str, found: Mapping[str, Mapping[str, LearnedFactor]]
) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """Returns the gauges of factors by model and kind of task, and of the reports behind them."""
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
    for model, rows in found.items():
        for task, learned in rows.items():
            factors.add_metric((model, task), learned.factor)
            reports.add_metric((model, task), learned.answers)
    return factors, reports
