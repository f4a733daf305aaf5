"""Placement of a new model in the catalogue by the little that is known of it.

The new model's abilities have the catalogue's prior; graded prompts, published averages and
likeness to a model of the catalogue are Gaussian measurements, and conditioning on them is exact.
Graded prompts are taken as the user's own: they measure the score on users' prompts itself, so a
hundred of them leave little doubt about their kind of task, while benchmarks leave the variance
between benchmarks and users' prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.evidence import StackedScores, benchmark_rows, graded_rows, stack_rows
from routoo_export.catalogue.measurements import regressors
from routoo_export.catalogue.names import ModelFacts, parse_name
from routoo_export.catalogue.reference import logistic_moments
from routoo_export.catalogue.table import Catalogue
from routoo_export.errors import CatalogueError

# Evidence is compared with hardly any belief about how good the model is overall.
_VAGUE_SD: Final = 3.0
_MOST_DEVIATIONS: Final = 3.0
# Without a release the new model is taken as one of those of this many years before the newest.
_RECENT_YEARS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Likeness:
    """Likeness to a model of the catalogue.

    Attributes:
        name: The model of the catalogue.
        distance: 0 = the same model; the correlation of abilities, less their prior means, is
            ``exp(-distance)``. Two effort levels of one model are about 0.25 apart.
    """

    name: str
    distance: float


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """The posterior of a new model on t tasks, as a row of the catalogue.

    Attributes:
        name: Its name.
        score_mean: Expected score on a user's typical prompt, float64 [t].
        score_var: Its variance, float64 [t].
        log_tokens: Natural log of the expected visible output tokens, float64 [t].
        log_reasoning_tokens: That of the hidden reasoning tokens; 0 = none, float64 [t].
        log_tokens_std: Standard deviation of the log of both together, float64 [t].
        ability_mean: Posterior mean abilities in logits, float64 [t].
        ability_cov: Their covariance, float64 [t, t].
        logit_mean: Posterior mean logits of the scores on users' prompts, float64 [t].
        logit_cov: Their covariance, float64 [t, t].
    """

    name: str
    score_mean: NDArray[np.float64]
    score_var: NDArray[np.float64]
    log_tokens: NDArray[np.float64]
    log_reasoning_tokens: NDArray[np.float64]
    log_tokens_std: NDArray[np.float64]
    ability_mean: NDArray[np.float64]
    ability_cov: NDArray[np.float64]
    logit_mean: NDArray[np.float64]
    logit_cov: NDArray[np.float64]


def place(  # noqa: PLR0913 - one parameter per kind of evidence
    catalogue: Catalogue,
    name: str,
    *,
    graded: Mapping[str, tuple[float, float]] | None = None,
    benchmarks: Mapping[str, float] | None = None,
    similar: Likeness | None = None,
    release: float | None = None,
    params_b: float | None = None,
    by_name: bool = False,
    force: bool = False,
) -> PlacedModel:
    """Find the posterior of a new model.

    Args:
        catalogue: The catalogue.
        name: Name of the new model, ``provider/name`` or ``provider/name@effort``; it decides
            whether the model is taken as one that thinks before it answers.
        graded: Mean score in [0, 1] and number of graded prompts, by kind of task.
        benchmarks: Published averages in percent, by test: ``livebench.Mathematics`` (the newest
            release that has it), ``livebench_2025_11_25.olympiad``, ``mmlu_pro``,
            ``mmlu_pro.math_hard``.
        similar: A model of the catalogue that it resembles.
        release: Year of its release with the month as a fraction; None = recent.
        params_b: Its parameters in billions.
        by_name: Place a model by its name, release and size where there is no evidence.
        force: Take evidence that contradicts itself.

    Returns:
        The posterior.

    Raises:
        CatalogueError: there is no evidence, a name is not known, a value is out of range or not a
            number, or two pieces of evidence, the similar model among them, lie more than 3
            predictive standard deviations apart.
    """
    known = stack_rows(
        [*graded_rows(catalogue, graded or {}), *benchmark_rows(catalogue, benchmarks or {})],
        len(catalogue.tasks),
    )
    if not (len(known.value) or similar is not None or by_name):
        raise CatalogueError(
            f"{name}: no evidence; give graded prompts, benchmarks or a similar model"
        )
    mean, covariance = _prior(catalogue, name, similar, ModelFacts(release, params_b))
    if not force:
        _refuse_contradictions(catalogue, known)
        if similar is not None:
            _refuse_unlike(catalogue, known, similar, mean, covariance)
    mean, covariance = _condition(catalogue, mean, covariance, known)
    tasks = len(catalogue.tasks)
    # The logit on users' prompts is a linear map of ability and deviation.
    to_users = np.hstack([catalogue.reference_slope * np.eye(tasks), np.eye(tasks)])
    logit_mean = catalogue.reference_offset + to_users @ mean
    logit_cov = to_users @ covariance @ to_users.T
    score_mean, score_var = logistic_moments(logit_mean, np.maximum(np.diag(logit_cov), 0.0))
    visible, reasoning, std = _lengths(catalogue, name, similar)
    return PlacedModel(
        name=name,
        score_mean=score_mean,
        score_var=score_var,
        log_tokens=visible,
        log_reasoning_tokens=reasoning,
        log_tokens_std=std,
        ability_mean=mean[:tasks],
        ability_cov=covariance[:tasks, :tasks],
        logit_mean=logit_mean,
        logit_cov=logit_cov,
    )


def _prior(
    catalogue: Catalogue, name: str, similar: Likeness | None, facts: ModelFacts
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [t] and covariance [t, t] of the abilities before graded prompts and benchmarks."""
    expected = (regressors([name], {name: facts}) @ catalogue.prior_coefficients)[0]
    if similar is not None:
        row = catalogue.row(similar.name)
        if not similar.distance >= 0.0:
            raise CatalogueError(f"{name}: the distance {similar.distance} is not 0 or more")
        share = float(np.exp(-similar.distance))
        base = catalogue.prior_mean[row]
        if facts.release is None:
            expected = base
        mean = expected + share * (catalogue.ability_mean[row] - base)
        covariance = share**2 * catalogue.ability_cov[row].astype(np.float64)
        return mean, covariance + (1.0 - share**2) * catalogue.prior_cov
    if facts.release is not None:
        return expected, catalogue.prior_cov
    return typical_abilities(catalogue)


