"""Baselines on outcomes whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest

from routoo_export.evaluation.baselines import (
    domain_prior,
    nearest_neighbours,
    overall_means,
    scale_features,
)
from routoo_export.evaluation.factorisation import FactorisationConfig, matrix_factorisation
from routoo_export.evaluation.metrics import auc
from routoo_export.evaluation.pool import EvaluationPool, fitted_prices
from routoo_export.outcomes.outcomes import Outcomes, Source

NAN = float("nan")


def make_outcomes(
    scores: np.ndarray,
    domains: list[str | None] | None = None,
    tokens: np.ndarray | None = None,
    cost_usd: np.ndarray | None = None,
) -> Outcomes:
    n, m = scores.shape
    return Outcomes(
        prompt_ids=tuple(f"p{i}" for i in range(n)),
        prompts=tuple(f"prompt {i}?" for i in range(n)),
        models=tuple(f"model-{j}" for j in range(m)),
        scores=scores,
        output_tokens=np.full((n, m), 10.0) if tokens is None else tokens,
        cost_usd=np.full((n, m), NAN) if cost_usd is None else cost_usd,
        domains=tuple(domains) if domains else (None,) * n,
        duplicate_groups=(None,) * n,
        buckets=np.arange(n) % 10,
        source_names=("own",) * n,
        sources=(Source("own", "MIT", n, ""),),
    )


def test_means_by_domain_and_what_stands_in_for_them() -> None:
    scores = np.array([[1.0, 0.0], [0.0, NAN], [1.0, 1.0], [1.0, 1.0], [NAN, NAN], [NAN, NAN]])
    outcomes = make_outcomes(scores, ["a", "a", "b", "b", "a", "c"])
    train = np.array([True] * 4 + [False] * 2)
    found = domain_prior(outcomes, train, ~train)
    assert np.isnan(found.scores[:4]).all()
    np.testing.assert_allclose(found.scores[4], [0.5, 0.0])
    # In a domain that training lacks, the prediction is the model's own mean.
    np.testing.assert_allclose(found.scores[5], [0.75, 2 / 3])
    np.testing.assert_allclose(overall_means(outcomes, train, ~train).scores[4], [0.75, 2 / 3])
    np.testing.assert_allclose(found.output_tokens[4:], 10.0)


def test_nearest_neighbours_are_those_of_the_cosine() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    scores = rng.random((60, 2))
    scores[rng.random((60, 2)) < 0.2] = NAN
    outcomes = make_outcomes(scores)
    train = np.arange(60) < 40
    found = nearest_neighbours(outcomes, features, (3, 1, 1), train, ~train, neighbours=7)
    scaled = scale_features(features, (3, 1, 1), train)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    for row in range(40, 60):
        near = np.argsort(-(unit[:40] @ unit[row]))[:7]
        np.testing.assert_allclose(found.scores[row], np.nanmean(scores[near], axis=0))


def test_a_run_of_features_shares_one_scale() -> None:
    features = np.array([[10.0, 1.0, 5.0], [-10.0, -1.0, 9.0]], dtype=np.float32)
    scaled = scale_features(features, (2, 1), np.array([True, True]))
    assert scaled[0, 0] == pytest.approx(10 * scaled[0, 1])
    np.testing.assert_allclose(scaled[:, 2], [-1.0, 1.0])


def test_matrix_factorisation_learns_who_is_good_at_what_and_repeats_itself() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(1200, 6)).astype(np.float32)
    # The first model is good on one side of the space, the second on the other.
    chance = 1 / (1 + np.exp(-3 * features[:, :1] * np.array([1.0, -1.0])))
    scores = (rng.random((1200, 2)) < chance).astype(np.float64)
    scores[::7, 0] = NAN
    outcomes = make_outcomes(scores)
    train, validation = np.arange(1200) < 800, (np.arange(1200) >= 800) & (np.arange(1200) < 950)
    wanted = np.arange(1200) >= 950
    config = FactorisationConfig(width=8, epochs=40, batch_size=32)

    def fitted() -> np.ndarray:
        return matrix_factorisation(
            outcomes, features, (6,), train, validation, wanted, seed=3, config=config
        ).scores

    found = fitted()
    assert np.isnan(found[~wanted]).all()
    assert auc(scores[wanted, 1], found[wanted, 1]) > 0.85
    preferred = (found[wanted, 0] > found[wanted, 1]) == (features[wanted, 0] > 0)
    assert preferred.mean() > 0.9
    np.testing.assert_array_equal(found, fitted())


def test_prices_are_those_that_the_costs_were_made_of() -> None:
    rng = np.random.default_rng(2)
    tokens_in, tokens_out = rng.integers(50, 500, 40) * 1.0, rng.integers(1, 300, (40, 2)) * 1.0
    true = np.array([[5.0, 15.0], [0.2, 0.4]])
    cost_usd = (tokens_in[:, None] * true[:, 0] + tokens_out * true[:, 1]) / 1e6
    cost_usd[::3, 1] = NAN
    outcomes = make_outcomes(rng.random((40, 2)), tokens=tokens_out, cost_usd=cost_usd)
    found = fitted_prices(outcomes, np.ones(40, dtype=bool), tokens_in)
    np.testing.assert_allclose(found, true, rtol=1e-6)
    none = fitted_prices(outcomes, np.arange(40) % 3 == 0, tokens_in)
    assert np.isnan(none[1]).all()


def test_the_random_mix_is_of_the_training_hull() -> None:
    # Cheap and bad, more expensive and worse, in between but below the line, expensive and good.
    scores = np.tile([0.2, 0.1, 0.4, 0.9], (20, 1))
    cost_usd = np.tile([1.0, 2.0, 3.0, 4.0], (20, 1))
    outcomes = make_outcomes(scores, cost_usd=cost_usd)
    pool = EvaluationPool(
        outcomes,
        np.ones(20, dtype=bool),
        np.arange(4),
        np.ones((4, 2)),
        np.ones(20),
        reference=3,
    )
    assert pool.hull_of_singles().tolist() == [0, 3]
