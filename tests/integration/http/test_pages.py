"""Health, metrics, and the description of the API, which replies have to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

METRICS = {"enabled": True, "listen": "127.0.0.1:0"}


async def test_health_is_what_grpc_tells(fronts: Fronts) -> None:
    async with fronts() as front:
        alive, ready = (await front.client.get("/healthz"), await front.client.get("/readyz"))
        assert (alive.status_code, alive.json()) == (200, {"status": "ALIVE"})
        assert (ready.status_code, ready.json()) == (200, {"status": "SERVING"})
        await front.running.service._health.servicer.enter_graceful_shutdown()
        ready = await front.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "NOT_SERVING"})
        assert (await front.client.get("/healthz")).status_code == 200


async def test_metrics_are_shown_where_they_are_enabled(fronts: Fronts) -> None:
    async with fronts() as front:
        assert (await front.client.get("/metrics")).status_code == 404
    async with fronts(metrics=METRICS) as front:
        page = await front.client.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "routoo_build_info" in page.text


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if "$ref" in value else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def schema_at(api: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    reply = api["paths"][path][method]["responses"]["200"]
    schema: dict[str, Any] = reply["content"]["application/json"]["schema"]
    return {**schema, "components": api["components"]}


async def test_every_reply_keeps_to_the_description(fronts: Fronts) -> None:
    budget = {"name": "all", "usd": 9e6, "per": "30d"}
    async with fronts(budgets=[budget]) as front:
        api = (await front.client.get("/openapi.json")).json()
        one = {"prompt": "hard", "explain": True}
        decided = (await front.post("/v1/route", one)).json()
        report = {"decision_id": decided["decision_id"]}
        bodies: dict[str, Any] = {
            "/v1/route": one,
            "/v1/route/batch": {"requests": [one], "budget_usd": 1},
            "/v1/frontier": {"requests": [one]},
            "/v1/escalate": report,
            "/v1/outcomes": [report],
        }
        for path, body in bodies.items():
            reply = await front.post(path, body)
            assert reply.status_code == 200, reply.text
            jsonschema.validate(reply.json(), schema_at(api, path, "post"))
            content = api["paths"][path]["post"]["requestBody"]["content"]
            asked = {**content["application/json"]["schema"], "components": api["components"]}
            jsonschema.validate(body, asked)
            problem = (await front.post(path, {"no": 1})).json()
            jsonschema.validate(problem, api["components"]["schemas"]["Problem"])
        for path in ("/v1/pool", "/v1/budgets", "/v1/info"):
            reply = await front.client.get(path)
            jsonschema.validate(reply.json(), schema_at(api, path, "get"))
        known = {f"#/components/schemas/{name}" for name in api["components"]["schemas"]}
        assert references(api) <= known
    assert api["openapi"] == "3.1.0"
    limit = api["components"]["schemas"]["RouteRequest"]["properties"]["max_latency_ms"]
    assert limit == {"type": "number", "format": "double", "description": limit["description"]}


async def test_the_page_needs_nothing_from_elsewhere(fronts: Fronts) -> None:
    async with fronts() as front:
        page = await front.client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'; script-src 'sha256-" in page.headers["content-security-policy"]
        assert "://" not in page.text


@pytest.mark.parametrize("path", ["/v1/pool?points=5", "/v1/pool?curve_points=1", "/v1/pool?x"])
async def test_a_wrong_query_is_refused(fronts: Fronts, path: str) -> None:
    async with fronts() as front:
        reply = await front.client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_ARGUMENT")
        twice = await front.client.get("/v1/budgets?tenant=a&tenant=b")
        assert "stands twice" in twice.json()["detail"]
