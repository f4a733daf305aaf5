"""What an engine tells of itself: its models, and what serves in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.operating_point import CurvePoint
    from routoo.routing.pool import Pool
    from routoo.telemetry.shadow_counts import Comparison


@dataclass(frozen=True, slots=True)
class ModelsOverview:
    """The pool over the calibration sample, at the price in force.

    Attributes:
        pool: m models.
        at: where on the curve the service works.
        mean_scores: of each model, [m].
        mean_costs_usd: of each model, [m].
        curve: points of the cost-quality curve; empty: none were asked for.
    """

    pool: Pool
    at: CurvePoint
    mean_scores: Sequence[float]
    mean_costs_usd: Sequence[float]
    curve: Sequence[CurvePoint]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The parts of an engine and their state.

    Attributes:
        predictor_version: the artifact that predicts now.
        predictor_backend: what it runs on.
        policy_version: the policy in force and its settings.
        policies: the names of those that a request may name.
        price: score per USD in force for requests without a tenant.
        max_prompt_tokens: longest prompt that is read whole.
        degraded: a part of the service has failed, and another stands in for it.
        shadow: what the shadow policy would have done; None: there is none.
    """

    predictor_version: str
    predictor_backend: str
    policy_version: str
    policies: Sequence[str]
    price: float
    max_prompt_tokens: int
    degraded: bool
    shadow: Comparison | None
