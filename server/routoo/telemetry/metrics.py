"""The service's Prometheus metrics. Prompts do not appear in them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections import deque
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from routoo.selector.reason import Reason
from routoo.telemetry.live.feed import LiveFeed
from routoo.telemetry.outcome_counts import OutcomeCounts
from routoo.telemetry.prompt_counts import PromptCounts
from routoo.telemetry.shadow_counts import Comparisons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from routoo.routing.decision import DecidedBatch

# From 20 microseconds to a second: most decisions take fractions of a millisecond.
PHASE_BUCKETS_S = (
    *(2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
    *(1e-2, 2e-2, 5e-2, 1e-1, 2e-1, 5e-1, 1.0),
)
COUNTED_TOGETHER = 16
"""Decided batches that are counted together, or before that when somebody asks for the metrics. One
after the other they take a third of the time that each takes within its own request."""
_LARGE = 64  # prompts of a batch that is counted at once, as its figures take memory
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384, 65536)


class Metrics:
    """The service's metrics, in a registry of their own.

    Attributes:
        registry: holds all metrics, for Prometheus to scrape.
        answered: counts a call that has ended; takes its RPC, its status and its seconds.
        outcomes: counts reported outcomes.
        comparisons: counts the decisions of shadow policies.
        escalations: counts answers that were weighed.
        reloads: counts reloads by their outcome.
        live: notes the latest decisions while somebody looks.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.live = LiveFeed()
        self._waiting: deque[DecidedBatch] = deque()
        # A registry asks in this order, so that what waits is counted before it is asked for.
        registry.register(_Before(self._count_waiting))
        self._calls = CallCounts(PHASE_BUCKETS_S)
        registry.register(self._calls)
        self.answered = self._calls.answered
        phases = Histogram(
            "routoo_phase_seconds",
            "A batch's time by phase; queue is the oldest request's wait.",
            ("phase",),
            buckets=PHASE_BUCKETS_S,
            registry=registry,
        )
        # Looking a child up by its labels costs more than counting with it.
        self._queue_time = phases.labels("queue")
        self._tokenize_time = phases.labels("tokenize")
        self._predict_time = phases.labels("predict")
        self._select_time = phases.labels("select")
        self._batch_size = Histogram(
            "routoo_batch_prompts",
            "Prompts decided in one batch.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._decisions = Counter(
            "routoo_decisions",
            "Decisions by chosen model and policy; joint: a program over a whole batch.",
            ("model", "policy"),
            registry=registry,
        )
        self._by_model: dict[tuple[str, str], Counter] = {}
        self._reasons = Counter(
            "routoo_decision_reasons",
            "Decisions, and requests without one, by the rule that chose or refused.",
            ("reason",),
            registry=registry,
        )
        self._by_reason: dict[int, Counter] = {}
        self._degraded = Counter(
            "routoo_degraded_decisions",
            "Decisions made without a component that failed.",
            registry=registry,
        )
        self._no_model = Counter(
            "routoo_no_eligible_model",
            "Requests whose constraints left no model.",
            registry=registry,
        )
        self._budget_refused = Counter(
            "routoo_budget_refused_requests",
            "Single requests refused because a budget was spent.",
            registry=registry,
        )
        self._cost = Counter(
            "routoo_predicted_cost_usd",
            "Sum of the predicted costs of all decisions, in US dollars.",
            registry=registry,
        )
        self._truncated = Counter(
            "routoo_truncated_prompts",
            "Prompts whose middle was cut before prediction.",
            registry=registry,
        )
        self._dropped = Counter(
            "routoo_dropped_requests",
            "Requests dropped before prediction: cancelled or expired.",
            ("reason",),
            registry=registry,
        )
        self._predicted = Counter(
            "routoo_predictor_prompts",
            "Prompts predicted, by the backend that did.",
            ("backend",),
            registry=registry,
        )
        self._by_backend: dict[str, Counter] = {}
        self._queue = Gauge(
            "routoo_queue_depth", "Requests that wait for the predictor.", registry=registry
        )
        self._price = Gauge(
            "routoo_shadow_price",
            "Predicted score per US dollar in force for requests without a tenant.",
            registry=registry,
        )
        self._serving = Gauge(
            "routoo_serving", "1 while the service takes requests.", registry=registry
        )
        self._info = Info("routoo_build", "Versions in use.", registry=registry)
        self.outcomes = OutcomeCounts(registry)
        self._prompts = PromptCounts()
        registry.register(self._prompts)
        self.comparisons = Comparisons()
        registry.register(self.comparisons)
        self.escalations = Counter(
            "routoo_escalations",
            "Answers weighed: kept, asked (another model is to be asked), unpaid (kept because a"
            " budget has not enough left).",
            ("result",),
            registry=registry,
        )
        self.reloads = Counter(
            "routoo_reloads",
            "Reloads by outcome: switched, switched_in_part (the rest takes a restart),"
            " needs_restart, unchanged, refused.",
            ("outcome",),
            registry=registry,
        )

    def started(self, versions: dict[str, str], shadow_price: Callable[[], float]) -> None:
        """Notes that the service serves; ``shadow_price`` is read at each scrape."""
        self._price.set_function(shadow_price)
        self.versions(versions)
        self._serving.set(1)

    def versions(self, versions: dict[str, str]) -> None:
        """Sets the versions in use."""
        self._info.info(versions)

    def draining(self) -> None:
        """Notes that the service takes no new requests."""
        self._serving.set(0)
        self.live.close()

    def dropped(self, reason: str) -> None:
        """Counts a request that was dropped before prediction."""
        self._dropped.labels(reason).inc()

    def predicted(self, backend: str, prompts: int) -> None:
        """Counts prompts that a backend has predicted."""
        counter = self._by_backend.get(backend)
        if counter is None:
            counter = self._by_backend[backend] = self._predicted.labels(backend)
        counter.inc(prompts)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Sets the function that returns the queue's depth; called at each scrape."""
        self._queue.set_function(depth)

    def decided(self, batch: DecidedBatch) -> None:
        """Counts a decided batch, later where it is small. Called from several threads."""
        if len(batch.choices) >= _LARGE:
            self._count(batch)
            return
        self._waiting.append(batch)
        if len(self._waiting) >= COUNTED_TOGETHER:
            self._count_waiting()

    def _count_waiting(self) -> None:
        with suppress(IndexError):  # another thread may take the last one
            while self._waiting:
                self._count(self._waiting.popleft())

    def _count(self, batch: DecidedBatch) -> None:
        timing = batch.timing
        self._queue_time.observe((timing.started_ns - min(batch.accepted_ns)) * 1e-9)
        self._tokenize_time.observe(timing.tokenize_ns * 1e-9)
        self._predict_time.observe(timing.predict_ns * 1e-9)
        self._select_time.observe(timing.select_ns * 1e-9)
        self._batch_size.observe(len(batch.choices))
        chosen = Counts(batch.choices)
        without = chosen.pop(-1, 0)
        without -= batch.refused + batch.limited
        if without > 0:
            self._no_model.inc(without)
        if batch.refused:
            self._budget_refused.inc(batch.refused)
        if batch.degraded:
            self._degraded.inc(len(batch.choices) - without)
        names = batch.pool.names
        if batch.decided_jointly:
            self._chose("joint", names, chosen)
        elif batch.policy_versions.count(batch.policy_versions[0]) == len(batch.policy_versions):
            self._chose(batch.policy_versions[0].rpartition("-")[0], names, chosen)
        else:
            for version, choices in _by_version(batch).items():
                self._chose(version.rpartition("-")[0], names, choices)
        for code, prompts in Counts(batch.reasons).items():
            counter = self._by_reason.get(code)
            if counter is None:
                name = Reason(code).name.lower()
                counter = self._by_reason[code] = self._reasons.labels(name)
            counter.inc(prompts)
        self._cost.inc(
            sum(
                cost
                for cost, choice in zip(batch.costs_usd, batch.choices, strict=True)
                if choice >= 0
            )
        )
        self._read(batch)

    def _read(self, batch: DecidedBatch) -> None:
        told = batch.estimates
        if told.ood is not None or told.tasks is not None:
            self._prompts.add(batch)
        if any(batch.truncated):
            self._truncated.inc(sum(batch.truncated))

    def _chose(self, policy: str, names: Sequence[str], choices: Mapping[int, int]) -> None:
        for choice, prompts in choices.items():
            key = (names[choice], policy)
            counter = self._by_model.get(key)
            if counter is None:
                counter = self._by_model[key] = self._decisions.labels(*key)
            counter.inc(prompts)


