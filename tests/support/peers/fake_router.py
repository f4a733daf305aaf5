"""A small router with the real API and fixed figures, for tests that compare output."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from routoo.v1 import (
    batch_pb2,
    budget_pb2,
    health_pb2,
    info_pb2,
    outcome_pb2,
    route_pb2,
    router_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

# name, score, cost in US dollars, latency in ms, output tokens
POOL = (
    ("small/tiny-3B", 0.42, 0.000012, 350.0, 120.0),
    ("meta-llama/Meta-Llama-3.1-70B-Instruct", 0.71, 0.00018, 1900.0, 240.0),
    ("gpt-4o", 0.78, 0.0042, 2400.0, 310.0),
)
PRICE = 40.0
FRONTIER_USD = [0.001 * (1 + at) for at in range(20)]


class FakeRouter(router_pb2_grpc.RouterServiceServicer):
    """Routes by fixed figures; some prompts name a failure that they cause."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: list[Message] = []
        self.is_hanging = threading.Event()
        self.corrected: tuple[str, float, int] | None = None  # a model, its factor and reports
        self.times: dict[str, info_pb2.LearnedTimes] = {}  # by model
        self.prices: info_pb2.Prices | None = None  # of every model
        self.health: dict[str, health_pb2.UnitHealth] = {}  # by model

    def Route(  # noqa: N802 - the RPC's name
        self, request: route_pb2.RouteRequest, context: grpc.ServicerContext
    ) -> route_pb2.RouteResponse:
        self.requests.append(request)
        match request.prompt:
            case "hang":
                cancelled = threading.Event()
                under_way = context.add_callback(cancelled.set)
                self.is_hanging.set()
                if under_way:  # of a call that has ended, nothing calls back
                    cancelled.wait(60)
            case "overload":
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full; send later")
            case "stopping":
                context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping")
            case "broken":
                context.abort(grpc.StatusCode.INTERNAL, "internal error; see the log")
        reply = self._decide(request, context, "")
        if request.task:  # a predictor that tells what it knows
            reply.task, reply.task_confidence, reply.ood = request.task, 0.875, 0.25
            reply.score_std, reply.evidence = 0.0625, 1234.0
            reply.published_averages = 12.0
        return reply

    def Escalate(  # noqa: N802
        self,
        request: outcome_pb2.EscalateRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> outcome_pb2.EscalateResponse:
        """Keeps an answer with full agreement, and escalates any other."""
        self.requests.append(request)
        if request.agreement == 1.0:
            return outcome_pb2.EscalateResponse(kept_score=0.9, price=PRICE, reason="good enough")
        name, score, cost_usd, _, _ = POOL[-1]
        return outcome_pb2.EscalateResponse(
            response=route_pb2.RouteResponse(model=name, decision_id="next"),
            kept_score=score - 0.3,
            expected_gain=0.3,
            extra_cost_usd=cost_usd,
            price=PRICE,
            reason="worth it",
        )

    def RouteBatch(  # noqa: N802
        self, request: batch_pb2.RouteBatchRequest, context: grpc.ServicerContext
    ) -> batch_pb2.RouteBatchResponse:
        self.requests.append(request)
        responses = [
            self._decide(one, context, f"requests[{row}]: ")
            for row, one in enumerate(request.requests)
        ]
        total_usd = sum(response.predicted_cost_usd for response in responses)
        mean_score = sum(response.predicted_score for response in responses) / len(responses)
        return batch_pb2.RouteBatchResponse(
            responses=responses,
            total_predicted_cost_usd=total_usd,
            mean_predicted_score=mean_score,
            bound=mean_score,
            gap=0.0,
            shadow_price=PRICE,
            binding_constraints=["budget_usd"] if request.HasField("budget_usd") else [],
            timing=_timing(len(responses)),
        )

    def Frontier(  # noqa: N802
        self, request: batch_pb2.FrontierRequest, context: grpc.ServicerContext
    ) -> batch_pb2.FrontierResponse:
        self.requests.append(request)
        if request.score_std_weight:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "score_std_weight: the predictor in use does not tell score_std",
            )
        return batch_pb2.FrontierResponse(
            total_cost_usd=FRONTIER_USD,
            mean_score=[0.4 + 0.02 * at for at in range(len(FRONTIER_USD))],
            shadow_price=[100.0 / (1 + at) for at in range(len(FRONTIER_USD) - 1)] + [0.0],
            timing=_timing(len(request.requests)),
        )

    def ListModels(  # noqa: N802
        self, request: info_pb2.ListModelsRequest, _context: grpc.ServicerContext
    ) -> info_pb2.ListModelsResponse:
        self.requests.append(request)
        points = [
            info_pb2.CurvePoint(
                mean_cost_usd=0.0001 * (1 + step),
                mean_score=0.5 + 0.05 * step,
                shadow_price=100.0 / (1 + step),
                shares={"small/tiny-3B": 1 - step / 10, "gpt-4o": step / 10},
            )
            for step in range(min(request.curve_points, 6))
        ]
        return info_pb2.ListModelsResponse(
            models=[
                info_pb2.Model(
                    name=name,
                    usd_per_1m_input_tokens=score_,
                    usd_per_1m_output_tokens=2 * score_,
                    context_window_tokens=131072,
                    capabilities=["chat", "tools"],
                    time_to_first_token_ms=latency_ms / 4,
                    time_per_output_token_ms=11.5,
                    mean_predicted_score=score_,
                    mean_predicted_cost_usd=cost_usd,
                    share=share,
                    length_correction=self._correction(name),
                    learned_times=self.times.get(name),
                    p95_latency_ms=2500.0,
                    evidence=0.0,
                    published_averages=30.0,
                    prices=self.prices,
                    health=self.health.get(name),
                )
                for (name, score_, cost_usd, latency_ms, _), share in zip(
                    POOL, (0.0, 0.875, 0.125), strict=True
                )
            ],
            curve=points,
            operating_point=info_pb2.CurvePoint(
                mean_cost_usd=0.00025, mean_score=0.58, shadow_price=PRICE
            ),
        )

    def _correction(self, model: str) -> info_pb2.LearnedFactor | None:
        if self.corrected is None or self.corrected[0] != model:
            return None
        return info_pb2.LearnedFactor(factor=self.corrected[1], reports=self.corrected[2])

    def GetInfo(  # noqa: N802
        self, request: info_pb2.GetInfoRequest, _context: grpc.ServicerContext
    ) -> info_pb2.GetInfoResponse:
        self.requests.append(request)
        return info_pb2.GetInfoResponse(
            version="9.8.7",
            predictor_version="static-1",
            predictor_backend="onnx-cpu",
            policy_version="lp-0123abcd",
            policies=["lp"],
            tasks=["chat", "code"],
            max_mean_cost_usd=0.001,
            shadow_price=0.0,
            max_prompt_tokens=512,
            max_prompt_chars=1_000_000,
            max_batch_prompts=100_000,
            max_queue=4096,
            uptime_s=12.5,
            corrections=info_pb2.Corrections(
                enabled=True, version="0123456789ab", length_reports=1234, latency_reports=1
            ),
            health=health_pb2.Health(
                enabled=True,
                failing=[one for one in self.health.values() if one.state > 1],
            ),
            shadow=info_pb2.Shadow(
                policy="best",
                decisions=200,
                disagreements=25,
                cost_usd=0.5,
                shadow_cost_usd=2.0,
                mean_score=0.625,
                shadow_mean_score=0.75,
            ),
        )

    def ReportOutcome(  # noqa: N802
        self, request: outcome_pb2.ReportOutcomeRequest, _context: grpc.ServicerContext
    ) -> outcome_pb2.ReportOutcomeResponse:
        self.requests.append(request)
        return outcome_pb2.ReportOutcomeResponse(accepted=request.decision_id == "abc-1")

    def GetBudget(  # noqa: N802
        self, request: budget_pb2.GetBudgetRequest, _context: grpc.ServicerContext
    ) -> budget_pb2.GetBudgetResponse:
        self.requests.append(request)
        if request.tenant == "nobody":
            return budget_pb2.GetBudgetResponse()
        return budget_pb2.GetBudgetResponse(
            budgets=[
                budget_pb2.Budget(
                    name="all",
                    limit_usd=50.0,
                    reserved_usd=5.0,
                    settled_usd=20.0,
                    period_s=3600.0,
                    period_left_s=1800.0,
                    shadow_price=PRICE,
                    granted_requests=12_000,
                    reported_usd=18.0,
                    reported_reserved_usd=24.0,
                    unreported_requests=300,
                ),
                budget_pb2.Budget(
                    name="team-a",
                    tenant="a",
                    limit_usd=5.0,
                    settled_usd=5.0,
                    period_s=3600.0,
                    period_left_s=1800.0,
                    overdraft_usd=0.25,
                    degraded=request.tenant == "degraded",
                ),
            ]
        )

    def _decide(
        self, request: route_pb2.RouteRequest, context: grpc.ServicerContext, where: str
    ) -> route_pb2.RouteResponse:
        names = [name for name, *_ in POOL]
        for name in request.allowed_models:
            if name not in names:
                _refuse(context, "INVALID_ARGUMENT", f"{where}allowed_models: no model {name}")
        candidates = [_candidate(figures, request) for figures in POOL]
        candidates.sort(key=lambda c: (not c.eligible, -c.utility))
        best = candidates[0]
        if not best.eligible:
            _refuse(context, "FAILED_PRECONDITION", f"{where}{best.removed_by} leaves no model")
        removed_by = {c.removed_by for c in candidates if c.removed_by}
        return route_pb2.RouteResponse(
            request_id=request.request_id,
            model=best.model,
            decision_id="abc-1",
            predicted_score=best.predicted_score,
            predicted_cost_usd=best.predicted_cost_usd,
            predicted_latency_ms=best.predicted_latency_ms,
            predicted_output_tokens=best.predicted_output_tokens,
            candidates=candidates if request.explain else [],
            reason=route_pb2.Reason(
                rule=route_pb2.RULE_PRICE,
                binding_constraints=sorted(removed_by),
                text="best score for its money [not markup]",
            ),
            shadow_price=PRICE,
            predictor_version="static-1",
            policy_version="lp-0123abcd",
            truncated=len(request.prompt) > 1000,
            degraded=request.tenant == "degraded",
            timing=_timing(1),
            input_tokens=len(request.prompt.split()),
        )


