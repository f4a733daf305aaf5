"""Probabilities of being the best: against sampling and against adaptive integration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from routoo.selector.exploring.thompson import MOST_MODELS, best_probabilities

MEANS = st.floats(-1.0, 1.0)
STDS = st.floats(1e-3, 1.0)
MODELS = st.lists(st.tuples(MEANS, STDS, st.booleans()), min_size=1, max_size=9).filter(
    lambda models: any(allowed for _, _, allowed in models)
)


def columns(models: list[tuple[float, float, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    means, stds, allowed = (np.array(one)[None] for one in zip(*models, strict=True))
    return means, stds, allowed


@given(MODELS)
@settings(max_examples=200, deadline=None)
def test_rows_sum_to_one_and_what_is_not_allowed_has_none(
    models: list[tuple[float, float, bool]],
) -> None:
    means, stds, allowed = columns(models)
    found = best_probabilities(means, stds, allowed)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    assert (found >= 0.0).all()
    assert (found[~allowed] == 0.0).all()


@given(MODELS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_models_and_the_rows_beside_do_not_matter(
    models: list[tuple[float, float, bool]], random: object
) -> None:
    means, stds, allowed = columns(models)
    alone = best_probabilities(means, stds, allowed)
    order = np.array(sorted(range(len(models)), key=lambda _: random.random()))  # type: ignore[attr-defined]
    turned = best_probabilities(means[:, order], stds[:, order], allowed[:, order])
    np.testing.assert_allclose(turned, alone[:, order], atol=1e-9)
    beside = best_probabilities(
        np.vstack([means[:, order], means]),
        np.vstack([stds[:, order], stds]),
        np.vstack([allowed[:, order], allowed]),
    )
    np.testing.assert_array_equal(beside[1:], alone)


@given(st.tuples(MEANS, STDS), st.tuples(MEANS, STDS))
@settings(max_examples=200, deadline=None)
def test_two_models_have_the_closed_form(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    found = best_probabilities(
        np.array([[one[0], other[0]]]), np.array([[one[1], other[1]]]), np.ones((1, 2), np.bool_)
    )
    exact = ndtr((one[0] - other[0]) / np.hypot(one[1], other[1]))
    assert found[0, 0] == pytest.approx(exact, abs=1e-6)


def test_equal_models_are_equally_probable() -> None:
    found = best_probabilities(
        np.full((1, 7), 0.4), np.full((1, 7), 0.1), np.ones((1, 7), np.bool_)
    )
    np.testing.assert_allclose(found, 1.0 / 7.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_integral_is_exact(seed: int) -> None:
    """Standard deviations of three orders of magnitude, by an adaptive rule."""
    random = np.random.default_rng(seed)
    means, stds = random.normal(0.5, 0.2, 5), 10.0 ** random.uniform(-3.0, 0.0, 5)
    found = best_probabilities(means[None], stds[None], np.ones((1, 5), np.bool_))[0]
    steps = np.array([-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0])
    for at in range(5):
        others = [one for one in range(5) if one != at]

        def density(x: float, at: int = at, others: list[int] = others) -> float:
            return float(
                norm.pdf(x, means[at], stds[at]) * np.prod(norm.cdf(x, means[others], stds[others]))
            )

        reach = means[at] + 9.0 * stds[at] * np.array([-1.0, 1.0])
        points = np.unique(np.clip(np.add.outer(means, steps).ravel(), *reach))
        points = np.unique(
            np.append(points, np.clip((means[:, None] + np.outer(stds, steps)), *reach))
        )
        exact = sum(quad(density, a, b)[0] for a, b in pairwise(points))
        assert found[at] == pytest.approx(exact, abs=1e-7)


def test_it_is_what_sampling_finds() -> None:
    random = np.random.default_rng(5)
    means, stds = random.normal(0.6, 0.1, 8), random.uniform(0.02, 0.2, 8)
    found = best_probabilities(means[None], stds[None], np.ones((1, 8), np.bool_))[0]
    n = 200_000
    wins = np.bincount(random.normal(means, stds, (n, 8)).argmax(axis=1), minlength=8) / n
    assert (np.abs(wins - found) < 5.0 * np.sqrt(found / n) + 1e-4).all()


def test_of_very_many_models_the_most_hopeful_are_weighed() -> None:
    random = np.random.default_rng(6)
    means, stds = random.uniform(0.0, 1.0, (1, 60)), np.full((1, 60), 0.05)
    found = best_probabilities(means, stds, np.ones((1, 60), np.bool_))
    assert (found > 0.0).sum() <= MOST_MODELS
    assert found[0, means.argmax()] == found.max()
    assert found.sum() == pytest.approx(1.0)
