"""The service sends traces of calls to a real collector, in the caller's trace, without prompts."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.config.sections.observability import DecisionLogSettings, TracingSettings
from routoo.errors import ConfigError
from routoo.server.assembly import check
from routoo.telemetry import tracing
from routoo.telemetry.telemetry import Telemetry
from routoo.v1 import outcome_pb2, route_pb2
from support.peers.otlp_collector import Collector, attributes, otlp_collector
from support.processor_stream import chat_body, stream
from support.tiny_service import ROUTE, batch_of, refusal, serving, tiny_settings
from support.watched import HANG_S, watch_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CANARY = "hard canary-5f1e"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PHASES = ("queue", "tokenize", "predict", "select")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with otlp_collector() as one:
        yield one


def settings(folder: Path, collector: Collector, sample_ratio: float = 1.0) -> Any:
    section = {"enabled": True, "endpoint": collector.endpoint, "sample_ratio": sample_ratio}
    return tiny_settings(folder, tracing=section)


def traceparent(*, sampled: bool) -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{TRACE}-{PARENT}-0{int(sampled)}"),)


async def test_a_call_is_a_span_with_its_decision_and_its_phases(
    tmp_path: Path, collector: Collector
) -> None:
    async with serving(settings(tmp_path, collector)) as running:
        reply = await running.route(CANARY)
    (call,) = collector.named(ROUTE)
    found = attributes(call)
    assert found["rpc.grpc.status_code"] == 0
    assert found["routoo.model"] == reply.model
    assert found["routoo.decision_id"] == reply.decision_id
    assert found["routoo.policy"] == reply.policy_version
    assert found["routoo.predicted_cost_usd"] == reply.predicted_cost_usd
    assert found["routoo.reason"] in {"price", "best_score"}
    phases = [collector.named(name)[0] for name in PHASES]
    assert {phase.parent_span_id for phase in phases} == {call.span_id}
    for phase, spent_ns in zip(
        phases[1:],
        (reply.timing.tokenize_ns, reply.timing.predict_ns, reply.timing.select_ns),
        strict=True,
    ):
        assert phase.end_time_unix_nano - phase.start_time_unix_nano == spent_ns
    assert call.start_time_unix_nano <= phases[0].start_time_unix_nano
    assert phases[-1].end_time_unix_nano <= call.end_time_unix_nano
    (resource,) = collector.resources
    assert attributes(resource)["service.name"] == "routoo"


async def test_spans_follow_the_conventions_for_generative_ai(
    tmp_path: Path, collector: Collector
) -> None:
    async with serving(settings(tmp_path, collector)) as running:
        reply = await running.route(CANARY, max_output_tokens=77)
        report = outcome_pb2.ReportOutcomeRequest(
            decision_id=reply.decision_id, input_tokens=10, output_tokens=20
        )
        await running.stub.ReportOutcome(report)
    found = attributes(collector.named(ROUTE)[0])
    assert found["gen_ai.operation.name"] == "route"
    assert found["gen_ai.request.model"] == reply.model
    assert found["gen_ai.request.max_tokens"] == 77
    told = attributes(collector.named(f"{ROUTE.removesuffix('Route')}ReportOutcome")[0])
    assert told["routoo.decision_id"] == reply.decision_id
    assert told["gen_ai.usage.input_tokens"] == 10
    assert told["gen_ai.usage.output_tokens"] == 20


async def test_headers_of_file_and_environment_go_to_the_collector(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b,X-Api-Key=old")
    (tmp_path / "headers").write_text("# the key of the collector\nX-Api-Key: s3cret\n\n")
    section = {
        "enabled": True,
        "endpoint": collector.endpoint,
        "sample_ratio": 1.0,
        "headers_file": tmp_path / "headers",
    }
    async with serving(tiny_settings(tmp_path, tracing=section)) as running:
        await running.route("easy")
        assert "s3cret" not in str(running.logs)
    assert collector.headers[0]["x-api-key"] == "s3cret"
    assert collector.headers[0]["x-team"] == "a b"


@pytest.mark.parametrize(
    "line",
    [
        *("s3cret", "x-key s3cret", ": s3cret", "x key: s3cret", "x-bin: s3cret"),
        *("grpc-x: s3cret", "x-key: s3cret\u00e9", "x-key: s3cret\x07"),
    ],
)
def test_a_malformed_header_is_refused_without_its_value(tmp_path: Path, line: str) -> None:
    (tmp_path / "headers").write_text(f"x-good: 1\n{line}\n", encoding="utf-8")
    section = {"enabled": True, "headers_file": tmp_path / "headers"}
    with pytest.raises(ConfigError, match="header 2 is malformed") as refused:
        check(tiny_settings(tmp_path, tracing=section))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("name", ["headers_file", "ca"])
def test_a_missing_file_for_the_collector_is_named(tmp_path: Path, name: str) -> None:
    section = {"enabled": True, "endpoint": "https://127.0.0.1:4317", name: tmp_path / "none"}
    with pytest.raises(ConfigError, match=f"tracing.{name}: .*none cannot be read"):
        check(tiny_settings(tmp_path, tracing=section))


def test_a_certificate_for_a_collector_without_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca is set and endpoint is not https"):
        tiny_settings(tmp_path, tracing={"ca": tmp_path / "ca.pem"})


async def test_a_caller_s_trace_goes_on(tmp_path: Path, collector: Collector) -> None:
    async with serving(settings(tmp_path, collector, sample_ratio=0.0)) as running:
        request = route_pb2.RouteRequest(prompt="hard")
        await running.stub.Route(request, metadata=traceparent(sampled=True))
        await running.stub.Route(request, metadata=traceparent(sampled=False))
        await running.stub.Route(request)
    (call,) = collector.named(ROUTE)
    assert call.trace_id.hex() == TRACE
    assert call.parent_span_id.hex() == PARENT


async def test_streams_batches_and_reports_are_traced(tmp_path: Path, collector: Collector) -> None:
    async def requests() -> AsyncIterator[route_pb2.RouteRequest]:
        for prompt in ("easy", "hard", ""):
            yield route_pb2.RouteRequest(prompt=prompt)

    async with serving(settings(tmp_path, collector)) as running:
        replies = [reply async for reply in running.stub.RouteStream(requests())]
        await running.stub.RouteBatch(batch_of(["easy", "hard"], budget_usd=1.0))
        ids = {reply.decision_id for reply in replies if reply.decision_id}
        report = outcome_pb2.ReportOutcomeRequest(decision_id=min(ids), score=1.0)
        await running.stub.ReportOutcome(report)
    service = ROUTE.removesuffix("Route")
    (streamed,) = collector.named(f"{service}RouteStream")
    decisions = collector.named("decision")
    assert {span.parent_span_id for span in decisions} == {streamed.span_id}
    assert {attributes(span)["routoo.decision_id"] for span in decisions} == ids
    (batch,) = collector.named(f"{service}RouteBatch")
    assert attributes(batch)["routoo.prompts"] == 2
    assert attributes(batch)["routoo.policy"] == "joint"
    assert collector.named(f"{service}ReportOutcome")


async def test_what_is_decided_for_envoy_is_in_the_http_request_s_trace(
    tmp_path: Path, collector: Collector
) -> None:
    traced = settings(tmp_path, collector, sample_ratio=0.0).tracing.model_dump()
    async with (
        serving(tiny_settings(tmp_path, processor={"enabled": True}, tracing=traced)) as running,
        stream(running.channel) as http,
    ):
        reply = await http.routed(chat_body(CANARY), dict(traceparent(sampled=True)))
    (decision,) = collector.named("decision")
    assert decision.trace_id.hex() == TRACE
    assert decision.parent_span_id.hex() == PARENT
    assert attributes(decision)["routoo.model"].encode() in reply.SerializeToString()
    assert {span.parent_span_id for name in PHASES for span in collector.named(name)} == {
        decision.span_id
    }
    assert "canary" not in str(collector.spans)


async def test_no_span_holds_a_prompt_or_an_error_s_text(
    tmp_path: Path, collector: Collector
) -> None:
    async with serving(settings(tmp_path, collector)) as running:
        await running.route(CANARY)
        assert (await refusal(running.route(CANARY, min_score=1.0)))[0].name == (
            "FAILED_PRECONDITION"
        )
        watch_predictor(running.service.engine).fail.append(KeyError(CANARY))
        assert (await refusal(running.route(CANARY)))[0] is grpc.StatusCode.INTERNAL
    spans = collector.named(ROUTE)
    codes = {attributes(span)["rpc.grpc.status_code"] for span in spans}
    assert codes == {0, grpc.StatusCode.FAILED_PRECONDITION.value[0], 13}
    assert "canary" not in str(collector.spans)


async def test_a_stream_that_its_caller_leaves_ends_its_span(
    tmp_path: Path, collector: Collector
) -> None:
    async with serving(settings(tmp_path, collector)) as running:
        open_stream = running.stub.RouteStream()
        await open_stream.write(route_pb2.RouteRequest(prompt="hard"))
        await open_stream.read()
        open_stream.cancel()
        # After one more call the service has seen the cancellation, before it drains.
        await running.route()
    assert len(collector.named(f"{ROUTE}Stream")) == 1
    assert not [line for line in running.logs if line["event"] == "tracing"]


async def test_health_checks_are_not_traced(tmp_path: Path, collector: Collector) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with serving(settings(tmp_path, collector)) as running:
        await health_pb2_grpc.HealthStub(running.channel).Check(health_pb2.HealthCheckRequest())
    assert collector.spans == []


async def test_a_collector_that_is_away_is_said_and_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and nothing listens
        taken.bind(("127.0.0.1", 0))
        away = {"enabled": True, "endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        section = {**away, "sample_ratio": 1.0}
        async with asyncio.timeout(HANG_S):
            async with serving(tiny_settings(tmp_path, tracing=section)) as running:
                assert (await running.route("easy")).model == "small"
    assert [
        line["code"] for line in running.logs if line["event"] == "trace collector is away"
    ] == ["UNAVAILABLE"]
    lost = running.service.metrics.registry.get_sample_value(
        "routoo_trace_spans_total", {"result": "lost"}
    )
    assert lost == 1 + len(PHASES)


def test_without_traces_the_server_has_no_interceptor() -> None:
    assert Telemetry.open(DecisionLogSettings(), TracingSettings()).interceptors == []


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_NEEDED", ("opentelemetry_that_is_not_there.sdk",))
    asked_for = tiny_settings(tmp_path, tracing={"enabled": True})
    with pytest.raises(ConfigError, match=r"needs OpenTelemetry: install routoo\[otel\], or"):
        check(asked_for)
    with pytest.raises(ConfigError, match=r"needs OpenTelemetry"):
        Telemetry.open(DecisionLogSettings(), asked_for.tracing)
