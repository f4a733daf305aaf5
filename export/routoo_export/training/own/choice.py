"""The choice, by cross-validation, of how far a team's rows go beyond the models' levels.

Topics are those by which choices are best, and directions are kept if they make the predicted
scores better. How much of the models' deviations counts is what makes the choices better: the
expected score of a choice by softmax, which is less noisy than the score of the best. Directions
and traits have to gain on topics alone, and topics must not lose against the best single model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from routoo_export.training.own.fit import Features, FittedScores, RowRecipe, Strength, fit_scores
from routoo_export.training.own.scores import MOST_DIRECTIONS
from routoo_export.training.own.topics import Named, OwnTopics

FloatArray = NDArray[np.float64]
STEPS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
TOPIC_STEPS: Final = (0.5, 1.0)
_TEMPERATURES: Final = (0.01, 0.02, 0.04)
LEAST_GAIN: Final = 1.0
"""Of what is added, over what is plainer, in standard errors of the choices' scores."""


@dataclass(frozen=True, slots=True)
class FoldFits:
    """A cross-validation.

    Attributes:
        scores: [n, m], NaN = not asked.
        features: Of the n prompts.
        named: Topics of the prompts where the outcomes name them.
        held: Rows that each fold holds out.
        fits: What was fitted to the others.
    """

    scores: FloatArray
    features: Features
    named: Named | None
    held: tuple[NDArray[np.int64], ...]
    fits: tuple[FittedScores, ...]

    @classmethod
    def fit(
        cls,
        scores: FloatArray,
        features: Features,
        folds: NDArray[np.int64],
        recipe: RowRecipe,
        named: Named | None,
    ) -> "FoldFits":
        """Fit each fold's complement."""
        held, fits = [], []
        for fold in np.unique(folds).tolist():
            train, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            known = None if named is None else named.rows(train)
            if len(train):
                fits.append(fit_scores(scores[train], features.rows(train), recipe, known)[0])
                held.append(out)
        return cls(scores, features, named, tuple(held), tuple(fits))

    def predict(self, strength: Strength, *, told: bool = False) -> FloatArray:
        """Predictions [n, m] of what was held out."""
        found = np.full(self.scores.shape, np.nan)
        for out, fitted in zip(self.held, self.fits, strict=True):
            one, features = replace(fitted, strength=strength), self.features.rows(out)
            if told and self.named is not None:
                names = [self.named.names[at] for at in self.named.codes[out].tolist()]
                found[out] = one.predict_told(names, features)
            else:
                found[out] = one.predict(features)
        return found

    def best_single(self) -> FloatArray:
        """ModelLevels [n, m] of the models as the others' folds have them."""
        found = np.full(self.scores.shape, np.nan)
        for out, fitted in zip(self.held, self.fits, strict=True):
            found[out] = fitted.levels.mean
        return found


def choose_recipe(
    scores: FloatArray,
    features: Features,
    folds: NDArray[np.int64],
    candidates: Sequence[OwnTopics],
    prior: FloatArray,
    named: Named | None = None,
) -> RowRecipe:
    """Choose topics, directions and strength.

    Args:
        scores: [n, m], NaN = not asked.
        features: Of the n prompts.
        folds: Fold of each prompt, int64 [n].
        candidates: Topics to choose from, by which prompts are recognised.
        prior: As in ``RowRecipe``.
        named: Topics of the prompts where the outcomes name them.
    """
    alone = Strength(sides=0.0, traits=0.0)
    tried = []
    for topics in candidates:
        plain, split = (
            _fitted(scores, features, folds, RowRecipe(topics, most, alone, prior), named)
            for most in (0, MOST_DIRECTIONS)
        )
        whole = Strength(traits=0.0)
        missed = [
            float(np.nanmean(np.square(scores - fitted.predict(whole))))
            for _, fitted in (plain, split)
        ]
        value = soft_value(plain[1].predict(alone), scores)
        tried.append((value, plain if missed[0] <= missed[1] else split))
    recipe, fitted = max(tried, key=lambda one: one[0])[1]
    told = Strength(told=0.0, traits=0.0)
    if named is not None:
        told = (
            _safest(
                fitted,
                [Strength(told=by_topic, traits=0.0) for by_topic in TOPIC_STEPS],
                [
                    Strength(told=topic, traits=trait)
                    for topic, trait in product(TOPIC_STEPS, STEPS)
                ],
                told=True,
            )
            or told
        )
    if told.traits > 0.0:
        # What traits explain is no more there for the sides to explain.
        recipe, fitted = _fitted(
            scores, features, folds, replace(recipe, strength=told, ratios=None), named
        )
    found = _safest(
        fitted,
        [replace(told, topics=topics, sides=0.0) for topics in TOPIC_STEPS],
        [replace(told, topics=t, sides=side) for t, side in product(TOPIC_STEPS, STEPS)],
    )
    return replace(recipe, strength=found or replace(told, topics=0.0, sides=0.0))


def _fitted(
    scores: FloatArray,
    features: Features,
    folds: NDArray[np.int64],
    recipe: RowRecipe,
    named: Named | None,
) -> tuple[RowRecipe, FoldFits]:
    """The recipe with the likeliest penalties, and the folds that are fitted with them."""
    recipe = fit_scores(scores, features, recipe, named)[1]
    return recipe, FoldFits.fit(scores, features, folds, recipe, named)


def _safest(
    fitted: FoldFits, plain: Sequence[Strength], tried: Sequence[Strength], *, told: bool = False
) -> Strength | None:
    """The best of ``tried`` if it gains on the best of ``plain``; None if that loses."""

    def best(strengths: Sequence[Strength]) -> tuple[Strength, FloatArray]:
        predicted = [fitted.predict(one, told=told) for one in strengths]
        at = int(np.argmax([soft_value(one, fitted.scores) for one in predicted]))
        return strengths[at], predicted[at]

    (simple, by_simple), (full, by_full) = best(plain), best(tried)
    if gain(by_full, by_simple, fitted.scores) > LEAST_GAIN:
        simple, by_simple = full, by_full
    lost = gain(by_simple, fitted.best_single(), fitted.scores) < 0.0
    return None if lost else simple


def soft_value(predicted: FloatArray, scores: FloatArray) -> float:
    """Mean score of models drawn by the softmax of their predicted scores, among those asked."""
    known = ~np.isnan(scores)
    rows = (known.sum(axis=1) > 1) & ~np.isnan(predicted).any(axis=1)
    if not rows.any():
        return 0.0
    logits = np.where(known, predicted, -np.inf)[rows]
    real = np.where(known, scores, 0.0)[rows]
    values = [(softmax(logits / t, axis=1) * real).sum(axis=1).mean() for t in _TEMPERATURES]
    return float(np.mean(values))


def gain(predicted: FloatArray, other: FloatArray, scores: FloatArray) -> float:
    """Mean score of one choice less that of another, in standard errors."""
    known = ~np.isnan(scores)
    rows = np.flatnonzero((known.sum(axis=1) > 1) & ~np.isnan(predicted).any(axis=1))
    if rows.size < 2:
        return 0.0
    chosen, alone = (
        scores[rows, np.where(known, one, -np.inf)[rows].argmax(axis=1)]
        for one in (predicted, other)
    )
    gaps = chosen - alone
    error = float(gaps.std(ddof=1)) / np.sqrt(len(gaps))
    return float(gaps.mean()) / error if error > 0.0 else 0.0
