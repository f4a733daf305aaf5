"""Conditioning on graded prompts: what it finds, and that it never gets less sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.catalogue.graded import (
    Gaussian,
    GradedPrompts,
    GraderBelief,
    ModelBelief,
    condition,
    judge_grader,
)

T, R = 3, 2
SHARES = np.array([0.9, 0.6, 0.3])


def belief(mean: float = 0.0, sd: float = 1.5) -> ModelBelief:
    return ModelBelief(
        Gaussian(np.full(T, mean), sd**2 * np.eye(T)), Gaussian(np.zeros(R), np.zeros((R, R)))
    )


def prompts(
    count: int, shares: np.ndarray, seed: int = 0, weight: float = 0.0, purity: float = 5.0
) -> GradedPrompts:
    """Prompts of mixed tasks, with right or wrong answers of known chances."""
    rng = np.random.default_rng(seed)
    logits = purity * np.eye(T)[rng.integers(0, T, count)]
    tasks = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    traits = rng.uniform(-0.5, 0.5, (count, R))
    chance = np.clip(tasks @ shares + traits[:, 0] * weight, 0.0, 1.0)
    return GradedPrompts(tasks, traits, (rng.random(count) < chance).astype(np.float64))


def chances(model: ModelBelief) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-model.logits.mean))


def test_many_prompts_tell_the_scores_though_their_tasks_are_not_certain() -> None:
    exact = GraderBelief.exact(T, R)
    model, grader = condition(belief(), exact, prompts(6000, SHARES, purity=2.0))
    np.testing.assert_allclose(chances(model), SHARES, atol=0.04)
    assert not grader.level.mean.any()


def test_few_prompts_leave_what_was_known_before() -> None:
    before = belief(mean=1.0, sd=0.3)
    model, _ = condition(before, GraderBelief.exact(T, R), prompts(5, np.full(T, 0.2)))
    assert np.all(np.abs(model.logits.mean - 1.0) < 0.3)


def test_a_trait_is_learnt_from_many_prompts_and_not_from_few() -> None:
    exact = GraderBelief.exact(T, R)
    many, _ = condition(belief(), exact, prompts(4000, np.full(T, 0.5), weight=0.6))
    assert many.weights.mean[0] == pytest.approx(0.6, abs=0.1)
    assert abs(many.weights.mean[1]) < 0.1
    few, _ = condition(belief(), exact, prompts(20, np.full(T, 0.5)))
    assert np.all(np.abs(few.weights.mean) < 0.1)


def test_a_grader_whom_other_models_know_as_strict_does_not_lower_the_model() -> None:
    strict = np.array([0.5, 0.3, 0.2])
    sure = belief(mean=0.85, sd=0.05)  # .70 on every task
    grader = judge_grader([(sure, prompts(2000, strict, seed)) for seed in range(3)])
    assert grader is not None
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-(0.85 + grader.level.mean))), strict, atol=0.04)
    model, _ = condition(belief(), grader, prompts(2000, strict, 9))
    np.testing.assert_allclose(chances(model), 0.7, atol=0.06)
    assert judge_grader([]) is None


def test_means_count_prompts_by_their_probabilities() -> None:
    tasks = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.9, 0.1]])
    graded = GradedPrompts(tasks, np.zeros((3, R)), np.array([1.0, 0.0, 0.5]))
    found = graded.means(("a", "b", "c"))
    assert found.keys() == {"a", "b"}
    assert found["a"] == pytest.approx((1 / 3, 1.5))
    assert found["b"] == pytest.approx((0.95 / 1.4, 1.4))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99), st.floats(-2.0, 2.0), st.floats(0.1, 2.0))
def test_a_posterior_is_finite_and_not_wider_than_its_prior(
    count: int, seed: int, mean: float, sd: float
) -> None:
    before = belief(mean, sd)
    graded = prompts(count, SHARES, seed)
    model, grader = condition(before, GraderBelief.unknown(T, R), graded)
    for prior, after in (
        (before.logits, model.logits),
        (GraderBelief.unknown(T, R).level, grader.level),
    ):
        assert np.isfinite(after.mean).all()
        values = np.linalg.eigvalsh(prior.covariance - after.covariance)
        assert values.min() > -1e-9
        assert np.linalg.eigvalsh(after.covariance).min() > -1e-9
    assert np.isfinite(model.weights.mean).all()
    assert (np.diag(model.weights.covariance) >= 0.0).all()
