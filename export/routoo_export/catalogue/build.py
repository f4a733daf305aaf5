"""The building of the catalogue from the data folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.ability import factor_loadings
from routoo_export.catalogue.estimator import FittedHierarchy, estimate
from routoo_export.catalogue.lengths import TASK_MEDIAN_TOKENS, estimate_lengths
from routoo_export.catalogue.livebench import LIVEBENCH, LiveBenchRelease
from routoo_export.catalogue.measurements import (
    Evidence,
    Measurements,
    gather,
    read_evidence,
)
from routoo_export.catalogue.names import read_livebench_names
from routoo_export.catalogue.posterior import Abilities, abilities
from routoo_export.catalogue.reference import ReferenceScale, logistic_moments, reference_scale
from routoo_export.catalogue.scale_fit import FittedScale, fit_scale
from routoo_export.catalogue.table import Catalogue
from routoo_export.outcomes.kinds import TASK_KINDS

_FEWEST_MODELS = 10
_QUESTIONS = 150


def build_catalogue(
    data: Path, task_median_tokens: Mapping[str, float] = TASK_MEDIAN_TOKENS
) -> Catalogue:
    """Build the catalogue from the sources whose licence allows shipping.

    Args:
        data: The data folder.
        task_median_tokens: Mean over the models of the visible tokens per kind of task.

    Raises:
        OutcomeError: a file is missing or does not fit.
    """
    evidence = read_evidence(data, shipping=True)
    measured = gather(evidence.tests, evidence.facts)
    return assemble(evidence, measured, estimate(measured), task_median_tokens)


def assemble(
    evidence: Evidence,
    data: Measurements,
    fitted: FittedHierarchy,
    task_median_tokens: Mapping[str, float] = TASK_MEDIAN_TOKENS,
) -> Catalogue:
    """Turn an estimate into the table.

    Args:
        evidence: All that was read.
        data: Its measurements.
        fitted: Scales and prior that were fitted to them.
        task_median_tokens: Mean over the models of the visible tokens per kind of task.
    """
    known = abilities(data, fitted)
    scales = fitted.scales
    scale = reference_scale(data.names, known.mean, scales)
    score_mean, score_var = _expected_scores(known, scale)
    lengths = estimate_lengths(data.names, evidence.lengths, evidence.tokens, task_median_tokens)
    misfit = scales.misfit + scales.family[data.test_family]
    averages = category_scales(evidence.releases, data, known, misfit)
    averages |= source_scales(data, known, misfit)
    fits = [fit for _, fit in averages.values()]
    prompts, benchmarks = _evidence_counts(data)
    return Catalogue(
        names=data.names,
        tasks=TASK_KINDS,
        release=_releases(data),
        score_mean=score_mean,
        score_var=score_var,
        log_tokens=lengths.log_visible,
        log_reasoning_tokens=lengths.log_reasoning,
        log_tokens_std=lengths.log_std,
        prompts=prompts,
        benchmarks=benchmarks,
        ability_mean=known.mean,
        ability_cov=known.covariance.astype(np.float32),
        test_name=(*data.test_name, *averages),
        test_weights=np.stack([*data.test_weights, *(weights for weights, _ in averages.values())]),
        test_intercept=np.r_[scales.intercept, [fit.intercept for fit in fits]],
        test_slope=np.r_[scales.slope, [fit.slope for fit in fits]],
        test_misfit=np.r_[misfit, [fit.misfit for fit in fits]],
        test_measured=np.arange(len(data.test_name) + len(fits)) < len(data.test_name),
        prior_mean=fitted.prior.mean(data.regressors),
        prior_cov=fitted.prior.covariance(),
        prior_coefficients=fitted.prior.coefficients @ factor_loadings().T,
        reference_offset=scale.offset,
        reference_slope=scale.slope,
        transfer_var=scale.transfer,
        effort_share=fitted.prior.effort_share,
    )


def score_means(data: Measurements, fitted: FittedHierarchy) -> NDArray[np.float64]:
    """Expected scores alone, float64 [m, t], as ``assemble`` puts them into the table."""
    known = abilities(data, fitted)
    return _expected_scores(known, reference_scale(data.names, known.mean, fitted.scales))[0]


def _expected_scores(
    known: Abilities, scale: ReferenceScale
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    variance = np.einsum("mtt->mt", known.covariance)
    return logistic_moments(*scale.logits(known.mean, variance))


def category_scales(
    releases: list[LiveBenchRelease],
    data: Measurements,
    known: Abilities,
    misfit: NDArray[np.float64],
) -> dict[str, tuple[NDArray[np.float64], FittedScale]]:
    """The scales of LiveBench's averages per category and over all, by ``livebench_DATE.CATEGORY``.

    An average of scores is not linear in the abilities, so its scale is fitted to the models that
    have it, with the tasks' mean weights. Their abilities were found from the very same scores, so
    the misfit of the tasks is added to what is left over.

    Args:
        releases: LiveBench's releases.
        data: The measurements.
        known: The abilities.
        misfit: Variance in logits of each test that abilities do not explain, float64 [j].

    Returns:
        Weights of the tasks, float64 [t], and the scale.
    """
    names = read_livebench_names()
    place = {name: at for at, name in enumerate(data.names)}
    # The newest test of a task comes last.
    test_of = {
        name.partition(".")[2]: at
        for at, name in enumerate(data.test_name)
        if name.startswith(LIVEBENCH)
    }
    found = {}
    for release in releases:
        rows = np.array([place[names[model]] for model in release.models])
        categories = {**release.categories, "average": list(release.tasks)}
        points = {
            name: release.points[:, [release.tasks.index(task) for task in tasks]].mean(axis=1)
            for name, tasks in categories.items()
        }
        points["average"] = np.mean([points[name] for name in release.categories], axis=0)
        for name, tasks in categories.items():
            tests = [test_of[task] for task in tasks]
            weights = data.test_weights[tests].mean(axis=0)
            scored = np.isfinite(points[name])
            if scored.sum() < _FEWEST_MODELS:
                continue
            share = (points[name][scored] / 100.0 * _QUESTIONS + 0.5) / (_QUESTIONS + 1.0)
            mean, variance = known.measured(weights)
            fit = fit_scale(
                mean[rows[scored]],
                variance[rows[scored]],
                np.log(share / (1.0 - share)),
                1.0 / (_QUESTIONS * share * (1.0 - share)),
            )
            fit = replace(fit, misfit=fit.misfit + float(misfit[tests].mean()) / len(tests))
            found[f"{LIVEBENCH}_{release.date}.{name}"] = weights, fit
    return found


def source_scales(
    data: Measurements, known: Abilities, misfit: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], FittedScale]]:
    """The scales of the means over all prompts of a source, by the source's name.

    Args:
        data: The measurements.
        known: The abilities.
        misfit: Variance in logits of each test that abilities do not explain, float64 [j].

    Returns:
        Weights of the tasks, float64 [t], and the scale.
    """
    found = {}
    graded = data.test_graded[data.test]
    for source in dict.fromkeys(np.array(data.test_source)[data.test_graded].tolist()):
        tests = np.flatnonzero(np.array(data.test_source) == source)
        chosen = data.choose(graded & np.isin(data.test, tests))
        prompts = np.bincount(chosen.test, chosen.prompts, len(data.test_name))[tests]
        weights = prompts / prompts.sum() @ data.test_weights[tests]
        total = np.bincount(chosen.row, chosen.prompts, len(data.names))
        right = np.bincount(chosen.row, chosen.prompts * chosen.score, len(data.names))
        rows = np.flatnonzero(total)
        if len(rows) < _FEWEST_MODELS:
            continue
        share = (right[rows] + 0.5) / (total[rows] + 1.0)
        mean, variance = known.measured(weights)
        fit = fit_scale(
            mean[rows],
            variance[rows],
            np.log(share / (1.0 - share)),
            1.0 / (total[rows] * share * (1.0 - share)),
        )
        extra = float(misfit[tests] @ (prompts / prompts.sum()) ** 2)
        found[source] = weights, replace(fit, misfit=fit.misfit + extra)
    return found


def _evidence_counts(data: Measurements) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    prompts = np.zeros((len(data.names), len(TASK_KINDS)))
    benchmarks = np.zeros((len(data.names), len(TASK_KINDS)), dtype=np.int64)
    weights = data.test_weights[data.test]
    graded = data.test_graded[data.test]
    np.add.at(prompts, data.row[graded], (weights * data.prompts[:, None])[graded])
    np.add.at(benchmarks, data.row[~graded], weights[~graded] > 0.0)
    return prompts, benchmarks


def _releases(data: Measurements) -> NDArray[np.float64]:
    years = data.regressors[:, 0] + 2025.0
    return np.where(data.regressors[:, 1] > 0, np.nan, years)
