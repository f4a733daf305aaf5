"""Tests of the service's answers on a real channel."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from routoo.v1 import info_pb2, route_pb2
from support.tiny_pool import SPECS, tiny_pool
from support.tiny_service import Running, refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "routoo.v1.RouterService"
words = st.lists(st.sampled_from(["easy", "hard", "long", "else"]), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(folder: Path) -> AsyncIterator[Running]:
    """A service with a limit of 0.002 USD a request, at which "hard" goes to large.

    Its price is then about 40 points of score per USD.
    """
    settings = tiny_settings(
        folder,
        policy={"max_mean_cost_usd": 0.002},
        metrics={"listen": "127.0.0.1:0"},
    )
    async with serving(settings) as running:
        yield running


def cost_usd(column: int, input_tokens: float, output_tokens: float) -> float:
    spec = SPECS[column]
    return float(
        input_tokens * spec["usd_per_1m_input_tokens"] / 1e6
        + output_tokens * spec["usd_per_1m_output_tokens"] / 1e6
    )


async def test_a_decision_tells_what_the_chosen_model_is_expected_to_do(tiny: Running) -> None:
    reply = await tiny.route("easy", request_id="mine")
    assert reply.request_id == "mine"
    assert reply.model == "small"
    assert reply.predicted_score == 0.875
    assert reply.predicted_output_tokens == 10
    assert reply.input_tokens == 1
    assert reply.predicted_cost_usd == pytest.approx(cost_usd(0, 1, 10), rel=1e-12)
    assert reply.predicted_latency_ms == 120
    assert reply.predictor_version == "tiny-1"
    assert reply.policy_version.startswith("lp-")
    assert reply.shadow_price == tiny.service.engine.price > 0
    assert not reply.degraded
    assert not reply.truncated
    assert not reply.candidates
    assert not reply.HasField("error")


async def test_the_time_is_told_by_phase(tiny: Running) -> None:
    timing = (await tiny.route("hard")).timing
    assert timing.batch_size == 1
    phases = (timing.queue_ns, timing.tokenize_ns, timing.predict_ns, timing.select_ns)
    assert all(phase > 0 for phase in phases)
    assert timing.total_ns >= sum(phases)


async def test_explain_shows_every_model_best_utility_first(tiny: Running) -> None:
    reply = await tiny.route("hard else", explain=True, max_cost_usd=0.001)
    by_name = {one.model: one for one in reply.candidates}
    assert set(by_name) == {"small", "medium", "large"}
    assert reply.candidates[0].model == reply.model == "medium"
    for column, (name, score) in enumerate((("small", 0.3125), ("medium", 0.5625))):
        one = by_name[name]
        assert one.eligible
        assert one.removed_by == ""
        assert one.predicted_score == score
        assert one.predicted_output_tokens == 150
        assert one.predicted_cost_usd == pytest.approx(cost_usd(column, 2, 150), rel=1e-12)
        expected = one.predicted_score - reply.shadow_price * one.predicted_cost_usd
        assert one.utility == pytest.approx(expected, rel=1e-9)
    assert by_name["medium"].utility > by_name["small"].utility
    assert reply.candidates[-1].model == "large"
    assert not by_name["large"].eligible
    assert by_name["large"].removed_by == "max_cost_usd"


@pytest.mark.parametrize(
    ("prompt", "constraints", "model", "rule", "binding"),
    [
        ("easy", {}, "small", "RULE_BEST_SCORE", []),
        ("long", {}, "medium", "RULE_PRICE", ["context_window_tokens", "max_mean_cost_usd"]),
        ("hard", {"max_cost_usd": 0.001}, "medium", "RULE_BEST_SCORE", ["max_cost_usd"]),
        ("hard", {"max_latency_ms": 600}, "small", "RULE_ONLY_ELIGIBLE", ["max_latency_ms"]),
        ("hard", {"min_score": 0.5}, "large", "RULE_BEST_SCORE", ["min_score"]),
        ("hard", {"denied_models": ["large"]}, "medium", "RULE_BEST_SCORE", ["denied_models"]),
        (
            "hard",
            {"allowed_models": ["small", "medium"], "denied_models": ["medium"]},
            "small",
            "RULE_ONLY_ELIGIBLE",
            ["allowed_models", "denied_models"],
        ),
        (
            "hard",
            {"required_capabilities": ["vision"]},
            "large",
            "RULE_ONLY_ELIGIBLE",
            ["required_capabilities"],
        ),
        ("easy", {"max_cost_usd": 1.0}, "small", "RULE_BEST_SCORE", []),
        (
            "easy",
            {"expected_output_tokens": 5000},
            "medium",
            "RULE_BEST_SCORE",
            ["context_window_tokens"],
        ),
    ],
)
async def test_the_reason_names_the_rule_and_what_bound(
    tiny: Running,
    prompt: str,
    constraints: dict[str, Any],
    model: str,
    rule: str,
    binding: list[str],
) -> None:
    reply = await tiny.route(prompt, **constraints)
    assert reply.model == model
    assert route_pb2.Rule.Name(reply.reason.rule) == rule
    assert list(reply.reason.binding_constraints) == binding
    assert reply.reason.text
    assert "\n" not in reply.reason.text


async def test_a_chat_is_routed_by_its_text(tiny: Running) -> None:
    messages = [
        route_pb2.ChatMessage(role="system", content="hard"),
        route_pb2.ChatMessage(role="user", content="else"),
    ]
    chat = await tiny.stub.Route(route_pb2.RouteRequest(messages=messages))
    plain = await tiny.route("hard\nelse")
    assert (chat.model, chat.predicted_score) == (plain.model, plain.predicted_score)


async def test_a_callers_own_length_changes_the_cost(tiny: Running) -> None:
    reply = await tiny.route("easy", expected_output_tokens=1000, allowed_models=["large"])
    assert reply.predicted_output_tokens == 1000
    assert reply.predicted_cost_usd == pytest.approx(cost_usd(2, 1, 1000), rel=1e-12)
    assert reply.predicted_latency_ms == 500 + 1000 * 10


async def test_a_long_prompt_says_that_its_middle_was_cut(tiny: Running) -> None:
    prompt = " ".join(["easy"] * 16 + ["hard"] * 1000 + ["long"] * 16)
    reply = await tiny.route(prompt, allowed_models=["medium"])
    assert reply.truncated
    assert reply.predicted_score == (0.875 + 0.5) / 2
    # Only a part of the text was tokenized, and the length is estimated from it.
    assert reply.input_tokens == pytest.approx(1032, rel=0.01)
    whole = await tiny.route(" ".join(["easy"] * 32))
    assert not whole.truncated


constraint_sets = st.fixed_dictionaries(
    {},
    optional={
        "max_cost_usd": st.floats(0, 0.01) | st.sampled_from([0.0, 1e-5, 1e-4]),
        "min_score": st.floats(0, 1) | st.sampled_from([0.5, 0.625, 0.875]),
        "max_latency_ms": st.floats(0, 5000),
        "allowed_models": st.lists(st.sampled_from(["small", "medium", "large"]), max_size=3),
        "denied_models": st.lists(st.sampled_from(["small", "medium", "large"]), max_size=2),
        "required_capabilities": st.lists(
            st.sampled_from(["audio", "chat", "tools", "vision"]), max_size=2
        ),
        "expected_output_tokens": st.integers(0, 200_000),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=words.map(" ".join), constraints=constraint_sets)
async def test_no_decision_breaks_a_constraint_of_its_request(
    tiny: Running, prompt: str, constraints: dict[str, Any]
) -> None:
    try:
        reply = await tiny.route(prompt, explain=True, **constraints)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION  # noqa: PT017
        return
    (spec,) = [spec for spec in SPECS if spec["name"] == reply.model]
    assert not constraints.get("allowed_models") or reply.model in constraints["allowed_models"]
    assert reply.model not in constraints.get("denied_models", ())
    assert set(constraints.get("required_capabilities", ())) <= set(spec["capabilities"])
    assert reply.predicted_cost_usd <= constraints.get("max_cost_usd", float("inf"))
    assert reply.predicted_latency_ms <= constraints.get("max_latency_ms", float("inf"))
    assert reply.predicted_score >= constraints.get("min_score", 0.0)
    needed = reply.input_tokens + reply.predicted_output_tokens
    assert needed <= spec["context_window_tokens"]
    eligible = [one for one in reply.candidates if one.eligible]
    assert reply.model == eligible[0].model
    assert eligible[0].utility == max(one.utility for one in eligible)


async def test_the_pool_is_listed_as_it_was_configured(tiny: Running) -> None:
    reply = await tiny.stub.ListModels(info_pb2.ListModelsRequest())
    assert not reply.curve
    assert [one.name for one in reply.models] == ["small", "medium", "large"]
    for one, spec in zip(reply.models, SPECS, strict=True):
        assert one.usd_per_1m_input_tokens == spec["usd_per_1m_input_tokens"]
        assert one.usd_per_1m_output_tokens == spec["usd_per_1m_output_tokens"]
        assert one.prices.usd_per_1m.output == spec["usd_per_1m_output_tokens"]
        assert one.prices.status == spec["price_status"]
        assert one.context_window_tokens == spec["context_window_tokens"]
        assert list(one.capabilities) == spec["capabilities"]
        assert one.time_to_first_token_ms == spec["time_to_first_token_ms"]
        assert one.time_per_output_token_ms == spec["time_per_output_token_ms"]
    at = reply.operating_point
    assert sum(one.share for one in reply.models) == pytest.approx(1.0)
    assert {one.name: one.share for one in reply.models if one.share} == dict(at.shares)
    assert at.mean_cost_usd <= 0.002
    assert at.shadow_price == tiny.service.engine.price


@pytest.mark.parametrize("points", [2, 5, 1000])
async def test_the_curve_rises_bends_down_and_holds_the_operating_point(
    tiny: Running, points: int
) -> None:
    reply = await tiny.stub.ListModels(info_pb2.ListModelsRequest(curve_points=points))
    curve = list(reply.curve)
    assert 2 <= len(curve) <= points
    slopes = []
    for before, after in pairwise(curve):
        assert after.mean_cost_usd > before.mean_cost_usd
        assert after.mean_score > before.mean_score
        slopes.append(
            (after.mean_score - before.mean_score) / (after.mean_cost_usd - before.mean_cost_usd)
        )
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(slopes))
    at = reply.operating_point
    assert curve[0].mean_cost_usd <= at.mean_cost_usd <= curve[-1].mean_cost_usd
    assert curve[0].mean_score <= at.mean_score <= curve[-1].mean_score


async def test_more_money_moves_the_service_up_the_curve(folder: Path) -> None:
    points = []
    for max_mean_cost_usd in (0.00035, 0.0006, 0.001, 0.002, 0.003, 0.01, 0.1):
        settings = tiny_settings(folder, policy={"max_mean_cost_usd": max_mean_cost_usd})
        async with serving(settings) as running:
            reply = await running.stub.ListModels(info_pb2.ListModelsRequest())
            info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
        assert reply.operating_point.mean_cost_usd <= max_mean_cost_usd
        assert info.max_mean_cost_usd == max_mean_cost_usd
        points.append((reply.operating_point, info))
    for (poor, poor_info), (rich, rich_info) in pairwise(points):
        assert rich.mean_cost_usd >= poor.mean_cost_usd
        assert rich.mean_score >= poor.mean_score
        assert rich.shadow_price <= poor.shadow_price
        assert rich_info.policy_version != poor_info.policy_version
    assert points[-1][0].mean_score > points[0][0].mean_score + 0.1


async def test_versions_and_limits_are_told(tiny: Running) -> None:
    info = await tiny.stub.GetInfo(info_pb2.GetInfoRequest())
    assert info.predictor_version == "tiny-1"
    assert info.predictor_backend in ("onnx-cpu", "onnx-cuda")
    assert info.policy_version == (await tiny.route("easy")).policy_version
    assert list(info.policies) == ["lp"]
    models = await tiny.stub.ListModels(info_pb2.ListModelsRequest())
    assert info.price_version == models.price_version == tiny_pool().prices.version
    assert info.max_mean_cost_usd == 0.002
    assert info.shadow_price == tiny.service.engine.price
    assert info.max_prompt_tokens == 32
    assert info.max_prompt_chars == 1_000_000
    assert info.max_batch_prompts == 100_000
    assert info.max_queue == 4096
    assert not info.degraded
    again = await tiny.stub.GetInfo(info_pb2.GetInfoRequest())
    assert again.uptime_s > info.uptime_s > 0


async def test_the_same_settings_have_the_same_policy_version(folder: Path) -> None:
    versions = set()
    for _ in range(2):
        async with serving(tiny_settings(folder)) as running:
            versions.add((await running.route("easy")).policy_version)
    assert len(versions) == 1


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_health_is_serving(tiny: Running, name: str) -> None:
    health = health_pb2_grpc.HealthStub(tiny.channel)
    reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_an_unknown_service_is_not_found(tiny: Running) -> None:
    health = health_pb2_grpc.HealthStub(tiny.channel)
    code, _ = await refusal(health.Check(health_pb2.HealthCheckRequest(service="other")))
    assert code is grpc.StatusCode.NOT_FOUND


async def scrape(running: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    def read() -> str:
        with urlopen(f"http://{running.service.metrics_address}/metrics", timeout=HANG_S) as page:
            return str(page.read().decode())

    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(await asyncio.to_thread(read))
        for sample in family.samples
    }


async def test_the_metrics_page_counts_what_was_done(folder: Path) -> None:
    metrics = {"listen": "127.0.0.1:0"}
    async with serving(tiny_settings(folder, metrics=metrics)) as fresh:
        before = await scrape(fresh)
        assert before["routoo_serving", ()] == 1
        assert before["routoo_shadow_price", ()] == fresh.service.engine.price
        await fresh.route("easy")
        await fresh.route("easy", denied_models=["small"])
        await refusal(fresh.route(""))
        await refusal(fresh.route("easy", min_score=1.0))
        reply = await fresh.batch(["easy", " ".join(["hard"] * 33)], budget_usd=1.0)
        after = await scrape(fresh)
    calls = "routoo_requests_total"
    assert after[calls, (("code", "OK"), ("rpc", "Route"))] == 2
    assert after[calls, (("code", "INVALID_ARGUMENT"), ("rpc", "Route"))] == 1
    assert after[calls, (("code", "FAILED_PRECONDITION"), ("rpc", "Route"))] == 1
    assert after[calls, (("code", "OK"), ("rpc", "RouteBatch"))] == 1
    assert after["routoo_request_seconds_count", (("rpc", "Route"),)] == 4
    chosen = [one.model for one in reply.responses]
    for model in ("small", "medium"):
        decided = ("routoo_decisions_total", (("model", model), ("policy", "lp")))
        assert after[decided] == 1
        joint = ("routoo_decisions_total", (("model", model), ("policy", "joint")))
        assert after.get(joint, 0) == chosen.count(model)
    assert after["routoo_no_eligible_model_total", ()] == 1
    assert after["routoo_truncated_prompts_total", ()] == 1
    assert after["routoo_batch_prompts_sum", ()] == 5
    assert after["routoo_predicted_cost_usd_total", ()] == pytest.approx(
        cost_usd(0, 1, 10) + cost_usd(1, 1, 10) + reply.total_predicted_cost_usd
    )
    for phase in ("queue", "tokenize", "predict", "select"):
        assert after["routoo_phase_seconds_sum", (("phase", phase),)] > 0
    assert after["routoo_queue_depth", ()] == 0
    build = next(labels for name, labels in after if name == "routoo_build_info")
    assert dict(build)["predictor"] == "tiny-1"


async def test_without_metrics_no_port_is_opened(folder: Path) -> None:
    async with serving(tiny_settings(folder)) as quiet:
        assert quiet.service.metrics_address == ""
