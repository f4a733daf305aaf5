"""Traces of calls and decisions by OpenTelemetry, sent to an OTLP collector, without prompts.

OpenTelemetry is imported only where the settings enable traces.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any

import structlog

from routoo import __version__
from routoo.errors import ConfigError
from routoo.selector.reason import Reason
from routoo.telemetry.gen_ai import asked, reported
from routoo.telemetry.otlp_access import CollectorAccess

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from routoo.config.sections.observability import TracingSettings
    from routoo.routing.decision import BatchDecision, Decision, Timing
    from routoo.routing.outcome import OutcomeReport

Interceptor = Any  # grpc.aio.ServerInterceptor; the stubs' generic does not fit raw bytes
# Health checks, reflection and Envoy's streams are not traced as calls. A decision within one of
# those streams is added to the trace of its HTTP request.
_TRACED_SERVICE = "routoo.v1.RouterService"
_NEEDED = (
    "opentelemetry.sdk.trace",
    "opentelemetry.instrumentation.grpc",
)
_log = structlog.get_logger("routoo.tracing")


def check_installed(settings: TracingSettings) -> None:
    """Refuses traces that are enabled and cannot be made.

    Raises:
        ConfigError: the extra ``otel`` is missing, or headers or certificates for the collector
            are wrong; one line.
    """
    if settings.enabled and not all(map(_is_there, _NEEDED)):
        raise ConfigError(
            "tracing.enabled needs OpenTelemetry: install routoo[otel], or set it to false"
        )
    if settings.enabled:
        CollectorAccess.of(settings)


def open_tracing(settings: TracingSettings, registry: CollectorRegistry) -> Tracing | None:
    """Opens the traces that the settings enable.

    Args:
        settings: section ``tracing``.
        registry: the registry for the metric of sent spans.

    Returns:
        None where traces are not enabled.

    Raises:
        ConfigError: see ``check_installed``.
    """
    if not settings.enabled:
        return None
    check_installed(settings)
    # The extra may be missing, and a service without traces does not wait for these imports.
    from opentelemetry.instrumentation.grpc import (  # noqa: PLC0415
        aio_server_interceptor,
        filters,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
        ParentBased,
        TraceIdRatioBased,
    )

    from routoo.telemetry.otlp import OtlpExporter  # noqa: PLC0415
    from routoo.telemetry.otlp_transport import open_transport  # noqa: PLC0415

    _log_as_json()
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=Resource.create({"service.name": "routoo", "service.version": __version__}),
        # The instrumentation records the texts of exceptions, which may quote a request.
        span_limits=SpanLimits(max_event_attributes=0),
        shutdown_on_exit=False,
    )
    transport = open_transport(settings, CollectorAccess.of(settings))
    exporter = OtlpExporter(transport, settings.url, registry)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    traced: Any = filters.service_name(_TRACED_SERVICE)
    make_interceptor: Callable[..., Interceptor] = aio_server_interceptor
    return Tracing(provider, make_interceptor(provider, traced))


class Tracing:
    """Adds decisions to the spans of calls. Called on the event loop, within a call.

    Args:
        provider: makes spans and sends them.
        interceptor: makes, in the server, a span for each call in the caller's trace.
    """

    def __init__(self, provider: Any, interceptor: Interceptor) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - of the extra
        from opentelemetry.propagate import extract  # noqa: PLC0415

        self.interceptor = interceptor
        self._extract = extract
        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("routoo", __version__)

    def decided(self, decision: Decision, *, within_stream: bool = False) -> None:
        """Adds one decision to the call's span; within a stream, to a span of its own."""
        span = self._trace.get_current_span()
        if not span.is_recording():
            return
        if within_stream:
            self._decision_span(decision, None)
        else:
            span.set_attributes(_attributes(decision))
            self._phases(decision.batch.accepted_ns[decision.row], decision.batch.timing)

    def decided_over_http(self, decision: Decision, traceparent: str) -> None:
        """Adds one decision to the trace of the HTTP request that it was made for.

        Args:
            decision: the decision.
            traceparent: the request's header of that name; empty or invalid: the decision gets a
                trace of its own.
        """
        self._decision_span(decision, self._extract({"traceparent": traceparent}))

    def _decision_span(self, decision: Decision, context: Any) -> None:
        clock, batch = _Clock.now(), decision.batch
        accepted_ns = batch.accepted_ns[decision.row]
        span = self._tracer.start_span(
            "decision", context=context, start_time=clock.unix_ns(accepted_ns)
        )
        if span.is_recording():
            span.set_attributes(_attributes(decision))
            with self._trace.use_span(span):
                self._phases(accepted_ns, batch.timing)
        span.end(clock.unix_ns(batch.timing.finished_ns))

    def decided_jointly(self, decision: BatchDecision) -> None:
        """Adds a jointly decided batch to the call's span."""
        span = self._trace.get_current_span()
        if not span.is_recording():
            return
        batch = decision.decisions[0].batch
        span.set_attributes(
            {
                "routoo.prompts": len(decision.decisions),
                "routoo.policy": "joint" if batch.decided_jointly else batch.policy_versions[0],
                "routoo.predictor": batch.versions.predictor,
                "routoo.mean_predicted_score": decision.mean_score,
                "routoo.total_predicted_cost_usd": decision.total_cost_usd,
                "routoo.shadow_price": decision.shadow_price,
                "routoo.degraded": batch.degraded,
            }
        )
        self._phases(batch.accepted_ns[0], batch.timing)

    def reported(self, outcome: OutcomeReport) -> None:
        """Adds what a report tells to the call's span, but not the provider's error."""
        span = self._trace.get_current_span()
        if span.is_recording():
            span.set_attributes(reported(outcome))

    def close(self) -> None:
        """Sends the spans that are left, for some seconds at most; not on the event loop."""
        self._provider.shutdown()

    def _phases(self, accepted_ns: int, timing: Timing) -> None:
        """Makes a span for each phase of the batch, and one for the request's wait in the queue."""
        clock = _Clock.now()
        tokenized_ns = timing.started_ns + timing.tokenize_ns
        for name, start_ns, end_ns in (
            ("queue", accepted_ns, timing.started_ns),
            ("tokenize", timing.started_ns, tokenized_ns),
            ("predict", tokenized_ns, tokenized_ns + timing.predict_ns),
            ("select", timing.finished_ns - timing.select_ns, timing.finished_ns),
        ):
            span = self._tracer.start_span(name, start_time=clock.unix_ns(start_ns))
            span.end(clock.unix_ns(end_ns))


