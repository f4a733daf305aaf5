"""An engine on the tiny artifact and pool, without a service around it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from routoo.config.sections.policy import PolicySettings
from routoo.config.sections.tasks import TaskSettings
from routoo.config.settings import BatchingSettings
from routoo.engine.engine import Engine
from routoo.engine.open_decisions import DecisionIds
from routoo.engine.shared import EngineThreads
from routoo.predictor.base import LonePredictor
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.policies import build_policies
from routoo.telemetry.metrics import Metrics
from support.artifacts.tiny_artifact import MODELS
from support.tiny_money import REPORT_FACTOR, budgeted_accounting, fixed_accounting
from support.tiny_pool import tiny_pool
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from routoo.engine.booking.single import BudgetBooking
    from routoo.engine.limits.choice import ProviderLimits
    from routoo.predictor.artifact import Artifact
    from routoo.routing.pool import Pool
    from routoo.selector.cascade import Rule
    from routoo.telemetry.decision_log.log import DecisionLog


def make_engine(
    artifact: Artifact,
    *,
    price: float = 100.0,
    policy: PolicySettings | None = None,
    rule: Rule | None = None,
    spent_from: BudgetBooking | None = None,
    metrics: Metrics | None = None,
    decision_log: DecisionLog | None = None,
    pool: Pool | None = None,
    report_factor: float = REPORT_FACTOR,
    limits: ProviderLimits | None = None,
    **batching: int,
) -> Engine:
    """Makes an engine at one price.

    Args:
        artifact: predicts.
        price: score per USD.
        policy: the settings of the policies.
        rule: of signals.
        spent_from: its budgets; None: it has none.
        metrics: counts.
        decision_log: logs.
        pool: of the tiny models, at other prices; None: the tiny pool.
        report_factor: bounds reports.
        limits: keeps the limits of the pool; None: nothing does.
        batching: its settings.
    """
    pool = pool or tiny_pool()
    metrics = metrics or Metrics()
    money = (
        fixed_accounting(pool, metrics, price, limits)
        if spent_from is None
        else budgeted_accounting(pool, metrics, price, spent_from, report_factor, limits)
    )
    return Engine(
        source=LonePredictor(OnnxPredictor(artifact)),
        pool=pool,
        sample=PricedSample(artifact.calibration_sample(), pool, pool.columns_in(MODELS)),
        policies=build_policies(policy or PolicySettings(), pool, "test", rule),
        accounting=money,
        batching=BatchingSettings(**batching),
        tasks=TaskSettings(),
        threads=EngineThreads(DecisionIds("test")),
        metrics=metrics,
        decision_log=decision_log,
    )


async def outcomes(*waiting: Awaitable[Any]) -> list[Any]:
    """Awaits all, and returns each one's result or error."""
    async with asyncio.timeout(HANG_S):
        return await asyncio.gather(*waiting, return_exceptions=True)
