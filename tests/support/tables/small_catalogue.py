"""Synthetic measurements with known abilities, and a small catalogue made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo_export.catalogue.estimator import estimate
from routoo_export.catalogue.measurements import REGRESSORS, gather
from routoo_export.catalogue.names import ModelFacts
from routoo_export.catalogue.posterior import abilities
from routoo_export.catalogue.scores import MeanScores
from routoo_export.catalogue.table import Catalogue
from routoo_export.outcomes.kinds import TASK_KINDS

if TYPE_CHECKING:
    from routoo_export.catalogue.measurements import Measurements

TESTED = ("code_generate", "math_hard", "logic_puzzle", "translate")


def synthetic_tests(models: int, tests_per_task: int, seed: int = 0) -> list[MeanScores]:
    """Tests of four tasks; model i of base b has ability i / models, in units of 3 logits."""
    rng = np.random.default_rng(seed)
    names = [f"lab/m{i // 2:02d}" + ("@high" if i % 2 else "") for i in range(models)]
    general = np.linspace(-1.5, 1.5, models)
    tests = []
    for place, task in enumerate(TESTED):
        own = general + rng.normal(0.0, 0.2, models)
        for number in range(tests_per_task):
            logit = rng.normal(0.0, 0.5) + own * rng.uniform(0.7, 1.4)
            mean = 1.0 / (1.0 + np.exp(-logit - rng.normal(0.0, 0.1, models)))
            tests.append(
                MeanScores(
                    name=f"source{number}.{task}",
                    weights={task: 1.0} if place else {task: 0.7, "sql_data": 0.3},
                    source=f"source{number}",
                    family=f"source{number}",
                    ships=True,
                    models=tuple(names),
                    mean=mean,
                    prompts=np.full(models, 400),
                    item_variance=0.6 * mean * (1.0 - mean),
                    graded=number % 2 == 0,
                )
            )
    return tests


def small_measurements() -> Measurements:
    """Measurements of 12 models, each with and without much thinking."""
    facts = {f"lab/m{i:02d}": ModelFacts(2024.0 + i / 6.0, 2.0**i) for i in range(12)}
    return gather(synthetic_tests(24, 3), facts)


def small_catalogue(measured: Measurements) -> Catalogue:
    """A catalogue of these measurements, with averages of LiveBench."""
    fitted = estimate(measured, steps=60)
    known = abilities(measured, fitted)
    shape = known.mean.shape
    tests = len(measured.test_name)
    names = (*measured.test_name, "livebench_2024_06_24.Coding", "livebench_2026_06_25.Coding")
    names = (*names, "livebench_2026_06_25.average")

    def more(values: np.ndarray, filled: object) -> np.ndarray:
        return np.concatenate([values, np.repeat(np.asarray(filled)[None], 3, axis=0)])

    return Catalogue(
        names=measured.names,
        tasks=TASK_KINDS,
        release=measured.regressors[:, 0] + 2025.0,
        score_mean=np.full(shape, 0.5),
        score_var=np.full(shape, 0.01),
        log_tokens=np.full(shape, 5.0),
        log_reasoning_tokens=np.zeros(shape),
        log_tokens_std=np.full(shape, 0.3),
        prompts=np.zeros(shape),
        benchmarks=np.zeros(shape, dtype=np.int64),
        ability_mean=known.mean,
        ability_cov=known.covariance.astype(np.float32),
        test_name=names,
        test_weights=more(measured.test_weights, measured.test_weights[0]),
        test_intercept=more(fitted.scales.intercept, 0.0),
        test_slope=more(fitted.scales.slope, 1.0),
        test_misfit=more(fitted.scales.misfit, 0.05),
        test_measured=np.arange(tests + 3) < tests,
        prior_mean=fitted.prior.mean(measured.regressors),
        prior_cov=fitted.prior.covariance(),
        prior_coefficients=np.zeros((len(REGRESSORS), len(TASK_KINDS))),
        reference_offset=np.zeros(len(TASK_KINDS)),
        reference_slope=0.85,
        transfer_var=0.07,
        effort_share=fitted.prior.effort_share,
    )
