"""Onboarding a model: the fit from few prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.artifact.onboarding import (
    Graded,
    Known,
    NewcomerPrior,
    add_newcomer,
    check_graded,
    fit_newcomer,
    held_out,
    rank_among,
)
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from support.random_heads import random_features, random_heads

if TYPE_CHECKING:
    from numpy.typing import NDArray


PRIOR = NewcomerPrior()


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-values))


def some_known(rng: np.random.Generator, rows: int, models: int = 8, topics: int = 5) -> Known:
    """Trained models with a shared difficulty, and with abilities and topics of their own."""
    shares = rng.dirichlet(np.full(topics, 0.3), rows)
    ability = rng.normal(size=models)
    table = rng.normal(scale=0.7, size=(topics, models))
    logits = rng.normal(size=(rows, 1)) + ability + shares @ table
    return Known(logits, shares, rng.uniform(50.0, 500.0, rows))


def no_lengths(scores: NDArray[np.float64]) -> Graded:
    return Graded(scores, np.full(len(scores), np.nan))


def test_a_copy_of_a_trained_model_is_recognised() -> None:
    rng = np.random.default_rng(0)
    known = some_known(rng, 2000)
    chance = sigmoid(known.logits[:, 2])
    graded = np.arange(400)
    scores = (rng.random(400) < chance[graded]).astype(np.float64)
    newcomer = fit_newcomer(known.rows(graded), scores, PRIOR)
    error = np.abs(sigmoid(newcomer.logits(known)) - chance)[400:].mean()
    error_of_mean = np.abs(sigmoid(known.logits.mean(axis=1)) - chance)[400:].mean()
    assert error < 0.5 * error_of_mean


def test_without_evidence_the_newcomer_is_the_mean_of_the_others() -> None:
    known = some_known(np.random.default_rng(1), 30)
    # Scores that agree with the mean logit do not move the parameters.
    newcomer = fit_newcomer(known, sigmoid(known.logits.mean(axis=1)), PRIOR)
    np.testing.assert_allclose(newcomer.logits(known), known.logits.mean(axis=1), atol=1e-4)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20, 60),
    models=st.integers(1, 6),
    topics=st.integers(1, 6),
)
def test_any_outcomes_give_finite_figures_and_a_true_covariance(
    seed: int, rows: int, models: int, topics: int
) -> None:
    rng = np.random.default_rng(seed)
    known = some_known(rng, rows, models, topics)
    scores = rng.random(rows) if seed % 2 else rng.integers(0, 2, rows).astype(np.float64)
    newcomer = fit_newcomer(known, scores, PRIOR)
    assert np.isfinite(newcomer.parameters).all()
    np.testing.assert_allclose(newcomer.covariance, newcomer.covariance.T, atol=1e-8)
    assert (np.linalg.eigvalsh(newcomer.covariance) > 0.0).all()
    mean, se = newcomer.mean_score(known)
    assert 0.0 < mean < 1.0
    assert 0.0 < se < 0.5


def test_the_standard_error_is_that_of_other_samples_and_falls() -> None:
    rng = np.random.default_rng(2)
    judged = some_known(rng, 2000)
    chance = sigmoid(judged.logits[:, 1] + 0.3)
    errors = []
    for count in (50, 400):
        z, claimed = [], []
        for _ in range(40):
            index = rng.integers(0, 2000, count)
            scores = (rng.random(count) < chance[index]).astype(np.float64)
            mean, se = fit_newcomer(judged.rows(index), scores, PRIOR).mean_score(judged)
            z.append((mean - chance.mean()) / se)
            claimed.append(se)
        # Over repeated draws of the prompts, the claimed error is at least that of the draw.
        assert 0.5 < float(np.sqrt(np.mean(np.square(z)))) < 1.5
        errors.append(float(np.mean(claimed)))
    assert errors[1] < 0.6 * errors[0]


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), members=st.integers(1, 3))
def test_the_network_says_what_was_fitted(seed: int, members: int) -> None:
    weights = random_heads(seed, members=members)
    weights = replace(weights, shrink=np.zeros(1, dtype=np.float32))
    features, rng = random_features(seed, 60), np.random.default_rng(seed)
    known = Known.of(weights, features)
    graded = Graded(rng.random(60), rng.uniform(10.0, 100.0, 60))
    grown, newcomer = add_newcomer(weights, known, graded, PRIOR)
    found = predict(grown, features)
    np.testing.assert_allclose(found.scores[:, -1], sigmoid(newcomer.logits(known)), atol=1e-4)
    assert found.output_tokens[:, -1].mean() == pytest.approx(graded.output_tokens.mean(), rel=1e-3)
    before = predict(weights, features)
    for was, now in zip(before[:3], found[:3], strict=True):
        np.testing.assert_array_equal(now[:, :-1], was)
    if members == 1:
        # One member has no spread: only the error of the few prompts remains.
        chance = sigmoid(newcomer.logits(known))
        variance = (
            np.einsum("np,pq,nq->n", known.design(), newcomer.covariance, known.design())
            * (chance * (1.0 - chance)) ** 2
        )
        kept = (found.score_std[:, -1].astype(np.float64) ** 2).mean()
        assert kept == pytest.approx(variance.mean(), rel=0.5)


def test_more_graded_prompts_make_a_surer_score() -> None:
    weights, rng = random_heads(0), np.random.default_rng(0)
    stds = []
    for count in (30, 1000):
        features = random_features(1, count)
        known = Known.of(weights, features)
        scores = (rng.random(count) < 0.6).astype(np.float64)
        grown, _ = add_newcomer(weights, known, no_lengths(scores), PRIOR)
        stds.append(float(predict(grown, random_features(2, 200)).score_std[:, -1].mean()))
    assert stds[1] < stds[0]


def test_lengths_follow_the_graded_ones_or_else_the_others() -> None:
    weights, features = random_heads(0), random_features(1, 400)
    known, rng = Known.of(weights, features), np.random.default_rng(0)
    scores = (rng.random(400) < 0.5).astype(np.float64)
    typical = predict(weights, features).output_tokens.mean(axis=1)
    bare, _ = add_newcomer(weights, known, no_lengths(scores), PRIOR)
    np.testing.assert_allclose(predict(bare, features).output_tokens[:, -1], typical, rtol=1e-4)
    wide = replace(known, output_tokens=np.geomspace(20.0, 5000.0, 400))
    lengths = 3.0 * wide.output_tokens**0.5
    lengths[::2] = np.nan
    terse, _ = add_newcomer(weights, wide, Graded(scores, lengths), PRIOR)
    assert float(terse.added.token_power[0]) == pytest.approx(0.5, abs=0.02)
    assert np.exp(terse.added.log_token_factor[0]) == pytest.approx(3.0, rel=0.1)


def test_cross_validation_tells_a_good_fit_from_none() -> None:
    rng = np.random.default_rng(0)
    known = some_known(rng, 300)
    scores = (rng.random(300) < sigmoid(2.0 * known.logits[:, 0])).astype(np.float64)
    good = held_out(known, scores, PRIOR, seed=1)
    assert good.auc is not None
    assert good.auc > 0.7
    assert good.log_loss < good.log_loss_of_mean
    noise = held_out(known, rng.permutation(scores), PRIOR, seed=1)
    assert noise.auc == pytest.approx(0.5, abs=0.1)
    assert noise.log_loss > noise.log_loss_of_mean - 0.02


@given(
    mean=st.floats(0.0, 1.0),
    se=st.floats(0.0, 0.3),
    others=st.lists(st.floats(0.0, 1.0), max_size=8),
)
def test_a_rank_lies_in_its_interval(mean: float, se: float, others: list[float]) -> None:
    rank = rank_among(mean, se, others)
    assert 1 <= rank.low <= rank.estimate <= rank.high <= rank.models == len(others) + 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.r_[np.zeros(9), np.ones(10)], "19 graded prompts are too few; grade 20"),
        (np.ones(40), "all 40 graded prompts score 1"),
        (np.zeros(40), "all 40 graded prompts score 0"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(scores: NDArray[np.float64], message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        check_graded(no_lengths(scores))
