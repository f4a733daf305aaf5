"""Presets on a running service: one request, a batch, the settings, a log, a shadow, a budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.config.settings import Settings
from routoo.server.assembly import load_components
from routoo.telemetry.decision_log.preset_price import preset_price
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import batch_pb2, info_pb2, route_pb2
from support.tiny_service import batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from support.tiny_service import Running

ROOT = Path(__file__).parents[3]
OFFERED = {"offered": ["economy", "balanced", "quality"]}
NAMES = OFFERED["offered"]


async def points_of(running: Running) -> dict[str, info_pb2.Preset]:
    listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
    told = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=60)
    assert list(told.presets) == list(listed.presets)
    return {one.name: one for one in listed.presets}


def named(policy: str, *prompts: str, **fields: Any) -> batch_pb2.RouteBatchRequest:
    batch = batch_of(list(prompts), **fields)
    for request in batch.requests:
        request.policy = policy
    return batch


async def test_a_request_is_decided_at_the_point_that_it_names(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = tiny_settings(tmp_path, policy=OFFERED, decision_log={"path": log})
    async with serving(settings) as running:
        points = await points_of(running)
        assert list(points) == NAMES
        for name, point in points.items():
            told = await running.route("hard", policy=name, explain=True)
            again = await running.route("hard", policy=name, explain=True)
            assert told.shadow_price == point.shadow_price
            assert (again.model, again.policy_version) == (told.model, told.policy_version)
            assert told.policy_version.startswith(f"{name}-")
            utilities = {one.model: one.utility for one in told.candidates}
            assert utilities[told.model] == max(utilities.values())
            batch = await running.stub.RouteBatch(named(name, "hard", "easy"), timeout=60)
            assert batch.responses[0].model == told.model
            assert batch.responses[0].shadow_price == point.shadow_price
        plain = await running.route("hard")
        assert plain.policy_version.startswith("lp-")
        joint = named("quality", "hard", budget_usd=1.0)
        code, words = await refusal(running.stub.RouteBatch(joint, timeout=60))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert words.startswith("requests[0].policy: ")
        code, words = await refusal(running.route("hard", policy="cheapest"))
        assert "policy.offered" in words
    found = read_logs([log])
    assert reproduce(found).mismatches == []
    prices = [preset_price(found, name) for name in NAMES]
    assert prices == sorted(prices, reverse=True)


@pytest.mark.parametrize("name", NAMES)
async def test_a_preset_in_force_is_the_operating_point(tmp_path: Path, name: str) -> None:
    settings = tiny_settings(tmp_path, policy={"name": name, "shadow": "lp"})
    async with serving(settings) as running:
        point = (await points_of(running))[name]
        listed = await running.stub.ListModels(info_pb2.ListModelsRequest(), timeout=60)
        here = listed.operating_point
        assert (here.mean_cost_usd, here.mean_score) == (point.mean_cost_usd, point.mean_score)
        assert here.shadow_price == point.shadow_price
        expected = [f"policy:{name}"] if point.shadow_price else []
        assert list(listed.price_set_by) == expected
        told = await running.route("hard")
        assert told.policy_version.startswith(f"{name}-")
        assert told.shadow_price == point.shadow_price
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=60)
        assert (info.shadow.policy, info.shadow.decisions) == ("lp", 1)


async def test_a_shadow_preset_decides_at_its_own_price(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, policy={"name": "economy", "shadow": "quality"})
    async with serving(settings) as running:
        prompts = ["hard", "easy", "long hard"]
        offered = tiny_settings(tmp_path, policy=OFFERED)
        for prompt in prompts:
            await running.route(prompt)
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest(), timeout=60)
        async with serving(offered) as other:
            costs = {
                name: [
                    (await other.route(prompt, policy=name)).predicted_cost_usd
                    for prompt in prompts
                ]
                for name in ("economy", "quality")
            }
    assert info.shadow.cost_usd == pytest.approx(sum(costs["economy"]))
    assert info.shadow.shadow_cost_usd == pytest.approx(sum(costs["quality"]))


async def test_a_mean_cost_that_is_set_is_kept_to_by_every_preset(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, policy={**OFFERED, "max_mean_cost_usd": 0.0005})
    async with serving(settings) as running:
        plain = await running.route("hard")
        told = await running.route("hard", policy="quality")
        assert told.shadow_price == plain.shadow_price
        assert told.model == plain.model


async def test_a_pool_may_be_more_expensive_than_the_default_mean_cost(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, policy={"name": "balanced"})
    pool = tmp_path / "pool.yaml"
    pool.write_text(re.sub(r"(usd_per_1m_\w+): [\d.]+", r"\1: 900", pool.read_text()))
    async with serving(settings) as running:
        assert (await running.route("hard")).model
        assert (await points_of(running))["economy"].mean_cost_usd > 0.001


async def test_the_points_follow_the_prices_of_the_pool(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, policy=OFFERED)) as running:
        before = await points_of(running)
        version = (await running.route("hard", policy="balanced")).policy_version
    pool = tmp_path / "pool.yaml"
    pool.write_text(pool.read_text().replace("tokens: 10\n", "tokens: 20\n"))
    async with serving(tiny_settings(tmp_path, policy=OFFERED)) as running:
        after = await points_of(running)
        changed = (await running.route("hard", policy="balanced")).policy_version
    assert after["balanced"].mean_cost_usd != before["balanced"].mean_cost_usd
    assert changed != version


async def test_a_frontier_takes_no_policy(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, policy=OFFERED)) as running:
        asked = batch_pb2.FrontierRequest(
            requests=[route_pb2.RouteRequest(prompt="x", policy="quality")]
        )
        code, words = await refusal(running.stub.Frontier(asked, timeout=60))
        assert (code, words.split(":")[0]) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "requests[0].policy",
        )


def test_the_documentation_tells_the_points_of_the_shipped_pool() -> None:
    text = (ROOT / "docs" / "explanation" / "policies.md").read_text(encoding="utf-8")
    for one in load_components(Settings()).sample.presets():
        row = f"| `{one.name}` | ${one.mean_cost_usd:.2g} | {one.mean_score:.3f} | {one.price:.3g} "
        assert row in text
