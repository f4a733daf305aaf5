"""Counters of the results of HTTP requests and their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import Counter

from routoo.routing.health.failures import Cause

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from routoo.api.llm.refusal import Fault
    from routoo.routing.health.failures import ProviderFailure

RequestResult = Literal["routed", "fallback", "answered", "passed", "refused"]
ReplyResult = Literal["read", "estimated", "failed", "gone"]
EntryFault = Literal["repaired", "lost"]


class ExchangeCounts:
    """Counters of the processor, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "routoo_http_requests",
            "HTTP requests by what the processor did: routed, fallback (sent to the fallback"
            " model), answered (without a model), passed (left as they were), refused.",
            ("result",),
            registry=registry,
        )
        replies = Counter(
            "routoo_http_replies",
            "Replies to routed HTTP requests: read (settled with the usage in them), estimated"
            " (no usage told), failed (an error of the upstream), gone (broken off before the usage"
            " was told).",
            ("result",),
            registry=registry,
        )
        entries = Counter(
            "routoo_http_log_entry_faults",
            "Entries of Envoy's access log that were not whole: repaired (without what could not be"
            " read), lost (of no decision that could be found, or of a worker that has ended).",
            ("result",),
            registry=registry,
        )
        faults = Counter(
            "routoo_http_faults",
            "HTTP requests without a decision: internal (a fault of the service, which its log"
            " tells), unavailable (the service stops).",
            ("reason",),
            registry=registry,
        )
        self._retries = Counter(
            "routoo_http_retries",
            "HTTP requests that Envoy has sent to their fallback, by the failure of the decided"
            " model: rate_limited, server_error, timeout (a reply of 504), reset (no reply).",
            ("cause",),
            registry=registry,
        )
        # All series exist from the start, so that rates do not begin with a jump.
        results = get_args(RequestResult)
        endings: tuple[ReplyResult, ...] = ("read", "estimated", "failed", "gone")
        entry_faults: tuple[EntryFault, ...] = ("repaired", "lost")
        reasons: tuple[Fault, ...] = ("internal", "unavailable")
        self._requests = {result: requests.labels(result) for result in results}
        self._replies = {result: replies.labels(result) for result in endings}
        self._entries = {fault: entries.labels(fault) for fault in entry_faults}
        for cause in (Cause.RATE_LIMITED, Cause.SERVER_ERROR, Cause.TIMEOUT, Cause.RESET):
            self._retries.labels(cause.label)
        self._faults = {reason: faults.labels(reason) for reason in reasons}

    def request(self, result: RequestResult) -> None:
        """Counts a request that was handled."""
        self._requests[result].inc()

    def reply(self, result: ReplyResult) -> None:
        """Counts the end of a routed request's reply."""
        self._replies[result].inc()

    def retried(self, first: ProviderFailure) -> None:
        """Counts a request that was sent to its fallback, after a failure."""
        self._retries.labels(first.cause.label).inc()

    def fault(self, reason: Fault) -> None:
        """Counts a request for which no decision was made, by a fault that is not its own."""
        self._faults[reason].inc()

    def entry(self, fault: EntryFault) -> None:
        """Counts an entry of the access log that was not whole."""
        self._entries[fault].inc()
