"""The numeric core against brute force: likelihood, gradient, posterior."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from routoo_export.catalogue.ability import FACTOR_NAMES, AbilityPrior
from routoo_export.catalogue.estimator import (
    FittedHierarchy,
    Scales,
    estimate,
    measurement_buckets,
    measurement_terms,
)
from routoo_export.catalogue.likelihood import log_likelihood
from routoo_export.catalogue.measurements import REGRESSORS, Measurements
from routoo_export.catalogue.posterior import abilities
from routoo_export.outcomes.kinds import TASK_KINDS

TASKS = len(TASK_KINDS)


def random_case(seed: int) -> tuple[Measurements, Scales, AbilityPrior]:
    """Three base models with variants, five tests of two families, some of two tasks."""
    rng = np.random.default_rng(seed)
    base = np.array([0, 0, 0, 1, 1, 2])
    effort = np.array([0, 0, 1, 2, 3, 4])
    weights = np.zeros((5, TASKS))
    for test in range(5):
        weights[test, rng.choice(TASKS, 2, replace=False)] = (0.4, 0.6)
    pairs = np.argwhere(rng.random((6, 5)) < 0.7)
    count = len(pairs)
    data = Measurements(
        names=tuple("abcdef"),
        base=base,
        effort=effort,
        regressors=rng.normal(size=(6, len(REGRESSORS))),
        test_name=tuple("vwxyz"),
        test_source=tuple("vwxyz"),
        test_weights=weights,
        test_family=np.array([0, 0, 1, 1, 2]),
        test_graded=np.ones(5, dtype=np.bool_),
        row=pairs[:, 0],
        test=pairs[:, 1],
        score=rng.random(count),
        logit=rng.normal(size=count),
        variance=rng.uniform(0.01, 0.1, count),
        prompts=np.full(count, 50),
    )
    scales = Scales(
        intercept=rng.normal(size=5),
        slope=rng.uniform(0.5, 1.5, 5),
        misfit=rng.uniform(0.01, 0.2, 5),
        family=rng.uniform(0.01, 0.2, 3),
    )
    prior = AbilityPrior(
        factor_sd=rng.uniform(0.1, 0.6, len(FACTOR_NAMES)),
        task_sd=0.2,
        effort_share=0.7,
        host_share=0.95,
        coefficients=0.3 * rng.normal(size=(len(REGRESSORS), len(FACTOR_NAMES))),
    )
    return data, scales, prior


def joint(
    data: Measurements, scales: Scales, prior: AbilityPrior
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and covariance of all abilities [6 * t]; design and noise of the measurements."""
    share = np.empty((6, 6))
    for one in range(6):
        for other in range(6):
            same_effort = data.effort[one] == data.effort[other]
            kin = prior.host_share if same_effort else prior.effort_share
            share[one, other] = kin * (data.base[one] == data.base[other])
    np.fill_diagonal(share, 1.0)
    design = np.zeros((len(data.row), 6 * TASKS))
    noise = np.zeros((len(data.row), len(data.row)))
    for at, (row, test) in enumerate(zip(data.row, data.test, strict=True)):
        design[at, row * TASKS : (row + 1) * TASKS] = scales.slope[test] * data.test_weights[test]
        noise[at, at] = data.variance[at] + scales.misfit[test]
        for other, (its_row, its_test) in enumerate(zip(data.row, data.test, strict=True)):
            if its_row == row and data.test_family[its_test] == data.test_family[test]:
                noise[at, other] += scales.family[data.test_family[test]]
    mean = prior.mean(data.regressors).ravel()
    return mean, np.kron(share, prior.covariance()), design, noise


@given(seed=st.integers(0, 10_000))
def test_the_likelihood_is_that_of_the_joint_gaussian(seed: int) -> None:
    data, scales, prior = random_case(seed)
    mean, covariance, design, noise = joint(data, scales, prior)
    expected = multivariate_normal.logpdf(
        data.logit,
        scales.intercept[data.test] + design @ mean,
        design @ covariance @ design.T + noise,
    )
    terms = measurement_terms(data, scales, prior)
    value, _ = log_likelihood(measurement_buckets(data), terms)
    assert value == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 10_000))
def test_the_gradient_is_that_of_finite_differences(seed: int) -> None:
    data, scales, prior = random_case(seed)
    terms = measurement_terms(data, scales, prior)
    groups = measurement_buckets(data)
    _, by = log_likelihood(groups, terms)
    rng = np.random.default_rng(seed)
    for name in ("residual", "slope", "noise", "share", "family", "covariance"):
        values = getattr(terms, name)
        step = 1e-6 * rng.normal(size=values.shape)
        if name == "covariance":
            step = step + step.T
        if name == "share":
            step[0] = 0.0
        up, _ = log_likelihood(groups, dataclasses.replace(terms, **{name: values + step}))
        down, _ = log_likelihood(groups, dataclasses.replace(terms, **{name: values - step}))
        expected = float(np.sum(getattr(by, name) * step))
        assert (up - down) / 2.0 == pytest.approx(expected, rel=1e-3, abs=1e-8)


@given(seed=st.integers(0, 10_000))
def test_the_posterior_is_that_of_brute_force_conditioning(seed: int) -> None:
    data, scales, prior = random_case(seed)
    mean, covariance, design, noise = joint(data, scales, prior)
    gain = covariance @ design.T @ np.linalg.inv(design @ covariance @ design.T + noise)
    residual = data.logit - scales.intercept[data.test] - design @ mean
    expected = (mean + gain @ residual).reshape(6, TASKS)
    left = covariance - gain @ design @ covariance
    known = abilities(data, FittedHierarchy(scales, prior, 0.0, 0))
    np.testing.assert_allclose(known.mean, expected, atol=1e-9)
    for row in range(6):
        block = slice(row * TASKS, (row + 1) * TASKS)
        np.testing.assert_allclose(known.covariance[row], left[block, block], atol=1e-9)


def test_the_estimate_orders_the_models_and_repeats_itself(measured: Measurements) -> None:
    fitted = estimate(measured, steps=40)
    again = estimate(measured, steps=40)
    assert fitted.scales.slope.tobytes() == again.scales.slope.tobytes()
    known = abilities(measured, fitted)
    truth = [int(name[5:7]) * 2 + ("@" in name) for name in measured.names]
    general = known.mean.mean(axis=1)
    assert np.corrcoef(truth, general)[0, 1] > 0.97
    # A kind of task that no test measures stays less certain than one that three measure.
    variance = np.einsum("mtt->mt", known.covariance)
    untested = variance[:, TASK_KINDS.index("roleplay")]
    assert np.all(untested > variance[:, TASK_KINDS.index("math_hard")])


def test_more_steps_do_not_lower_the_likelihood(measured: Measurements) -> None:
    few = estimate(measured, steps=5)
    more = estimate(measured, start=few, steps=40)
    assert more.log_likelihood > few.log_likelihood