def _attributes(decision: Decision) -> dict[str, str | int | float | bool]:
    batch, row = decision.batch, decision.row
    return {
        "routoo.decision_id": decision.decision_id,
        "routoo.model": decision.name,
        "routoo.policy": batch.policy_versions[row],
        "routoo.predictor": batch.versions.predictor,
        "routoo.reason": Reason(batch.reasons[row]).name.lower(),
        "routoo.predicted_score": batch.scores[row],
        "routoo.predicted_cost_usd": batch.costs_usd[row],
        "routoo.shadow_price": batch.shadow_prices[row],
        "routoo.eligible_models": batch.eligible[row],
        "routoo.batch_prompts": len(batch.choices),
        "routoo.degraded": batch.degraded,
        **asked(decision),
    }


@dataclass(frozen=True, slots=True)
class _Clock:
    """Turns times of ``monotonic_ns`` into nanoseconds since 1970."""

    ahead_ns: int

    @classmethod
    def now(cls) -> _Clock:
        return cls(time_ns() - monotonic_ns())

    def unix_ns(self, at_ns: int) -> int:
        return at_ns + self.ahead_ns


class _ToStructlog(logging.Handler):
    """Logs OpenTelemetry's own warnings, e.g. of a full queue, as lines of the service's log."""

    def emit(self, record: logging.LogRecord) -> None:
        _log.warning("tracing", detail=record.getMessage())


def _log_as_json() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _ToStructlog) for handler in logger.handlers):
        logger.addHandler(_ToStructlog(logging.WARNING))
    logger.propagate = False


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
