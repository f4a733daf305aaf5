"""Empirical-Bayes means, against direct maximisation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.training.own.means import LEAST_COUNT, MOST_COUNT, shrink_means


def groups(seed: int, pseudo_count: float) -> tuple[np.ndarray, np.ndarray]:
    """Totals and counts of 60 groups, some empty, of scores with variance 0.2."""
    random = np.random.default_rng(seed)
    count = random.integers(0, 40, 60).astype(float)
    mean = 0.6 + np.sqrt(0.2 / pseudo_count) * random.standard_normal(60)
    noise = np.sqrt(0.2 / np.maximum(count, 1.0)) * random.standard_normal(60)
    return count * (mean + noise), count


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 10.0, 100.0]))
def test_the_pseudo_count_is_the_likeliest_and_the_means_follow(seed: int, truth: float) -> None:
    total, count = groups(seed, truth)
    found = shrink_means(total, count, np.array(0.6), np.array(0.2))
    seen = count > 0
    mean = total[seen] / count[seen]

    def log_likelihood(k: float) -> float:
        variance = 0.2 / count[seen] + 0.2 / k
        return float((-0.5 * np.log(variance) - 0.5 * (mean - 0.6) ** 2 / variance).sum())

    grid = np.geomspace(LEAST_COUNT, MOST_COUNT, 2000)
    best = max(log_likelihood(k) for k in grid.tolist())
    assert log_likelihood(found.pseudo_count) >= best - 1e-3
    k = found.pseudo_count
    np.testing.assert_allclose(found.mean, (total + k * 0.6) / (count + k))
    np.testing.assert_allclose(found.variance, 0.2 / (count + k))


def test_groups_that_do_not_differ_are_drawn_to_the_prior() -> None:
    total, count = groups(0, 1e9)
    assert shrink_means(total, count, np.array(0.6), np.array(0.2)).pseudo_count > 100


def test_groups_without_scores_keep_the_prior() -> None:
    found = shrink_means(np.zeros(3), np.zeros(3), np.array([0.1, 0.5, 0.9]), np.array(0.2))
    np.testing.assert_allclose(found.mean, [0.1, 0.5, 0.9])
