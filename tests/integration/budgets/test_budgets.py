"""Budgets are kept, and outcomes reported, through a real channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import generate_latest

from routoo.v1 import budget_pb2, info_pb2, outcome_pb2, route_pb2
from support.tiny_service import Running, batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

SMALL_USD = 0.0000401
SPENT = grpc.StatusCode.RESOURCE_EXHAUSTED


def budgeted(folder: Path, *budgets: dict[str, Any], **sections: Any) -> Any:
    return tiny_settings(folder, budgets=[{"per": "365d", **one} for one in budgets], **sections)


async def budgets_of(service: Running, tenant: str = "") -> list[budget_pb2.Budget]:
    reply = await service.stub.GetBudget(budget_pb2.GetBudgetRequest(tenant=tenant))
    return list(reply.budgets)


async def report(service: Running, decision_id: str, **fields: Any) -> bool:
    request = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **fields)
    reply: outcome_pb2.ReportOutcomeResponse = await service.stub.ReportOutcome(request)
    return reply.accepted


async def test_a_refusal_for_want_of_redis_does_not_tell_of_spent_money(tmp_path: Path) -> None:
    nobody = {"backend": "redis", "redis_url": "redis://127.0.0.1:1/0"}
    async with serving(budgeted(tmp_path, {"name": "all", "usd": 1.0}, ledger=nobody)) as service:
        for call in (service.route("hard"), service.batch(["hard"])):
            code, text = await refusal(call)
            assert code is SPENT
            assert "this replica's lease" in text
            assert "Redis is away" in text
            assert "try again later" in text


async def test_a_budget_is_spent_settled_and_shown(tmp_path: Path) -> None:
    settings = budgeted(tmp_path, {"name": "all", "usd": 1.5 * SMALL_USD})
    async with serving(settings) as service:
        first = await service.route("hard")
        assert (first.model, first.reason.rule) == ("small", route_pb2.RULE_CHEAPEST)
        assert list(first.reason.binding_constraints) == ["budget:all"]
        code, text = await refusal(service.route("hard"))
        assert code is SPENT
        assert text.startswith("budget all ($6.015e-05 in 31536000 s) has not enough left; the nex")
        assert (await refusal(service.batch(["hard"])))[0] is SPENT

        (budget,) = await budgets_of(service)
        assert budget.reserved_usd == pytest.approx(SMALL_USD)
        assert (budget.name, budget.granted_requests, budget.degraded) == ("all", 1, False)
        assert await report(service, first.decision_id, cost_usd=0.0, score=1.0)
        assert not await report(service, first.decision_id, cost_usd=0.0)
        (budget,) = await budgets_of(service)
        assert (budget.reserved_usd, budget.settled_usd) == (0.0, 0.0)
        assert (await service.route("hard")).model == "small"

        text = generate_latest(service.service.metrics.registry).decode()
        for line in (
            'routoo_budget_limit_usd{budget="all",tenant=""} 6.015e-05',
            'routoo_budget_degraded{budget="all",tenant=""} 0.0',
            "routoo_budget_refused_requests_total 1.0",
            'routoo_outcomes_total{result="accepted"} 1.0',
        ):
            assert line in text.splitlines()


async def test_tenants_have_budgets_of_their_own(tmp_path: Path) -> None:
    settings = budgeted(
        tmp_path,
        {"name": "all", "usd": 1.0},
        {"name": "a", "tenant": "a", "usd": 0.1 * SMALL_USD, "on_exhausted": "cheapest"},
        {"name": "b", "tenant": "b", "usd": 0.1 * SMALL_USD},
    )
    async with serving(settings) as service:
        assert (await service.route("hard", tenant="c")).model == "large"
        assert (await service.route("hard", tenant="a")).model == "small"
        assert (await refusal(service.route("hard", tenant="b")))[0] is SPENT
        assert [one.name for one in await budgets_of(service, "b")] == ["all", "b"]
        found = {one.name: one for one in await budgets_of(service)}
        assert found["a"].overdraft_usd == pytest.approx(SMALL_USD)
        assert found["a"].reserved_usd == 0.0


async def test_a_stream_goes_on_after_a_refused_request(tmp_path: Path) -> None:
    settings = budgeted(tmp_path, {"name": "b", "tenant": "b", "usd": 0.1 * SMALL_USD})
    async with serving(settings) as service:
        requests = [
            route_pb2.RouteRequest(request_id=tenant, prompt="hard", tenant=tenant)
            for tenant in ("b", "c")
        ]
        replies = {one.request_id: one async for one in service.stub.RouteStream(requests)}
        assert replies["b"].error.code == SPENT.value[0]
        assert replies["c"].model == "large"


async def test_a_tenant_without_a_budget_where_one_is_needed(tmp_path: Path) -> None:
    settings = budgeted(
        tmp_path, {"name": "a", "tenant": "a", "usd": 1.0}, ledger={"unbudgeted": "refuse"}
    )
    async with serving(settings) as service:
        assert (await service.route("hard", tenant="a")).model
        denied = (
            grpc.StatusCode.PERMISSION_DENIED,
            "tenant 'z' has no budget; give it one in budgets, or set ledger.unbudgeted to allow",
        )
        assert await refusal(service.route("hard", tenant="z")) == denied


async def test_policies_by_name_and_a_shadow(tmp_path: Path) -> None:
    policy = {
        "name": "threshold",
        "threshold": {"strong": "large", "weak": "small", "threshold": 0.5},
        "offered": ["lp", "round_robin"],
        "shadow": "best",
    }
    async with serving(tiny_settings(tmp_path, policy=policy)) as service:
        hard = await service.route("hard")
        assert (hard.model, hard.reason.rule) == ("large", route_pb2.RULE_THRESHOLD)
        assert hard.policy_version.startswith("threshold-")
        denied = await service.route("hard", denied_models=["large"])
        assert (denied.model, denied.reason.rule) == ("small", route_pb2.RULE_FALLBACK)
        by_price = await service.route("hard", policy="lp")
        assert by_price.policy_version == hard.policy_version.replace("threshold", "lp")
        turns = [(await service.route("easy", policy="round_robin")).model for _ in range(3)]
        assert sorted(turns) == ["large", "medium", "small"]
        info = await service.stub.GetInfo(info_pb2.GetInfoRequest())
        assert list(info.policies) == ["threshold", "lp", "round_robin"]
        assert (info.shadow.policy, info.shadow.decisions, info.shadow.disagreements) == (
            "best",
            2,
            1,
        )
        assert info.shadow.shadow_mean_score == pytest.approx((0.875 + 0.5) / 2)
        code, text = await refusal(service.stub.RouteBatch(batch_of(["hard"], budget_usd=-1.0)))
        assert (code, text[:11]) == (grpc.StatusCode.INVALID_ARGUMENT, "budget_usd:")
