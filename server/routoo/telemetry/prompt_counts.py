"""Metrics of prompts: their tasks, how unlike the training prompts they are, which are unsure."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from prometheus_client import Metric

    from routoo.routing.decision import DecidedBatch

OOD_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Upper ends of the histogram's buckets."""
_BOUNDS = np.array(OOD_BOUNDS)


class PromptCounts(Collector):
    """Counts of decided prompts since the start, over reloads. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By the names of a predictor's tasks, the counts of each.
        self._tasks: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._ood = np.zeros(len(OOD_BOUNDS) + 1, np.int64)
        self._ood_sum = 0.0
        self._unsure = 0

    def add(self, batch: DecidedBatch) -> None:
        """Counts a decided batch."""
        estimates = batch.estimates
        with self._lock:
            if estimates.ood is not None:
                # Prometheus' buckets include their upper end.
                at = _BOUNDS.searchsorted(estimates.ood)
                self._ood += np.bincount(at, minlength=len(self._ood))
                self._ood_sum += float(estimates.ood.sum())
            if estimates.tasks is not None:
                decided, names = estimates.tasks, estimates.task_names
                if -1 in batch.choices:
                    decided = decided[np.array(batch.choices) >= 0]
                counts = np.bincount(decided, minlength=len(names))
                if names in self._tasks:
                    self._tasks[names] += counts
                else:
                    self._tasks[names] = counts
            if estimates.unsure is not None:
                self._unsure += int(np.count_nonzero(estimates.unsure))

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; called from the scraping thread."""
        with self._lock:
            tasks, ood = self._by_task(), self._ood.tolist()
            ood_sum, unsure = self._ood_sum, self._unsure
        by_task = CounterMetricFamily(
            "routoo_task_decisions",
            "Decisions by the task that the request named or the predictor recognised.",
            labels=("task",),
        )
        for task, count in tasks.items():
            by_task.add_metric((task,), count)
        yield by_task
        unlike = HistogramMetricFamily(
            "routoo_prompt_ood", "How unlike the training prompts the prompts are, 0 to 1."
        )
        bounds = [*map(str, OOD_BOUNDS), "+Inf"]
        unlike.add_metric((), list(zip(bounds, accumulate(ood), strict=True)), ood_sum)
        yield unlike
        yield CounterMetricFamily(
            "routoo_unsure_prompts",
            "Prompts that the predictor does not know by policy.unsure.",
            unsure,
        )

    def _by_task(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for names, counts in self._tasks.items():
            found.update(dict(zip(names, counts.tolist(), strict=True)))
        return found