class _Before(Collector):
    """Calls a function before the collectors that are registered after it are asked."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def collect(self) -> Iterator[Metric]:
        """Yields no metric."""
        self._call()
        return iter(())


def _by_version(batch: DecidedBatch) -> dict[str, Counts[int]]:
    """Counts, for each version of a policy in a batch, how often it chose each model."""
    found: dict[str, Counts[int]] = {}
    for version, choice in zip(batch.policy_versions, batch.choices, strict=True):
        if choice >= 0:
            found.setdefault(version, Counts())[choice] += 1
    return found


class _Times:
    """A histogram of call times.

    Args:
        buckets: number of buckets with an upper end; one more has none.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum_s = 0.0


class CallCounts(Collector):
    """Counts calls by RPC and status code, and their times by RPC. Written from one thread.

    Args:
        bounds_s: upper ends of the histogram's buckets, ascending.
    """

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._outcomes: dict[tuple[str, str], int] = {}
        self._times: dict[str, _Times] = {}

    def answered(self, rpc: str, code: str, seconds: float) -> None:
        """Counts a call that has ended with a status code."""
        key = (rpc, code)
        self._outcomes[key] = self._outcomes.get(key, 0) + 1
        times = self._times.get(rpc)
        if times is None:
            times = self._times[rpc] = _Times(len(self._bounds_s))
        # Prometheus' buckets include their upper end.
        times.counts[bisect_left(self._bounds_s, seconds)] += 1
        times.sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; called from the scraping thread."""
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
