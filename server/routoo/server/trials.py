"""Opens what a service tries: an experiment with its candidate, and the watch on a promise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from routoo.engine.trials.experiment import Experiment, ExperimentTerms
from routoo.engine.trials.promise_watch import PromiseWatch, WatchTerms
from routoo.engine.trials.split import Rival, Trials
from routoo.engine.trials.state_file import StateFile
from routoo.errors import ConfigError, PoolError, PredictorError
from routoo.predictor.artifact import MANIFEST, find_artifact, load_artifact
from routoo.predictor.backends import load_backends
from routoo.pricing.presets import PresetPrices
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.policies import learned_with_predictor
from routoo.selector.policies import POLICIES
from routoo.selector.policies.guarantee import Guarantee

if TYPE_CHECKING:
    from routoo.config.sections.policy import GuaranteeSettings
    from routoo.config.sections.trials import ExperimentSettings
    from routoo.config.settings import Settings
    from routoo.engine.engine import Engine
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool

# Without a bound of its own, costs count up to so many times the mean cost that is aimed at.
_COSTS = 20.0


def check_trials(settings: Settings, policies: Policies) -> None:
    """Checks the experiment and the watch against the rest of the settings.

    Raises:
        ConfigError: they cannot be done; one line.
    """
    experiment, guarantee = settings.experiment, settings.policy.guarantee
    if guarantee is not None and guarantee.watch is not None and guarantee.watch.path is not None:
        StateFile(guarantee.watch.path, "policy.guarantee.watch.path")
    if experiment is None:
        return
    if experiment.path is not None:
        StateFile(experiment.path, "experiment.path")
    if settings.workers > 1:
        raise ConfigError(
            f"experiment: each of {settings.workers} workers would draw and judge for itself; set"
            " workers: 1 and add replicas, or leave the experiment out"
        )
    candidate = experiment.candidate
    if candidate in POLICIES:
        if candidate == policies.in_force.name:
            raise ConfigError(
                f"experiment.candidate is {candidate}, the policy in force; name another"
            )
        if candidate not in policies.offered:
            raise ConfigError(
                f"experiment.candidate is {candidate}, which policy.offered lacks; add it there"
            )
        return
    learned = learned_with_predictor(settings.policy)
    if learned:
        raise ConfigError(
            f"experiment.candidate: what {' and '.join(learned)} says was learned with the"
            " predictor in force and holds for no other; leave it out, or the experiment"
        )


def load_rival(settings: Settings, pool: Pool, in_force: str) -> Rival | None:
    """Loads and warms up the predictor that an experiment tries.

    Args:
        settings: the experiment, and how predictors run.
        pool: the models.
        in_force: the version of the predictor in force.

    Returns:
        None where a policy is tried, or nothing, or where the folder has no version yet, or that
        in force.

    Raises:
        ConfigError: it does not load, or lacks a model of the pool; one line.
    """
    experiment = settings.experiment
    if experiment is None or experiment.candidate in POLICIES:
        return None
    folder = find_artifact(Path(experiment.candidate))
    if not (folder / MANIFEST).is_file():
        return None
    try:
        artifact = load_artifact(folder)
        known = pool.known_to(artifact.knows)
        version = artifact.version_for(known.predictor_names)
        if version == in_force:
            return None
        sample = PricedSample(
            artifact.calibration_sample(), known, artifact.columns_of(known.predictor_names)
        )
        price = sample.nearest_price(settings.policy.max_mean_cost_usd)
        backends = load_backends(artifact, settings.predictor, None, known.predicted_names)
    except (ConfigError, PoolError, PredictorError) as error:
        raise ConfigError(f"experiment.candidate: {error}") from None
    presets = PresetPrices(sample.presets(), keeps_mean_cost=settings.policy.mean_cost_is_set)
    return Rival(backends.local[0], version, price, presets)


def version_of(rival: Rival | None) -> str:
    """Returns the version of a rival; empty: there is none."""
    return "" if rival is None else rival.version


def proof_of(guarantee: GuaranteeSettings, predictor_version: str, pool: Pool) -> str:
    """Identifies the calibration that has proven a promise; another one begins its watch anew."""
    said = (
        guarantee.reference,
        guarantee.max_drop,
        guarantee.confidence,
        guarantee.price,
        guarantee.labels_sha256,
        predictor_version,
        pool.digest,
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


def promise_states(engine: Engine) -> list[tuple[bool, float]] | None:
    """Returns per tenant and task whether a promise is refuted, and the evidence; None: none is."""
    promise = engine.trials.promise
    return None if promise is None else [(one.is_broken, one.e_value) for one in promise.states()]


def is_reverted(engine: Engine) -> bool | None:
    """Returns whether an experiment's candidate was found worse; None: there is no experiment."""
    experiment = engine.trials.experiment
    return None if experiment is None else experiment.reverted


class TrialsOverReloads:
    """Makes the trials of successive engines, so that what they have learned outlives a reload."""

    def __init__(self) -> None:
        self._last = Trials()

    def renewed(
        self,
        settings: Settings,
        policies: Policies,
        rival: Rival | None,
        proof: str,
        worker: int,
    ) -> Trials:
        """Makes the trials of the next engine.

        Args:
            settings: with the experiment and the guarantee.
            policies: the policies of that engine.
            rival: the candidate's predictor.
            proof: identifies the calibration of the guarantee.
            worker: the number of this process among the workers; each has files of its own.
        """
        before = self._last
        before.close()
        self._last = Trials(
            self._promise(settings, policies, proof, worker, before.promise),
            _experiment(settings, rival, before.experiment),
            rival,
        )
        return self._last

    @staticmethod
    def _promise(
        settings: Settings,
        policies: Policies,
        proof: str,
        worker: int,
        before: PromiseWatch | None,
    ) -> PromiseWatch | None:
        section = settings.policy.guarantee
        policy = policies.offered.get("guarantee")
        if section is None or section.watch is None or not isinstance(policy, Guarantee):
            return None
        names = {"guarantee", *([""] if policies.in_force is policy else [])}
        # Each worker has evidence of its own, and all together the chance of one false alarm.
        alpha = (1.0 - section.confidence) / settings.workers
        terms = WatchTerms(
            policy,
            policies.versions["guarantee"],
            frozenset(names),
            proof,
            section.max_drop,
            alpha,
        )
        path = section.watch.path
        if path is not None and worker:
            path = path.with_name(f"{path.name}.{worker}")
        file = None if path is None else StateFile(path, "policy.guarantee.watch.path")
        return PromiseWatch(terms, file, before)


def _experiment(
    settings: Settings, rival: Rival | None, before: Experiment | None
) -> Experiment | None:
    section = settings.experiment
    if section is None:
        return None
    is_policy = section.candidate in POLICIES
    if not is_policy and rival is None:
        return None
    version = section.candidate if rival is None else rival.version
    terms = _terms(section, version, settings.policy.max_mean_cost_usd, is_policy=is_policy)
    file = None if section.path is None else StateFile(section.path, "experiment.path")
    return Experiment(terms, file, before)


def _terms(
    section: ExperimentSettings, version: str, mean_cost_usd: float, *, is_policy: bool
) -> ExperimentTerms:
    return ExperimentTerms(
        name=section.name,
        version=version,
        policy=section.candidate if is_policy else "",
        share=section.share,
        by=section.by,
        alpha=section.alpha,
        margin=section.margin,
        cost_margin=section.cost_margin,
        max_cost_usd=section.max_cost_usd or _COSTS * mean_cost_usd,
        shadow_decisions=section.shadow_decisions,
        reverts=section.on_worse == "revert",
    )
