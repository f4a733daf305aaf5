"""Exploring in a running service: its odds, its money, its log, and where it keeps out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest

from routoo.client import RouterClient
from routoo.errors import ConfigError
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.otherwise import OtherPolicy
from routoo.telemetry.decision_log.prompts.lines import KeptFeatures
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.telemetry.decision_log.what_if import what_if
from routoo.v1 import budget_pb2, outcome_pb2, route_pb2
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.logged_engine import lines_of
from support.peers.proxied import proxied
from support.tiny_service import refusal, serving, table_settings, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

MONEY = {"name": "explore", "usd": 1000.0, "per": "1d", "pays_for": "exploration"}
EXPLORE = {"share": 0.5, "budget": "explore", "floor": 0.3, "seed": 3}


def settings_of(folder: Path, **overrides: Any) -> Any:
    values: dict[str, Any] = {
        "policy": {"explore": EXPLORE, "max_mean_cost_usd": 1.0, "offered": ["best", "fixed"]},
        "budgets": [MONEY],
        "decision_log": {"path": folder / "decisions.jsonl"},
    }
    values["policy"]["fixed"] = {"model": "small"}
    return table_settings(folder, **{**values, **overrides})


def counted(running: Running, name: str, **labels: str) -> float:
    return running.service.metrics.registry.get_sample_value(name, labels) or 0.0


async def routed(running: Running, n: int = 40, **fields: Any) -> list[route_pb2.RouteResponse]:
    return [await running.route("code", **fields) for _ in range(n)]


async def test_a_share_is_explored_and_all_of_it_is_told(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        replies = await routed(running)
        drawn = [one for one in replies if one.reason.rule == route_pb2.RULE_EXPLORED]
        kept = [one for one in replies if one.reason.rule != route_pb2.RULE_EXPLORED]
        assert 8 <= len(drawn) <= 32
        (best,) = {one.model for one in kept}
        for one in kept:
            assert one.propensity == pytest.approx(0.5, abs=0.001)
            assert not one.HasField("unexplored_model")
        for one in drawn:
            assert one.unexplored_model == best != one.model
            assert 0.0 < one.propensity <= 0.5
            assert "drawn" in one.reason.text
        explored = {one.model for one in drawn}
        total = sum(
            counted(running, "routoo_explored_decisions_total", model=one) for one in explored
        )
        assert total == len(drawn)
        assert 0.0 < counted(running, "routoo_exploration_share") <= 0.5
        request = budget_pb2.GetBudgetRequest()
        (budget,) = (await running.stub.GetBudget(request)).budgets
        assert (budget.name, budget.tenant) == ("explore", "[explore]")
        spent = counted(running, "routoo_exploration_cost_usd_total")
    lines = lines_of(tmp_path / "decisions.jsonl")
    for line, reply in zip(lines, replies, strict=True):
        assert line["propensity"] == reply.propensity
        assert line["explore"]["share"] <= 0.5
        assert line.get("unexplored", "") == reply.unexplored_model
    best_usd = {line["unexplored"] for line in lines if "unexplored" in line}
    assert best_usd == {best}
    extra = 0.0
    names = ["small", "medium", "large"]
    for line in lines:
        if "unexplored" in line:
            costs = dict(zip(names, line["costs_usd"], strict=True))
            extra += max(0.0, costs[line["model"]] - costs[best])
    assert spent == pytest.approx(extra)


async def test_a_replay_draws_the_same_to_the_bit(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        for prompt in ("code", "math", "easy", "code hard") * 10:
            await running.route(prompt)
    log = read_logs([tmp_path / "decisions.jsonl"])
    assert log.findings == []
    assert reproduce(log).mismatches == []
    (logged,) = log.decisions
    assert (logged.propensity < 1.0).any()
    told = what_if(log, OtherPolicy("best"))
    assert told.same + told.turned <= 40


async def test_a_model_that_is_unknown_is_explored_more_often_and_replayed(tmp_path: Path) -> None:
    unknown = {"unknown_share": 0.5, "unknown_above": 1e-4, "known_below": 1e-4}
    explore = {**EXPLORE, "share": 0.01, **unknown}
    policy = {"explore": explore, "max_mean_cost_usd": 1.0}
    learning = {"enabled": True}
    async with serving(settings_of(tmp_path, policy=policy, learning=learning)) as running:
        replies = await routed(running)
    drawn = [one for one in replies if one.reason.rule == route_pb2.RULE_EXPLORED]
    assert 8 <= len(drawn) <= 32
    lines = lines_of(tmp_path / "decisions.jsonl")
    for line in lines:
        assert line["explore"]["share"] == pytest.approx(0.5, abs=0.01)
        if "unexplored" not in line:
            assert line["propensity"] == 1.0 - line["explore"]["share"]
    assert reproduce(read_logs([tmp_path / "decisions.jsonl"])).mismatches == []


async def test_another_seed_is_found_out(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        await routed(running)
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seed":3', b'"seed":4'))
    found = {one.what for one in reproduce(read_logs([path])).mismatches}
    assert {"model", "reason"} <= found


async def test_no_constraint_is_broken(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        for fields in (
            {"allowed_models": ["small", "large"]},
            {"denied_models": ["small"]},
            {"max_cost_usd": 0.001},
            {"min_score": 0.55},
        ):
            for reply in await routed(running, 15, explain=True, **fields):
                chosen = next(one for one in reply.candidates if one.model == reply.model)
                assert chosen.eligible
        alone = await routed(running, 15, allowed_models=["small"])
        assert {(one.model, one.propensity) for one in alone} == {("small", 1.0)}


async def test_the_floor_keeps_bad_models_out(tmp_path: Path) -> None:
    policy = {"explore": {**EXPLORE, "floor": 0.9}, "max_mean_cost_usd": 1.0}
    async with serving(settings_of(tmp_path, policy=policy)) as running:
        for reply in await routed(running):
            assert (reply.model, reply.propensity) == ("large", 1.0)


@pytest.mark.parametrize("named", ["best", "fixed"])
async def test_policies_that_no_price_decides_are_left_alone(tmp_path: Path, named: str) -> None:
    async with serving(settings_of(tmp_path)) as running:
        for reply in await routed(running, 20, policy=named):
            assert reply.propensity == 1.0
            assert reply.reason.rule != route_pb2.RULE_EXPLORED


async def test_batches_and_dry_runs_are_not_explored(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        for fields in ({}, {"budget_usd": 1.0}, {"dry_run": True}):
            decided = await running.batch(["code"] * 30, **fields)
            assert {one.propensity for one in decided.responses} == {1.0}
            assert len({one.model for one in decided.responses}) == 1


async def test_a_conversation_stays_with_its_first_model(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sessions={"enabled": True})
    async with serving(settings) as running:
        first = [
            (await running.route("code", session_id=f"s{number}")).reason.rule
            for number in range(30)
        ]
        assert route_pb2.RULE_EXPLORED in first
        for number in range(30):
            reply = await running.route("code", session_id=f"s{number}")
            assert (reply.propensity, reply.reason.rule == route_pb2.RULE_EXPLORED) == (1.0, False)
    assert reproduce(read_logs([tmp_path / "decisions.jsonl"])).mismatches == []


async def test_an_empty_purse_explores_nothing(tmp_path: Path) -> None:
    # A cheaper model costs nothing more, and is drawn while there is money at all.
    money = {**MONEY, "usd": 1e-9}
    async with serving(settings_of(tmp_path, budgets=[money])) as running:
        others = {one.model for one in await routed(running)} - {"large", "medium", "small"}
        assert not others
        (budget,) = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        assert budget.reserved_usd + budget.settled_usd <= 1e-9


async def test_what_a_tenant_cannot_pay_for_is_not_explored(tmp_path: Path) -> None:
    """The first model is the cheapest, so that drawn ones are more expensive than what is left."""
    policy = {"explore": {**EXPLORE, "floor": 0.0}, "max_mean_cost_usd": 3e-4}
    acme = {"name": "acme", "tenant": "acme", "usd": 0.0015, "per": "365d", "pacing": False}
    budgets = [MONEY, {**acme, "on_exhausted": "cheapest"}]
    async with serving(settings_of(tmp_path, policy=policy, budgets=budgets)) as running:
        replies = [await running.route("code", tenant="acme") for _ in range(30)]
        assert {one.model for one in replies[-10:]} == {"small"}
        states = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        assert next(one for one in states if one.name == "acme").reserved_usd <= 0.0015
        unknown = [one for one in replies if not one.HasField("propensity")]
        assert unknown
        assert counted(running, "routoo_explorations_withdrawn_total") >= 1
    lines = lines_of(tmp_path / "decisions.jsonl")
    assert any(line["propensity"] is None for line in lines)
    assert reproduce(read_logs([tmp_path / "decisions.jsonl"])).mismatches == []


async def test_a_reload_begins_changes_and_ends_it(tmp_path: Path) -> None:
    policy = {"max_mean_cost_usd": 1.0, "offered": ["best"]}
    without = settings_of(tmp_path, policy={**policy, "explore": None})
    wide = settings_of(tmp_path, policy={**policy, "explore": EXPLORE})
    narrow = settings_of(tmp_path, policy={**policy, "explore": {**EXPLORE, "floor": 1.0}})
    async with serving(without) as running:
        for settings, explores in ((wide, True), (narrow, False), (wide, True), (without, False)):
            async with asyncio.timeout(60):
                done = await running.service.reloader.start(lambda settings=settings: settings)
            assert done == "switched"
            rules = {one.reason.rule for one in await routed(running, 30)}
            assert (route_pb2.RULE_EXPLORED in rules) is explores
        request = budget_pb2.GetBudgetRequest()
        (budget,) = (await running.stub.GetBudget(request)).budgets
        # Every purse has given back what it held.
        assert budget.reserved_usd == 0.0
    assert reproduce(read_logs([tmp_path / "decisions.jsonl"])).mismatches == []


async def test_no_request_may_use_the_budget(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        code, text = await refusal(running.route("code", tenant="[explore]"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "tenant" in text


async def test_reports_with_a_code_are_logged_and_others_refused(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        reply = await running.route("code")
        code, text = await refusal(
            running.stub.ReportOutcome(
                outcome_pb2.ReportOutcomeRequest(
                    decision_id=reply.decision_id, score=0.5, reason_code="it said: no"
                )
            )
        )
        assert (code, "reason_code" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        with RouterClient(running.service.address) as client:
            told = await asyncio.to_thread(
                client.report_outcome, reply.decision_id, score=0.5, reason_code="tests_failed"
            )
        assert told.accepted
    (line,) = lines_of(tmp_path / "decisions.jsonl", "outcome")
    assert line["reason_code"] == "tests_failed"


async def test_the_doors_tell_the_propensity(tmp_path: Path) -> None:
    write_tiny_table_artifact(tmp_path / "predictor")
    explore = {"policy": {"explore": EXPLORE, "max_mean_cost_usd": 1.0}}
    body = {"model": "auto", "messages": [{"role": "user", "content": "code"}]}
    async with proxied(tmp_path, budgets=[MONEY], **explore) as one:
        async with httpx.AsyncClient(base_url=one.url, trust_env=False) as client:
            reply = await client.post("/v1/chat/completions", json=body)
        assert 0.0 < float(reply.headers["x-routoo-propensity"]) < 1.0
        assert "x-routoo-propensity" not in one.upstream.last.headers


async def test_a_log_may_keep_features_and_no_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    log = {
        "path": tmp_path / "decisions.jsonl",
        "prompts": "features",
        "prompt_key_file": tmp_path / "key",
    }
    for _ in range(2):  # over a restart, as the key is kept
        async with serving(settings_of(tmp_path, decision_log=log)) as running:
            for prompt in ("math secretword", "Math:  secretword?", "code"):
                await running.route(prompt)
            assert not running.service.metrics.live.prompts  # nor does the page show them
    text = (tmp_path / "decisions.jsonl").read_text()
    assert "secretword" not in text
    lines = lines_of(tmp_path / "decisions.jsonl")
    hashes = [line["prompt_hash"] for line in lines]
    assert len(set(hashes)) == 2
    assert hashes[:3] == hashes[3:]
    assert hashes[0] == hashes[1]
    found = [KeptFeatures.read(line["features"]) for line in lines]
    assert len({one.graph for one in found}) == 1
    assert np.isfinite(found[0].hidden).all()
    assert "prompt" not in lines[0]
    assert reproduce(read_logs([tmp_path / "decisions.jsonl"])).mismatches == []


@pytest.mark.parametrize(("said", "kept"), [(True, True), ("text", True), (False, False)])
async def test_the_old_form_of_prompts_stands(
    tmp_path: Path, *, said: bool | str, kept: bool
) -> None:
    log = {"path": tmp_path / "decisions.jsonl", "prompts": said}
    async with serving(settings_of(tmp_path, decision_log=log)) as running:
        await running.route("math secretword")
        warned = [one for one in running.logs if "write prompts: text" in one["event"]]
    assert bool(warned) is (said is True)
    assert ("secretword" in (tmp_path / "decisions.jsonl").read_text()) is kept


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ({"prompts": "all"}, "prompts"),
        ({"prompts": "features", "path": None}, "path is not"),
        ({"prompts": "features", "prompt_key_file": "absent"}, "cannot be read"),
        ({"prompts": "features", "prompt_key_file": "short"}, "holds 5 bytes"),
        ({"prompts": "text", "prompt_key_file": "short"}, "prompt_key_file is for"),
    ],
)
def test_a_log_that_cannot_keep_what_it_is_to_keep(
    tmp_path: Path, log: dict[str, Any], said: str
) -> None:
    (tmp_path / "short").write_bytes(b"short")
    if "prompt_key_file" in log:
        log = {**log, "prompt_key_file": tmp_path / log["prompt_key_file"]}
    with pytest.raises(ConfigError, match=said):
        load_components(
            settings_of(tmp_path, decision_log={"path": tmp_path / "decisions.jsonl", **log})
        )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"budgets": []}, "policy.explore.budget: there is no budget explore"),
        (
            {"budgets": [{"name": "explore", "usd": 1, "per": "1d"}]},
            "policy.explore.budget: budget explore pays for requests",
        ),
        ({"policy": {"name": "best", "explore": EXPLORE}}, "policies at a price"),
        (
            {"policy": {"explore": {**EXPLORE, "unknown_share": 0.5}}},
            "policy.explore.unknown_share: without learning.enabled no report",
        ),
        ({"policy": {"explore": {**EXPLORE, "share": 0.0}}}, "share"),
        ({"policy": {"explore": {**EXPLORE, "share": 0.6}}}, "share"),
        ({"policy": {"explore": {**EXPLORE, "floor": 1.1}}}, "floor"),
        ({"policy": {"explore": {**EXPLORE, "seed": -1}}}, "seed"),
        ({"policy": {"explore": {"share": 0.1}}}, "budget"),
        ({"policy": {"explore": {**EXPLORE, "sharee": 0.1}}}, "sharee"),
        ({"budgets": [{**MONEY, "tenant": "acme"}]}, "tenant"),
        ({"budgets": [{**MONEY, "on_exhausted": "cheapest"}]}, "on_exhausted"),
        ({"budgets": [{**MONEY, "pays_for": "fun"}]}, "pays_for"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_components(settings_of(tmp_path, **overrides))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_predictor_that_is_never_unsure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="standard deviation"):
        load_components(tiny_settings(tmp_path, policy={"explore": EXPLORE}, budgets=[MONEY]))
