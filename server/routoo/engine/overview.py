"""Descriptions of an engine for callers: its models, and the state of its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routoo.engine.trials.split import Trials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.engine.corrections.learner import LearningState
    from routoo.routing.arms.limit_rows import LimitState
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.corrections.scores.table import ModelAbility
    from routoo.routing.corrections.table import ModelCorrection
    from routoo.routing.health.overview import HealthOverview
    from routoo.routing.money.operating_point import CurvePoint
    from routoo.routing.pool import Pool
    from routoo.selector.lp.presets import PresetPoint
    from routoo.telemetry.shadow_counts import Comparison


@dataclass(frozen=True, slots=True)
class ModelsOverview:
    """The models of the pool, as predicted for the calibration sample.

    Attributes:
        pool: m models.
        at: the point of the curve at which the service works, at the price in force.
        mean_scores: [m], each model's mean predicted score.
        mean_costs_usd: [m], each model's mean predicted cost.
        evidence: [m], graded prompts behind each model's scores; None: not known.
        averages: [m], published averages behind them; None: not known.
        curve: points of the cost-quality curve; empty: none were asked for.
        price_set_by: the limits that the price in force comes from.
        mean_output_tokens: [m], mean predicted length over the calibration sample.
        corrections: [m], what reports have told of each model; None: nothing is corrected.
        health: the health of models and providers; None: nobody watches it.
        limits: the limits of providers, in the order of the pool's rows.
        presets: the points of the curve that have a name, the cheapest first.
        learned: [m], what was learned of each model's scores; None: nothing is.
    """

    pool: Pool
    at: CurvePoint
    mean_scores: Sequence[float]
    mean_costs_usd: Sequence[float]
    evidence: Sequence[float] | None
    averages: Sequence[float] | None
    curve: Sequence[CurvePoint]
    price_set_by: Sequence[str]
    mean_output_tokens: Sequence[float]
    corrections: Sequence[ModelCorrection] | None = None
    health: HealthOverview | None = None
    limits: Sequence[LimitState] = ()
    presets: Sequence[PresetPoint] = ()
    learned: Sequence[ModelAbility] | None = None


@dataclass(frozen=True, slots=True)
class CorrectionsInfo:
    """The corrections in force.

    Attributes:
        version: the id of their factors; empty: all are 1.
        length_reports: the number of reports with a length behind them.
        latency_reports: the number of reports with a latency.
    """

    version: str
    length_reports: int
    latency_reports: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The parts of an engine and their state.

    Attributes:
        predictor_version: the artifact that predicts now.
        predictor_backend: the backend that it runs on.
        policy_version: the policy in force and its settings.
        policies: the names of the policies that a request may name.
        tasks: the kinds of task that a request may name; empty: none are told apart.
        price_version: identifies the models' prices and the way costs are computed.
        price: score per USD in force for requests without a tenant.
        price_set_by: the limits that this price comes from; empty: none binds.
        max_prompt_tokens: longest prompt that is read whole.
        degraded: a part of the service has failed, and another stands in for it.
        shadow: the counts of the shadow policy; None: there is none.
        corrections: the corrections in force; None: predictions are taken as they are.
        health: the health of models and providers; None: nobody watches it.
        trials: an experiment, and the watch on a promise.
        presets: the points of the curve that have a name, the cheapest first.
        learning: the learned scores in force; None: none are learned.
    """

    predictor_version: str
    predictor_backend: str
    policy_version: str
    policies: Sequence[str]
    tasks: Sequence[str]
    price_version: str
    price: float
    price_set_by: Sequence[str]
    max_prompt_tokens: int
    degraded: bool
    shadow: Comparison | None
    corrections: CorrectionsInfo | None = None
    health: HealthOverview | None = None
    presets: Sequence[PresetPoint] = ()
    learning: LearningState | None = None
    trials: Trials = field(default_factory=Trials)


def corrections_info(
    found: Sequence[ModelCorrection] | None, in_force: Factors | None
) -> CorrectionsInfo | None:
    """Sums up what reports have told of the models; None: nothing is corrected."""
    if found is None or in_force is None:
        return None
    return CorrectionsInfo(
        "" if in_force.changes_nothing else in_force.id,
        sum(one.lengths.answers for one in found),
        sum(one.latencies.answers for one in found),
    )
