"""A report is accepted where something of it was booked or counted, and the reply says what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.client.aio import AsyncRouterClient
from routoo.client.channel import token_metadata
from routoo.v1 import budget_pb2, outcome_pb2, route_pb2
from support.processes.process import ROUTOO, process
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

TEAM = {"name": "team", "tenant": "team", "usd": 30.0, "per": "30d"}


async def report(running: Running, decision_id: str, **told: Any) -> tuple[bool, str]:
    request = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **told)
    reply = await running.stub.ReportOutcome(request, timeout=HANG_S)
    name = outcome_pb2.ReportResult.Name(reply.result).removeprefix("REPORT_RESULT_")
    return reply.accepted, name


async def settled_usd(running: Running) -> float:
    reply = await running.stub.GetBudget(budget_pb2.GetBudgetRequest(), timeout=HANG_S)
    return sum(one.settled_usd for one in reply.budgets)


def counted(running: Running, result: str) -> float | None:
    sample = running.service.metrics.registry.get_sample_value
    return sample("routoo_outcomes_total", {"result": result})


async def test_what_budgets_book(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, budgets=[TEAM])) as running:
        first = (await running.route(tenant="team")).decision_id
        assert await report(running, first, cost_usd=0.00025) == (True, "BOOKED")
        assert await report(running, first, cost_usd=0.0005) == (False, "REPORTED_BEFORE")
        # Its grade may follow, once, and books nothing.
        assert await report(running, first, score=1.0) == (True, "COUNTED")
        assert await report(running, first, score=1.0) == (False, "REPORTED_BEFORE")
        assert await settled_usd(running) == 0.00025
        # Without a word about the cost, the predicted one is booked.
        second = await running.route(tenant="team")
        assert await report(running, second.decision_id) == (True, "BOOKED")
        booked_usd = await settled_usd(running)
        assert booked_usd == pytest.approx(0.00025 + second.predicted_cost_usd)
        assert await report(running, "nobody-1", cost_usd=0.0005) == (False, "UNKNOWN_DECISION")
        assert await report(running, "nobody-1", score=0.5) == (False, "COST_NEEDED")
        assert await settled_usd(running) == booked_usd
        assert (counted(running, "accepted"), counted(running, "refused")) == (3, 4)


async def test_what_is_counted_where_no_budget_applies(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, budgets=[TEAM])) as running:
        told: list[dict[str, Any]] = [
            {"score": 0.5},
            {"cost_usd": 0.0001},
            {"latency_ms": 5.0},
            {"error": "timed out"},
            {"input_tokens": 5, "output_tokens": 7},
        ]
        for one in told:
            decision_id = (await running.route(tenant="others")).decision_id
            assert await report(running, decision_id) == (False, "NOTHING_TOLD")
            assert await report(running, decision_id, model="large") == (False, "NOTHING_TOLD")
            # It has not been taken for a report, so that one may follow.
            assert await report(running, decision_id, **one) == (True, "COUNTED")
            assert await report(running, decision_id, **one) == (False, "REPORTED_BEFORE")
        assert await settled_usd(running) == 0.0


async def test_what_comes_too_late_for_the_budgets(tmp_path: Path) -> None:
    ledger = {"reservation_ttl_s": 60}
    async with serving(tiny_settings(tmp_path, budgets=[TEAM], ledger=ledger)) as running:
        early, late, later = [await running.route(tenant="team") for _ in range(3)]
        spending = running.service.engine.accounting.spending
        assert spending is not None
        clock = spending.ledger._shared.clock_ns  # type: ignore[attr-defined]
        clock.not_before(clock() + 61 * 10**9)
        assert await report(running, early.decision_id, cost_usd=0.00025) == (True, "BOOKED")
        clock.not_before(clock() + 61 * 10**9)
        booked_usd = await settled_usd(running)
        assert await report(running, late.decision_id, cost_usd=0.0005) == (False, "TOO_LATE")
        late_too = await report(running, later.decision_id, cost_usd=0.0005, score=1.0)
        assert late_too == (True, "COUNTED_TOO_LATE_FOR_BUDGETS")
        assert await settled_usd(running) == booked_usd
        assert booked_usd == pytest.approx(0.00025 + 2 * late.predicted_cost_usd)


async def test_another_tenants_decision_is_as_unknown(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    shown = {}
    for tenant in ("team", "others"):
        text, stored = new_token(tenant, ["route"], 0.0)
        append_token(path, stored)
        shown[tenant] = token_metadata(text, "127.0.0.1:1", None)
    async with serving(tiny_settings(tmp_path, security={"tokens": path})) as running:
        route = route_pb2.RouteRequest(prompt="easy")
        made = await running.stub.Route(route, metadata=shown["team"], timeout=HANG_S)
        request = outcome_pb2.ReportOutcomeRequest(decision_id=made.decision_id, score=0.5)
        for tenant, expected in (
            ("others", outcome_pb2.REPORT_RESULT_UNKNOWN_DECISION),
            ("team", outcome_pb2.REPORT_RESULT_COUNTED),
        ):
            reply = await running.stub.ReportOutcome(
                request, metadata=shown[tenant], timeout=HANG_S
            )
            assert reply.result == expected


async def test_client_and_command_line_show_it(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        address = running.service.address
        decision_id = (await running.route()).decision_id

        async def told(*options: str) -> tuple[int | None, str, str]:
            at = ("--address", address, "--timeout-s", f"{HANG_S:g}")
            async with process(*ROUTOO, "report", decision_id, *at, *options) as command:
                out, err = await command.communicate()
            return command.returncode, out.decode(), err.decode()

        code, out, err = await told()
        assert (code, out) == (2, "")
        assert (
            "the report tells nothing; add a --score, a cost or tokens; nothing was booked" in err
        )
        assert await told("--score", "1") == (
            0,
            "counted; nothing was to be booked\n",
            "",
        )
        code, out, err = await told("--score", "1", "--json")
        assert code == 2
        assert json.loads(out) == {
            "decision_id": decision_id,
            "accepted": False,
            "result": "reported_before",
        }
        assert err.endswith(f"decision {decision_id} was reported before; nothing was booked\n")
        async with AsyncRouterClient(address) as client:
            reply = await client.report_outcome(decision_id, score=1.0)
            assert reply.result == outcome_pb2.REPORT_RESULT_REPORTED_BEFORE
            assert await client.report("nobody-1", score=1.0) is False