def _candidate(figures: tuple[Any, ...], request: route_pb2.RouteRequest) -> route_pb2.Candidate:
    name, score, cost_usd, latency_ms, output_tokens = figures
    removed_by = ""
    if name in request.denied_models:
        removed_by = "denied_models"
    elif request.allowed_models and name not in request.allowed_models:
        removed_by = "allowed_models"
    elif request.HasField("max_cost_usd") and cost_usd > request.max_cost_usd:
        removed_by = "max_cost_usd"
    return route_pb2.Candidate(
        model=name,
        predicted_score=score,
        predicted_cost_usd=cost_usd,
        predicted_latency_ms=latency_ms,
        predicted_output_tokens=output_tokens,
        utility=score - PRICE * cost_usd,
        eligible=not removed_by,
        removed_by=removed_by,
    )


def _timing(batch_size: int) -> route_pb2.Timing:
    return route_pb2.Timing(
        queue_ns=20_000,
        tokenize_ns=50_000,
        predict_ns=200_000,
        select_ns=30_000,
        total_ns=310_000,
        batch_size=batch_size,
    )


def _refuse(context: grpc.ServicerContext, code: str, message: str) -> NoReturn:
    context.abort(grpc.StatusCode[code], message)
    raise AssertionError  # abort raises


@contextmanager
def fake_router() -> Iterator[FakeRouter]:
    """Starts a router on a free port, and stops it at the end."""
    fake = FakeRouter()
    server = grpc.server(ThreadPoolExecutor(4))
    router_pb2_grpc.add_RouterServiceServicer_to_server(fake, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield fake
    server.stop(10).wait()  # without a grace, gRPC logs the connections that it cuts
