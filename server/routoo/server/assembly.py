"""Reads the components of a service from the files that its settings name, and checks them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from routoo import __version__
from routoo.api.extproc.factory import check_processor
from routoo.api.http.proxy.factory import check_doors, upstream_findings
from routoo.api.security.entrance import Entrance
from routoo.calibration.cascade_file import load_rule, rule_values
from routoo.calibration.startup import with_price
from routoo.config.checks import check_cascade, check_workers
from routoo.engine.engine import Engine
from routoo.engine.limits.opening import check_limits
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.predictor.chain import Watch
from routoo.predictor.manager import Predictors, in_process
from routoo.pricing.presets import PresetPrices
from routoo.pricing.prices import MEAN_COST
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.policies import build_policies
from routoo.routing.pool import load_pool
from routoo.routing.unsure import Unsure
from routoo.selector.lp.presets import PRESETS
from routoo.server.exploration import check_exploration
from routoo.server.logged_prompts import check_prompts, prompt_findings, read_with
from routoo.server.resources.container import container_bytes
from routoo.server.resources.memory_need import memory_findings, memory_need
from routoo.server.resources.memory_watch import resident_bytes
from routoo.server.trials import TrialsOverReloads, check_trials, load_rival, proof_of
from routoo.telemetry.tracing import check_installed

if TYPE_CHECKING:
    from routoo.config.sections.budget import BudgetSettings
    from routoo.config.sections.policy import GuaranteeSettings
    from routoo.config.settings import Settings
    from routoo.engine.accounting import Accounting
    from routoo.engine.shared import EngineThreads
    from routoo.engine.trials.split import Rival
    from routoo.predictor.artifact import Artifact
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool
    from routoo.telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a service, checked against each other.

    Attributes:
        pool: the models.
        artifact: the predictor's artifact.
        sample: the artifact's calibration sample at the pool's prices.
        price: predicted score per USD in force where no budget sets it, for policies at a price.
        policies: the policies that the settings name.
        presets: the prices of the policies that are points of the sample's curve.
        rival: the predictor that an experiment tries; None: there is none.
        proof: identifies the calibration that has proven the policy guarantee; empty: none has.
    """

    pool: Pool
    artifact: Artifact
    sample: PricedSample
    price: float
    policies: Policies
    presets: PresetPrices
    rival: Rival | None = None
    proof: str = ""

    @property
    def price_in_force(self) -> float:
        """Predicted score per USD of the policy in force where no budget sets it."""
        return self.presets.of(self.policies.in_force.name, self.price, (MEAN_COST,))[0]


