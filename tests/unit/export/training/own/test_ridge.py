"""Ridge regression by marginal likelihood, against explicit algebra."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.training.own.ridge import fit_ridge, marginal_loss

BLOCKS = np.array([0, 0, 1, 1, 1])


def data(seed: int, rows: int = 30, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, len(BLOCKS)))
    targets = features @ random.standard_normal((len(BLOCKS), columns))
    return features, targets + random.standard_normal(targets.shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-6, 4), st.floats(-6, 4))
def test_coefficients_and_variances_are_those_of_an_explicit_solve(
    seed: int, first: float, second: float
) -> None:
    features, targets = data(seed)
    targets[np.random.default_rng(seed).random(len(targets)) < 0.3, 1] = np.nan
    ratios = np.array([first, second])
    found = fit_ridge(features, targets, BLOCKS, ratios)
    penalty = np.diag(np.exp(-ratios[BLOCKS]))
    for column in range(targets.shape[1]):
        known = ~np.isnan(targets[:, column])
        inputs, wanted = features[known], targets[known, column]
        precision = inputs.T @ inputs + penalty
        expected = np.linalg.solve(precision, inputs.T @ wanted)
        np.testing.assert_allclose(found.coefficients[:, column], expected, atol=1e-8)
        # The noise at the maximum of the likelihood, and the posterior covariance.
        marginal = np.eye(len(wanted)) + inputs @ np.diag(np.exp(ratios[BLOCKS])) @ inputs.T
        noise = wanted @ np.linalg.solve(marginal, wanted) / len(wanted)
        np.testing.assert_allclose(found.noise[column], noise, rtol=1e-6)
        variances = noise * np.einsum("qp,pr,qr->q", features, np.linalg.inv(precision), features)
        np.testing.assert_allclose(found.variances(features)[:, column], variances, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(-6, 4), st.floats(-6, 4))
def test_the_marginal_likelihood_is_that_of_the_whole_normal_distribution(
    seed: int, first: float, second: float
) -> None:
    features, targets = data(seed, columns=1)

    def direct(ratios: np.ndarray) -> float:
        marginal = np.eye(len(features)) + features @ np.diag(np.exp(ratios[BLOCKS])) @ features.T
        wanted = targets[:, 0]
        noise = wanted @ np.linalg.solve(marginal, wanted) / len(wanted)
        log_det = np.linalg.slogdet(marginal)[1]
        return 0.5 * (len(wanted) * np.log(noise) + log_det + len(wanted))

    one, other = np.array([first, second]), np.array([-1.0, 0.5])
    found = marginal_loss(features, targets, BLOCKS, one) - marginal_loss(
        features, targets, BLOCKS, other
    )
    np.testing.assert_allclose(found, direct(one) - direct(other), atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_ratios_found_are_likelier_than_any_of_a_grid(seed: int) -> None:
    features, targets = data(seed, rows=60)

    def loss(ratios: np.ndarray) -> float:
        prior = 0.5 * float(np.square((ratios + 4.0) / 4.0).sum())
        return prior + marginal_loss(features, targets, BLOCKS, ratios)

    found = loss(fit_ridge(features, targets, BLOCKS).log_ratios)
    grid = [loss(np.array([a, b])) for a in np.arange(-8, 6, 0.5) for b in np.arange(-8, 6, 0.5)]
    assert found <= min(grid) + 0.1


def test_a_block_without_effect_is_shrunk_to_nothing() -> None:
    random = np.random.default_rng(1)
    features = random.standard_normal((400, len(BLOCKS)))
    targets = 2.0 * features[:, :1] + random.standard_normal((400, 1))
    found = fit_ridge(features, targets, BLOCKS).coefficients[:, 0]
    assert abs(found[0] - 2.0) < 0.2
    assert np.abs(found[2:]).max() < 0.05


def test_a_column_without_rows_has_no_effect() -> None:
    features, targets = data(2)
    targets[:, 1] = np.nan
    assert (fit_ridge(features, targets, BLOCKS).coefficients[:, 1] == 0.0).all()
