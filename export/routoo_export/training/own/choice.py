"""The choice, by cross-validation, of how far a team's rows go beyond the models' levels.

Directions are kept if they make the predicted scores better. How much of the models' deviations
counts is what makes the choices better: the expected score of a choice by softmax, which is less
noisy than the score of the best. Without a gain over the best single model nothing is kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from routoo_export.training.own.fit import Features, Recipe, Strength, fit_scores
from routoo_export.training.own.scores import MOST_DIRECTIONS
from routoo_export.training.own.topics import Topics

FloatArray = NDArray[np.float64]

STRENGTHS: Final = (
    Strength(0.0, 0.0),
    Strength(0.5, 0.0),
    Strength(1.0, 0.0),
    Strength(1.0, 0.25),
    Strength(1.0, 0.5),
    Strength(1.0, 0.75),
    Strength(1.0, 1.0),
)
_TEMPERATURE: Final = 0.02


def choose_recipe(
    scores: FloatArray,
    features: Features,
    folds: NDArray[np.int64],
    candidates: Sequence[tuple[Topics, NDArray[np.int64] | None]],
    prior: FloatArray,
) -> Recipe:
    """Choose topics, directions and strength.

    Args:
        scores: [n, m], NaN = not asked.
        features: Of the n prompts.
        folds: Fold of each prompt, int64 [n].
        candidates: Topics to choose from, each with the topic of every prompt where it is known.
        prior: As in ``Recipe``.
    """
    tried = []
    for topics, labels in candidates:
        for directions in (0, MOST_DIRECTIONS):
            recipe = Recipe(topics, directions, Strength(), prior)
            recipe = fit_scores(scores, features, recipe, labels)[1]
            held = cross_fit(scores, features, folds, recipe, labels)
            full = held[-1]
            tried.append((float(np.nanmean(np.square(scores - full))), recipe, held))
    _, recipe, held = min(tried, key=lambda one: one[0])
    values = [soft_value(predicted, scores) for predicted in held]
    return replace(recipe, strength=STRENGTHS[int(np.argmax(values))])


def cross_fit(
    scores: FloatArray,
    features: Features,
    folds: NDArray[np.int64],
    recipe: Recipe,
    labels: NDArray[np.int64] | None,
) -> list[FloatArray]:
    """Predictions [n, m] of each fold by the others, for each of STRENGTHS."""
    found = [np.full(scores.shape, np.nan) for _ in STRENGTHS]
    for fold in np.unique(folds).tolist():
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted, _ = fit_scores(
            scores[train], features.rows(train), recipe, None if labels is None else labels[train]
        )
        for predicted, strength in zip(found, STRENGTHS, strict=True):
            predicted[held] = replace(fitted, strength=strength).predict(features.rows(held))
    return found


def soft_value(predicted: FloatArray, scores: FloatArray) -> float:
    """Mean score of models drawn by the softmax of their predicted scores, among those asked."""
    known = ~np.isnan(scores)
    rows = known.sum(axis=1) > 1
    if not rows.any():
        return 0.0
    logits = np.where(known, predicted, -np.inf)[rows] / _TEMPERATURE
    drawn = softmax(logits, axis=1) * np.where(known, scores, 0.0)[rows]
    return float(drawn.sum(axis=1).mean())
