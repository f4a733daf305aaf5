"""Baseline predictors: means, domain means, nearest neighbours.

Each is fitted on the prompts of a mask ``train`` [n] and predicts those of a mask ``wanted`` [n];
all other rows of the result are NaN.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.pool import Expected, Mask
from routoo_export.outcomes.folds import Holdout
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.training.heads.train import token_targets

NEIGHBOURS: Final = 100
_QUERIES_AT_ONCE: Final = 512


def overall_means(outcomes: Outcomes, train: Mask, wanted: Mask) -> Expected:
    """Predict each model's mean, which needs no prompt."""
    blank = np.full(outcomes.scores.shape, np.nan)
    means = [_means(values[train], blank[0]) for values in _targets(outcomes)]
    return Expected(*(np.where(wanted[:, None], mean, blank) for mean in means))


def domain_prior(outcomes: Outcomes, train: Mask, wanted: Mask) -> Expected:
    """Predict each model's mean in the prompt's true domain, or else its mean over all domains."""
    topics = np.array([topic or "" for topic in outcomes.topics])
    overall = overall_means(outcomes, train, wanted)
    found = [overall.scores.copy(), overall.output_tokens.copy()]
    for topic in np.unique(topics[wanted]):
        inside, asked = train & (topics == topic), wanted & (topics == topic)
        for values, predicted in zip(_targets(outcomes), found, strict=True):
            predicted[asked] = _means(values[inside], predicted[asked][0])
    return Expected(*found)


def folded_domain_prior(outcomes: Outcomes, rows: Mask, folds: Sequence[Holdout]) -> Expected:
    """``domain_prior`` of the prompts that each fold holds out, from the others; only ``rows``."""
    found = Expected(*(np.full(outcomes.scores.shape, np.nan) for _ in range(2)))
    for fold in folds:
        held = rows & fold.held
        prior = domain_prior(outcomes, rows & ~fold.held, held)
        found.scores[held] = prior.scores[held]
        found.output_tokens[held] = prior.output_tokens[held]
    return found


def nearest_neighbours(
    outcomes: Outcomes,
    features: NDArray[np.float32],
    groups: Sequence[int],
    train: Mask,
    wanted: Mask,
    neighbours: int = NEIGHBOURS,
) -> Expected:
    """Predict each model's mean over the nearest training prompts (RouterBench's kNN router).

    A model without an outcome on any of the neighbours takes its mean over all training prompts.

    Args:
        outcomes: Outcomes of n prompts.
        features: Features [n, f], which are scaled by ``scale_features``; likeness is their cosine.
        groups: Widths of the runs of features that share one scale.
        train: Mask [n] of the prompts to fit on.
        wanted: Mask [n] of the prompts to predict.
        neighbours: How many neighbours are averaged.
    """
    scaled = scale_features(features, groups, train)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1.0e-12)
    known, asked = np.flatnonzero(train), np.flatnonzero(wanted)
    count = min(neighbours, len(known))
    overall = overall_means(outcomes, train, wanted)
    found = [overall.scores.copy(), overall.output_tokens.copy()]
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        rows = asked[start : start + _QUERIES_AT_ONCE]
        likeness = scaled[rows] @ scaled[known].T
        nearest = known[np.argpartition(-likeness, count - 1, axis=1)[:, :count]]
        for values, predicted in zip(_targets(outcomes), found, strict=True):
            predicted[rows] = _means(np.moveaxis(values[nearest], 1, 0), predicted[rows])
    return Expected(*found)


def scale_features(
    features: NDArray[np.float32], groups: Sequence[int], train: Mask
) -> NDArray[np.float32]:
    """Features [n, f], centred and with one scale per run of ``groups``, fitted on ``train``.

    The training of the predictor standardises its features in the same way.
    """
    centred = features - features[train].mean(axis=0)
    variance = np.square(centred[train]).mean(axis=0)
    starts = np.cumsum([0, *groups])[:-1]
    runs = zip(starts, groups, strict=True)
    pooled = np.concatenate([np.full(w, variance[s : s + w].mean()) for s, w in runs])
    scaled = centred / np.sqrt(np.where(pooled > 0.0, pooled, 1.0))
    return np.asarray(scaled, dtype=np.float32)


def _targets(outcomes: Outcomes) -> tuple[FloatArray, FloatArray]:
    return outcomes.scores, token_targets(outcomes)


def _means(values: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Means over the first axis of the known cells; ``otherwise`` where there are none."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    means = otherwise.copy()
    np.divide(total, count, out=means, where=count > 0)
    return means
