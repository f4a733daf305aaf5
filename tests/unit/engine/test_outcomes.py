"""An answer is booked at what its usage costs at the prices of the model that gave it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from routoo.predictor.artifact import load_artifact
from routoo.routing.outcome import OutcomeReport
from routoo.routing.pool import ModelSpec, Pool
from routoo.routing.request import PromptRequest
from routoo.tariffs.usage import Usage
from routoo.telemetry.metrics import Metrics
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_engine import make_engine
from support.tiny_money import NOW_NS, hourly, spending
from support.tiny_pool import LARGE, MEDIUM, SMALL
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact

THEN = datetime.fromtimestamp(NOW_NS / 1e9, UTC)  # a Tuesday, 22:13
CHANGES: dict[str, dict[str, Any]] = {
    "small": {"aliases": ["tiny-2026"], "trust_reported_cost": True},
    "medium": {
        "provider": "xAI",
        "usd_per_1m_cached_input_tokens": 0.1,
        "usd_per_1m_cache_write_tokens": 1.25,
        "service_tiers": {"batch": 0.5, "priority": 2},
    },
    "large": {
        "tiers": [
            {
                "above_input_tokens": 200_000,
                "usd_per_1m_input_tokens": 20,
                "usd_per_1m_output_tokens": 45,
            }
        ],
        "hours": [{"start": "22:00", "end": "23:00", "multiplier": 0.5}],
    },
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))


def sold() -> Pool:
    specs = ({**one, **CHANGES[str(one["name"])]} for one in (SMALL, MEDIUM, LARGE))
    return Pool.of(tuple(ModelSpec.model_validate(one) for one in specs))


@asynccontextmanager
async def running(artifact: Artifact, metrics: Metrics) -> AsyncIterator[Engine]:
    engine = make_engine(
        artifact,
        spent_from=spending(hourly(100.0)),
        metrics=metrics,
        pool=sold(),
        max_batch=4,
        max_queue=64,
    )
    try:
        yield engine
    finally:
        await engine.close(HANG_S)


async def booked(
    artifact: Artifact, decided: str, metrics: Metrics | None = None, **report: Any
) -> float:
    """Returns the nano-USD that are booked for one report about a decision for a model."""
    async with running(artifact, metrics or Metrics()) as engine:
        request = PromptRequest("hard", constraints={"allowed_models": (decided,)})
        decision = await engine.route(request)
        assert decision.model == decided
        assert await engine.report(OutcomeReport(decision.decision_id, **report))
        ((state, _),) = await engine.budgets()
        assert state.reserved_usd == 0.0
        return round(state.settled_usd * 1e9, 6)


REPORTS: list[tuple[str, dict[str, Any], int]] = [
    # Cached and written parts of the input, at their own prices.
    (
        "medium",
        {"usage": Usage(9600, 100, cached_input_tokens=9000, cache_write_tokens=500)},
        100 * 1000 + 9000 * 100 + 500 * 1250 + 100 * 2000,
    ),
    # Plain tokens, as before.
    ("medium", {"input_tokens": 1000, "output_tokens": 10}, 1_020_000),
    # The usage goes before plain tokens, and a reported cost before both.
    ("medium", {"usage": Usage(1, 1), "input_tokens": 9, "output_tokens": 9}, 3000),
    ("medium", {"usage": Usage(1, 1), "cost_usd": 0.25}, 250_000_000),
    # Service tiers; an unknown one at the highest multiplier.
    ("medium", {"usage": Usage(1000, 0, service_tier="batch")}, 500_000),
    ("medium", {"usage": Usage(1000, 0, service_tier="turbo")}, 2_000_000),
    # The reply of another model is booked at its prices, by alias, in any case.
    ("medium", {"usage": Usage(1000, 100, model="small")}, 120_000),
    ("medium", {"usage": Usage(1000, 100, model="Tiny-2026")}, 120_000),
    ("medium", {"usage": Usage(1000, 100), "model": "tiny-2026"}, 120_000),
    ("medium", {"usage": Usage(1000, 100, model="gpt-9")}, 1_200_000),
    # A cost that the reply tells counts where the pool trusts it.
    ("small", {"usage": Usage(1000, 100, told_cost_usd=0.0001)}, 100_000),
    ("small", {"usage": Usage(told_cost_usd=0.0001)}, 100_000),
    ("medium", {"usage": Usage(1000, 100, told_cost_usd=0.0001)}, 1_200_000),
    ("medium", {"usage": Usage(1000, 100, told_cost_usd=0.0001, model="small")}, 100_000),
    # Long requests, at half the price from 22 to 23 o'clock.
    ("large", {"usage": Usage(200_000, 0)}, 1_000_000_000),
    ("large", {"usage": Usage(200_001, 0)}, 2_000_010_000),
    # A usage that is not complete, and no cost: the prediction, one word in and 200 tokens out.
    ("medium", {"usage": Usage(None, 100)}, 401_000),
    ("large", {"usage": Usage()}, 3_005_000),
    ("medium", {"usage": Usage(), "error": "HTTP status 500"}, 0),
    # An estimated one: predicted totals, raised by what has flowed.
    ("medium", {"usage": Usage(1000, 500), "estimated": True}, 2_000_000),
    ("medium", {"usage": Usage(None, 10, model="small"), "estimated": True}, 40_100),
    ("medium", {"error": "HTTP status 504", "estimated": True}, 401_000),
]


@pytest.mark.parametrize(("decided", "report", "nano_usd"), REPORTS)
async def test_a_usage_is_booked_at_its_price(
    artifact: Artifact,
    decided: str,
    report: dict[str, Any],
    nano_usd: int,
) -> None:
    assert (THEN.hour, THEN.weekday()) == (22, 1)
    assert await booked(artifact, decided, **report) == nano_usd


async def test_unknown_models_and_tiers_are_counted(artifact: Artifact) -> None:
    metrics = Metrics()
    usage = Usage(10, 1, model="gpt-9", service_tier="turbo")
    await booked(artifact, "medium", metrics, usage=usage)
    for name in ("routoo_answers_by_unknown_models_total", "routoo_unknown_service_tiers_total"):
        assert metrics.registry.get_sample_value(name) == 1.0


async def test_told_tokens_are_counted_by_the_conventions_and_estimates_are_not(
    artifact: Artifact,
) -> None:
    metrics = Metrics()
    for report in (
        {"usage": Usage(1000, 500, cached_input_tokens=100)},
        {"input_tokens": 24, "output_tokens": None, "cost_usd": 0.1},
        {"usage": Usage(7, 7), "estimated": True},
        {"usage": Usage(7, 7), "error": "HTTP status 500"},
    ):
        await booked(artifact, "medium", metrics, **report)
    name = "gen_ai_client_token_usage"
    found = {}
    for kind in ("input", "output"):
        labels = {
            "gen_ai_operation_name": "chat",
            "gen_ai_provider_name": "x_ai",
            "gen_ai_token_type": kind,
            "gen_ai_response_model": "medium",
        }
        value = metrics.registry.get_sample_value
        below = value(f"{name}_bucket", {**labels, "le": "256.0"})
        found[kind] = (value(f"{name}_count", labels), value(f"{name}_sum", labels), below)
    assert found == {"input": (2.0, 1024.0, 1.0), "output": (1.0, 500.0, 0.0)}


async def test_a_prediction_has_the_price_of_its_hour(artifact: Artifact) -> None:
    async with running(artifact, Metrics()) as engine:
        decision = await engine.route(PromptRequest("hard", explain=True))
        costs = {one.model: one.cost_usd for one in decision.candidates()}
    assert costs["large"] == pytest.approx(0.5 * (10e-6 + 200 * 30e-6))
    assert costs["medium"] == pytest.approx(1e-6 + 200 * 2e-6)
