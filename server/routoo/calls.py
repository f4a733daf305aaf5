"""Counts calls for Prometheus without a lock.

The client library's counters and histograms take a lock and convert labels on every call, which at
thousands of calls a second was a tenth of the whole service. Calls end on one thread, the event
loop's, so plain numbers do; they are turned into metrics when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import Metric


class _Times:
    """How many calls took how long, by bucket; the last bucket has no upper end."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum_s = 0.0


class CallCounts(Collector):
    """Calls by RPC and status code, and their times by RPC. Written from one thread.

    Args:
        bounds_s: upper ends of the histogram's buckets, ascending.
    """

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._outcomes: dict[tuple[str, str], int] = {}
        self._times: dict[str, _Times] = {}

    def answered(self, rpc: str, code: str, seconds: float) -> None:
        """A call ended with a status code."""
        key = (rpc, code)
        self._outcomes[key] = self._outcomes.get(key, 0) + 1
        times = self._times.get(rpc)
        if times is None:
            times = self._times[rpc] = _Times(len(self._bounds_s))
        # Prometheus' buckets include their upper end.
        times.counts[bisect_left(self._bounds_s, seconds)] += 1
        times.sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        """The metrics, read from the scraping thread."""
        requests = CounterMetricFamily(
            "routoo_requests", "RPCs by outcome.", labels=("rpc", "code")
        )
        # A copy is made in one step; the event loop may add a key meanwhile.
        for (rpc, code), calls in list(self._outcomes.items()):
            requests.add_metric((rpc, code), calls)
        yield requests
        seconds = HistogramMetricFamily(
            "routoo_request_seconds",
            "From the request's arrival to its reply.",
            labels=("rpc",),
        )
        bounds = [*map(str, self._bounds_s), "+Inf"]
        for rpc, times in list(self._times.items()):
            seen = accumulate(list(times.counts))
            seconds.add_metric((rpc,), list(zip(bounds, seen, strict=True)), times.sum_s)
        yield seconds
