"""The RPCs over HTTP: the same answers, refusals and remedies as over gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from routoo.v1 import budget_pb2, info_pb2, outcome_pb2, route_pb2
from support.peers.otlp_collector import attributes, otlp_collector
from support.tiny_service import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

BUDGET = {"name": "all", "usd": 9e6, "per": "30d"}
# What differs between two calls that are the same.
OF_ONE_CALL = ("decision_id", "timing")


def without(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name not in OF_ONE_CALL}


def as_json(message: Any) -> dict[str, Any]:
    said: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return said


async def test_a_route_is_the_one_that_grpc_gives(fronts: Fronts) -> None:
    async with fronts() as front:
        over_grpc = await front.running.route("hard", explain=True, max_cost_usd=1.0)
        body = {"prompt": "hard", "explain": True, "maxCostUsd": 1.0}
        response = await front.post("/v1/route", body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert without(response.json()) == without(as_json(over_grpc))
    assert response.json()["timing"]["total_ns"].isdigit()


async def test_a_chat_may_be_cut_within_a_character(fronts: Fronts) -> None:
    body = '\ufeff{"messages": [{"role": "user", "content": "easy \\ud83d"}]}'
    async with fronts() as front:
        response = await front.client.post("/v1/route", content=body.encode())
    assert response.json()["model"]


async def test_a_batch_is_decided_jointly(fronts: Fronts) -> None:
    prompts = ["easy", "hard"] * 300
    async with fronts() as front:
        over_grpc = await front.running.batch(prompts, min_mean_score=0.5)
        requests = [{"prompt": prompt} for prompt in prompts]
        response = await front.post(
            "/v1/route/batch", {"requests": requests, "min_mean_score": 0.5}
        )
    said = response.json()
    assert [one["model"] for one in said["responses"]] == [one.model for one in over_grpc.responses]
    assert said["total_predicted_cost_usd"] == over_grpc.total_predicted_cost_usd
    assert said["timing"]["batch_size"] == 600
    assert set(said) == set(as_json(over_grpc))


async def test_a_frontier_is_told(fronts: Fronts) -> None:
    async with fronts() as front:
        body = {"requests": [{"prompt": "easy"}, {"prompt": "hard"}]}
        said = (await front.post("/v1/frontier", body)).json()
    assert len(said["mean_score"]) == len(said["total_cost_usd"]) > 1


async def test_outcomes_are_booked_one_by_one_or_as_a_list(fronts: Fronts) -> None:
    async with fronts(budgets=[BUDGET]) as front:
        ids = [(await front.post("/v1/route", {"prompt": "easy"})).json()["decision_id"]] * 2
        one = await front.post("/v1/outcomes", {"decision_id": ids[0], "cost_usd": 0.001})
        assert one.json() == {"accepted": True, "result": "REPORT_RESULT_BOOKED"}
        more = await front.post("/v1/outcomes", [{"decisionId": one} for one in [*ids, "none-1"]])
        assert [one["result"] for one in more.json()] == [
            "REPORT_RESULT_REPORTED_BEFORE",
            "REPORT_RESULT_REPORTED_BEFORE",
            "REPORT_RESULT_COST_NEEDED",
        ]
        (budget,) = (await front.client.get("/v1/budgets")).json()["budgets"]
        assert budget["settled_usd"] == 0.001
        assert budget["granted_requests"] == "1"


async def test_of_a_list_with_a_wrong_report_nothing_is_booked(fronts: Fronts) -> None:
    async with fronts(budgets=[BUDGET]) as front:
        decided = (await front.post("/v1/route", {"prompt": "easy"})).json()["decision_id"]
        reports = [{"decision_id": decided, "cost_usd": 1}, {"decision_id": decided, "score": 2}]
        refused = await front.post("/v1/outcomes", reports)
        assert (refused.status_code, refused.json()["field"]) == (400, "[1].score")
        one = await front.post("/v1/outcomes", reports[0])
        assert one.json()["result"] == "REPORT_RESULT_BOOKED"


async def test_an_escalation_keeps_or_names_the_next(fronts: Fronts) -> None:
    async with fronts() as front:
        decided = (await front.post("/v1/route", {"prompt": "hard"})).json()["decision_id"]
        over_grpc = await front.running.stub.Escalate(
            outcome_pb2.EscalateRequest(decision_id=decided)
        )
        response = await front.post("/v1/escalate", {"decision_id": decided})
        assert response.json()["kept_score"] == over_grpc.kept_score
        unknown = await front.post("/v1/escalate", {"decision_id": "none-1"})
    assert unknown.status_code == 404


async def test_what_the_service_tells_of_itself(fronts: Fronts) -> None:
    async with fronts(budgets=[{**BUDGET, "tenant": "team-a"}]) as front:
        stub = front.running.stub
        models = await stub.ListModels(info_pb2.ListModelsRequest(curve_points=5))
        pool = await front.client.get("/v1/pool", params={"curve_points": 5})
        assert pool.json() == as_json(models)
        info = (await front.client.get("/v1/info")).json()
        over_grpc = as_json(await stub.GetInfo(info_pb2.GetInfoRequest()))
        assert set(info) == set(over_grpc)
        assert info["predictor_version"] == over_grpc["predictor_version"]
        budgets = await front.client.get("/v1/budgets?tenant=team-a")
        told = await stub.GetBudget(budget_pb2.GetBudgetRequest(tenant="team-a"))
        assert len(budgets.json()["budgets"]) == len(told.budgets) == 1


@pytest.mark.parametrize(
    ("request_fields", "status"),
    [
        ({"prompt": ""}, 400),
        ({"prompt": "x", "min_score": 1.5}, 400),
        ({"prompt": "x", "policy": "none"}, 400),
        ({"prompt": "x", "max_cost_usd": 0}, 400),
        ({"prompt": "x", "allowed_models": ["none"]}, 400),
        ({"prompt": "x" * 1_000_001}, 400),
    ],
)
async def test_a_refusal_has_the_remedy_that_grpc_tells(
    fronts: Fronts, request_fields: dict[str, Any], status: int
) -> None:
    async with fronts() as front:
        call = front.running.stub.Route(route_pb2.RouteRequest(**request_fields))
        code, line = await refusal(call)
        response = await front.post("/v1/route", request_fields)
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["detail"]) == (code.name, line)
    assert problem["type"] == "about:blank"
    assert problem["title"] == "Bad Request"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[]", "the body: has to be a JSON object"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"prompt": 5}', "prompt: has to be a text"),
        (b'{"promt": "x"}', "promt: there is no such field"),
        (b'{"a\\nb": 1}', "a b: there is no such field"),
        (b'{"max_cost_usd": 1e999, "prompt": "x"}', "the body is not JSON"),
        (b'{"max_cost_usd": -1, "prompt": "x"}', "max_cost_usd: -1.0 is not a finite number"),
    ],
)
async def test_a_body_that_is_no_request_is_told_what_is_wrong(
    fronts: Fronts, body: bytes, said: str
) -> None:
    async with fronts() as front:
        response = await front.client.post("/v1/route", content=body)
        assert (await front.post("/v1/route", {"prompt": "easy"})).status_code == 200
    assert response.status_code == 400
    assert response.json()["detail"].startswith(said)
    assert "\n" not in response.json()["detail"]


async def test_a_batch_names_the_prompt_that_is_wrong(fronts: Fronts) -> None:
    async with fronts() as front:
        body = {"requests": [{"prompt": "x"}, {"prompt": "y", "min_score": 7}]}
        response = await front.post("/v1/route/batch", body)
        none = await front.post("/v1/route/batch", {})
    assert response.json()["field"] == "requests[1].min_score"
    assert none.json()["field"] == "requests"


async def test_the_deadline_is_a_header(fronts: Fronts) -> None:
    async with fronts() as front:
        fine = await front.post("/v1/route", {"prompt": "x"}, x_request_timeout_ms="60000")
        assert fine.status_code == 200
        for wrong in ("0", "-1", "soon", "1.5", "1" * 12):
            refused = await front.post("/v1/route", {"prompt": "x"}, x_request_timeout_ms=wrong)
            assert refused.json()["field"] == "x-request-timeout-ms"


async def test_calls_of_both_ways_are_counted_together(fronts: Fronts) -> None:
    metrics = {"enabled": True, "listen": "127.0.0.1:0"}
    async with fronts(metrics=metrics) as front:
        await front.running.route("easy")
        await front.post("/v1/route", {"prompt": "easy"})
        await front.post("/v1/route", {"prompt": ""})
        page = (await front.client.get("/metrics")).text
    assert 'routoo_requests_total{code="OK",rpc="Route"} 2.0' in page
    assert 'routoo_requests_total{code="INVALID_ARGUMENT",rpc="Route"} 1.0' in page


async def test_a_large_batch_waits_for_memory_that_is_not_there(fronts: Fronts) -> None:
    limits = {"max_in_flight_bytes": 2 * 1024 * 1024, "max_message_bytes": 1024 * 1024}
    async with fronts(limits=limits) as front:
        body = b'{"requests": [' + b"{}," * 100_000 + b'{"prompt": "x"}]}'
        response = await front.client.post("/v1/route/batch", content=body)
        assert response.status_code == 413
        assert "limits.max_in_flight_bytes" in response.json()["detail"]
        assert json.loads((await front.post("/v1/route", {"prompt": "easy"})).text)["model"]
        assert front.running.service._calls.in_flight.held_bytes == 0


async def test_a_decision_joins_the_trace_of_its_caller(fronts: Fronts) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with otlp_collector() as collector:
        tracing = {"enabled": True, "endpoint": collector.endpoint, "sample_ratio": 0.0}
        async with fronts(tracing=tracing) as front:
            await front.post("/v1/route", {"prompt": "easy"})
            traceparent = f"00-{trace}-b7ad6b7169203331-01"
            reply = await front.post("/v1/route", {"prompt": "easy"}, traceparent=traceparent)
    (decision,) = collector.named("decision")
    assert decision.trace_id.hex() == trace
    assert attributes(decision)["routoo.decision_id"] == reply.json()["decision_id"]
