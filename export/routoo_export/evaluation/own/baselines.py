"""Predictions by plain means: empirical-Bayes ones by recognised task, or by told domain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routoo_export.training.own.scores import fit_levels, plain_deviations

FloatArray = NDArray[np.float64]


def task_means(
    scores: FloatArray, shares: FloatArray, asked: FloatArray, models: int
) -> FloatArray:
    """Predict each model's mean in the prompt's task, drawn to its mean over all tasks.

    A prompt counts for its likeliest task; predictions mix the means by the tasks' probabilities.

    Args:
        scores: Scores of the prompts to fit to, [n, m], NaN = not asked.
        shares: Their probabilities of the tasks, [n, t].
        asked: Probabilities of the tasks of the prompts to predict, [q, t].
        models: The number of models, m.

    Returns:
        Scores, [q, m].
    """
    level = fit_levels(scores, np.zeros(models)).mean
    means: FloatArray = asked @ (level + plain_deviations(scores, shares, level))
    return means


def domain_shares(domains: Sequence[str]) -> FloatArray:
    """One column per distinct domain, [n, d]: 1 where the prompt is of it."""
    names = sorted(set(domains))
    return np.eye(len(names))[[names.index(domain) for domain in domains]]


def mean_costs(cost_usd: FloatArray, shares: FloatArray, asked: FloatArray) -> FloatArray:
    """Predict costs [q, m] by task as ``task_means`` does scores; a mean counts as 5 prompts."""
    known = ~np.isnan(cost_usd)
    figures = np.where(known, cost_usd, 0.0)
    level = figures.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    by_task = (shares.T @ figures + 5.0 * level) / (shares.T @ known + 5.0)
    found: FloatArray = asked @ by_task
    return found