def load_components(
    settings: Settings, artifact: Artifact | None = None, pool: Pool | None = None
) -> Components:
    """Reads pool and artifact, computes the price in force, and builds the policies.

    Args:
        settings: name the files.
        artifact: an artifact that is already read; None: the one that the settings name.
        pool: a pool that is already read; None: the one that the settings name.

    Raises:
        ConfigError: a file is wrong, or the files do not fit together; one line.
    """
    pool = load_pool(settings.pool) if pool is None else pool
    if settings.processor.enabled:
        check_processor(settings.processor, pool)
    if settings.http.enabled and settings.proxy.enabled:
        check_doors(settings, pool)
    check_workers(settings)
    check_limits(settings, pool)
    check_cascade(settings)
    if artifact is None:
        artifact = load_artifact(find_artifact(settings.predictor.artifact))
    check_prompts(settings.decision_log, artifact)
    pool = pool.known_to(artifact.knows)
    columns = artifact.columns_of(pool.predictor_names)
    sample = PricedSample(artifact.calibration_sample(), pool, columns)
    most_usd = settings.policy.max_mean_cost_usd
    if settings.policy.mean_cost_is_set or settings.policy.name not in PRESETS:
        price = sample.price_for(most_usd)
    else:  # the preset stands in for the default, which a pool of expensive models may miss
        price = sample.nearest_price(most_usd)
    version = artifact.version_for(pool.predictor_names)
    guarantee = with_price(
        settings, pool, sample, version, lambda: in_process(settings.predictor, artifact)
    )
    policy = settings.policy.model_copy(update={"guarantee": guarantee})
    rule = None if policy.cascade is None else load_rule(policy.cascade, pool, version)
    identity = "|".join(
        (
            policy.model_dump_json(exclude={"cascade"}),
            version,
            *(model.model_dump_json() for model in pool.models),
            pool.prices.version,
            *(() if pool.arms is None else [_rows_of_arms(pool)]),
            *(f"{name} {one.model_dump_json()}" for name, one in pool.provider_limits.items()),
            # The content of the file, not its path.
            "" if rule is None else str(rule_values(rule, pool, version)),
        )
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    unsure = None
    if policy.unsure is not None:
        unsure = Unsure.build(
            policy.unsure,
            pool,
            sample.scores,
            tells_ood="ood" in artifact.manifest.output_names,
            tells_tasks="tasks" in artifact.manifest.output_names,
        )
    policies = build_policies(
        policy, pool, digest, rule, unsure, check_exploration(settings, artifact)
    )
    presets = PresetPrices(sample.presets(), keeps_mean_cost=policy.mean_cost_is_set)
    check_trials(settings, policies)
    rival = load_rival(settings, pool, version)
    proof = "" if guarantee is None else proof_of(guarantee, version, pool)
    return Components(pool, artifact, sample, price, policies, presets, rival, proof)


def _rows_of_arms(pool: Pool) -> str:
    """Returns a text that identifies the predictor's rows, and the offsets, of a pool's arms."""
    assert pool.arms is not None  # noqa: S101 - the caller looked
    offsets = pool.arms.offsets
    factors = (offsets.score_odds, offsets.output_tokens)
    return repr(
        (offsets.predictor_names, *(None if one is None else one.tolist() for one in factors))
    )


def check(settings: Settings) -> list[str]:
    """Checks everything that a start checks, without serving; returns one line per finding.

    Raises:
        ConfigError: the service would not start; one line.
    """
    Entrance.open(settings.security, CollectorRegistry())
    check_installed(settings.tracing)
    parts = load_components(settings)
    predictors = Predictors(
        settings.predictor, parts.artifact, Watch(), models=parts.pool.predicted_names
    )
    try:
        predictors.chain.warm_up()
        predictor = predictors.chain
        need = memory_need(settings, len(parts.pool.names), resident_bytes())
    finally:
        predictors.close()
    price, set_by = parts.presets.of(parts.policies.in_force.name, parts.price, (MEAN_COST,))
    point = parts.sample.point_at(price, parts.policies.in_force)
    budgets = [f"{one.name} ${one.usd:g} per {one.per}{_kind(one)}" for one in settings.budgets]
    why = f"for ${settings.policy.max_mean_cost_usd:g} a request"
    if set_by != (MEAN_COST,):
        why = f"at the point {parts.policies.in_force.name} of the cost-quality curve"
    away = f"warning: Triton at {settings.predictor.triton.url} does not answer"
    busiest = max(zip(point.shares.tolist(), parts.pool.names, strict=True))
    return [
        f"pool: {_pool_size(parts.pool)}",
        f"predictor: {predictor.version} on {predictor.backend}, {len(predictor.models)} models",
        *([away] if predictor.degraded else []),
        *prompt_findings(settings.decision_log),
        f"policy: {parts.policies.version}",
        *_promise(settings.policy.guarantee),
        f"budgets: {', '.join(budgets) or 'none'}",
        *_who_pays(settings),
        f"limits: {_limits(settings, set_by)}",
        f"HTTP: {settings.http.listen or 'off'}",
        f"shadow price: {price:.6g} score per USD {why}",
        f"expected: mean score {point.mean_score:.3f} at ${point.mean_cost_usd:.3g} a request",
        f"busiest model: {busiest[1]}, {busiest[0]:.0%} of the requests",
        *(
            f"preset {one.name}: mean score {one.mean_score:.3f} at ${one.mean_cost_usd:.3g} a"
            f" request, {one.price:.6g} score per USD"
            for one in parts.presets.points
        ),
        *upstream_findings(settings, parts.pool),
        *memory_findings(need, settings.workers, container_bytes()),
    ]


def _kind(budget: BudgetSettings) -> str:
    """Returns what a budget is beside a limit that money has a price for; empty: nothing."""
    if budget.is_apart:
        return f" (pays for {budget.pays_for})"
    return "" if budget.pacing else " (limit alone)"


def _pool_size(pool: Pool) -> str:
    models = f"{len(pool.models)} models"
    return models if pool.arms is None else f"{models}, {len(pool.names)} arms"


def _limits(settings: Settings, set_by: tuple[str, ...]) -> str:
    """Returns what sets the price of money; ``set_by``: what sets it without budgets."""
    mean_cost = f"max_mean_cost_usd ${settings.policy.max_mean_cost_usd:g} a request"
    if set_by != (MEAN_COST,):
        mean_cost = f"preset {settings.policy.name}"
    paced = ", ".join(one.name for one in settings.budgets if one.pacing and not one.is_apart)
    if not paced:
        return f"{mean_cost} sets the price"
    if settings.policy.mean_cost_is_set or set_by != (MEAN_COST,):
        return f"{mean_cost} or budget {paced} sets the price, whichever asks for more"
    return f"budget {paced} sets the price, and {mean_cost} where none applies"


def _who_pays(settings: Settings) -> list[str]:
    """Returns lines about callers who choose the budget that pays for them, or none."""
    found = []
    if any(one.tenant for one in settings.budgets) and not settings.security.asks_who_calls:
        found.append(
            "warning: budgets have tenants, and nobody is asked who calls: any caller may name any"
            " tenant; set security.tokens"
        )
    if settings.processor.enabled:
        means = {
            "pass": "pass, and are paid by no budget",
            "book": "are booked in the budgets",
            "refuse": "are refused",
        }
        found.append(f"named models: requests for them {means[settings.processor.named_models]}")
    return found


def _promise(guarantee: GuaranteeSettings | None) -> list[str]:
    """Returns the line that states the guarantee; empty without a guarantee."""
    if guarantee is None:
        return []
    drop, reference = f"{guarantee.max_drop:g}", guarantee.reference
    said = f"mean score at most {drop} below {reference}, at confidence {guarantee.confidence:g}"
    return [f"guarantee: {said}"]


@dataclass(frozen=True, slots=True)
class EngineFactory:
    """Makes engines from the parts that all engines of a service share.

    Attributes:
        predictors: the predictor of the service.
        telemetry: metrics, traces and decision log.
        shared: threads and decision ids.
        trials: what is tried, over reloads.
    """

    predictors: Predictors
    telemetry: Telemetry
    shared: EngineThreads
    trials: TrialsOverReloads = field(default_factory=TrialsOverReloads)

    def engine(self, parts: Components, money: Accounting, settings: Settings) -> Engine:
        """Makes an engine; call it on the event loop that will call the engine."""
        if self.telemetry.decision_log is not None:
            read_with(self.telemetry.decision_log.prompts, parts.artifact)
        return Engine(
            source=self.predictors,
            pool=parts.pool,
            sample=parts.sample,
            policies=parts.policies,
            accounting=money,
            batching=settings.batching,
            tasks=settings.tasks,
            threads=self.shared,
            metrics=self.telemetry.metrics,
            decision_log=self.telemetry.decision_log,
            trials=self.trials.renewed(
                settings, parts.policies, parts.rival, parts.proof, money.worker
            ),
        )


def versions_of(engine: Engine) -> dict[str, str]:
    """Returns the versions in use, as labels of the metric ``routoo_build_info``."""
    return {
        "version": __version__,
        "predictor": engine.versions.predictor,
        "backend": engine.predictor.backend,
        "policy": engine.versions.policy,
    }