def typical_abilities(
    catalogue: Catalogue,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [t] and covariance [t, t] of the abilities of models of the last years."""
    newest = float(np.nanmax(catalogue.release))
    recent = catalogue.release >= newest - _RECENT_YEARS
    abilities = catalogue.ability_mean[recent]
    spread = np.cov(abilities, rowvar=False) + catalogue.ability_cov[recent].mean(axis=0)
    return abilities.mean(axis=0), np.atleast_2d(spread).astype(np.float64)


def _with_deviations(
    catalogue: Catalogue, mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The prior of abilities and of the deviations on users' prompts, [2t] and [2t, 2t]."""
    tasks = len(mean)
    both = np.zeros((2 * tasks, 2 * tasks))
    both[:tasks, :tasks] = covariance
    both[tasks:, tasks:] = catalogue.transfer_var * np.eye(tasks)
    return np.r_[mean, np.zeros(tasks)], both


def _condition(
    catalogue: Catalogue,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    known: StackedScores,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, covariance = _with_deviations(catalogue, mean, covariance)
    if not len(known.value):
        return mean, covariance
    cross = known.design @ covariance
    gain = np.linalg.solve(cross @ known.design.T + np.diag(known.noise), cross).T
    residual = known.value - known.offset - known.design @ mean
    return mean + gain @ residual, covariance - gain @ cross


def _refuse_contradictions(catalogue: Catalogue, known: StackedScores) -> None:
    tasks = len(catalogue.tasks)
    vague = catalogue.prior_cov + _VAGUE_SD**2 * np.ones((tasks, tasks))
    centre = catalogue.ability_mean.mean(axis=0)
    mean, covariance = _with_deviations(catalogue, centre, vague)
    joint = known.design @ covariance @ known.design.T + np.diag(known.noise)
    residual = known.value - known.offset - known.design @ mean
    for one, other in combinations(range(len(residual)), 2):
        share = joint[one, other] / joint[one, one]
        spread = joint[other, other] - share * joint[one, other]
        deviations = abs(residual[other] - share * residual[one]) / np.sqrt(spread)
        if deviations > _MOST_DEVIATIONS:
            raise CatalogueError(
                f"{known.label[one]} and {known.label[other]} put the model {deviations:.1f}"
                " standard deviations apart; correct one of them, or force it"
            )


def _refuse_unlike(
    catalogue: Catalogue,
    known: StackedScores,
    similar: Likeness,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> None:
    mean, covariance = _with_deviations(catalogue, mean, covariance)
    spread = np.einsum("ni,ij,nj->n", known.design, covariance, known.design) + known.noise
    apart = np.abs(known.value - known.offset - known.design @ mean) / np.sqrt(spread)
    if len(apart) and apart.max() > _MOST_DEVIATIONS:
        worst = int(apart.argmax())
        raise CatalogueError(
            f"{known.label[worst]} and the likeness to {similar.name} put the model"
            f" {apart[worst]:.1f} standard deviations apart; correct one of them, give a larger"
            " distance, or force it"
        )


def _lengths(
    catalogue: Catalogue, name: str, similar: Likeness | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lengths of the similar model, or of the typical model that thinks as much; [t] each."""
    level = parse_name(name).level
    levels = np.array([parse_name(one).level for one in catalogue.names])
    if similar is not None:
        alike = np.zeros(len(levels), dtype=np.bool_)
        alike[catalogue.row(similar.name)] = True
    else:
        alike = np.abs(levels - level) == np.abs(levels - level).min()
    visible, reasoning = catalogue.log_tokens[alike], catalogue.log_reasoning_tokens[alike]
    total = np.log(np.exp(visible) + np.exp(reasoning) * (reasoning > 0.0))
    inner = np.mean(catalogue.log_tokens_std[alike] ** 2, axis=0)
    return visible.mean(axis=0), reasoning.mean(axis=0), np.sqrt(inner + np.var(total, axis=0))
