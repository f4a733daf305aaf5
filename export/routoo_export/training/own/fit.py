"""The fit of a team's rows: topics, directions, scores by topic and trait."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from routoo_export.training.own.scores import (
    Effects,
    Levels,
    Ratios,
    find_directions,
    fit_effects,
    fit_levels,
    ratios_of,
)
from routoo_export.training.own.topics import MOST_ROWS, Standardised, Topics

FloatArray = NDArray[np.float64]

SCORES: Final = (1e-5, 1.0 - 1e-5)
"""Least and greatest score of a row of the table."""
FEWEST_FOR_DIRECTIONS: Final = 60
"""Prompts below which no directions are sought."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of n prompts before a model answers.

    Attributes:
        hidden: Hidden units of the graph, [n, u].
        traits: Traits, [n, r].
        kinds: Probabilities of the artifact's kinds of task, [n, t].
    """

    hidden: FloatArray
    traits: FloatArray
    kinds: FloatArray

    def rows(self, at: NDArray[np.int64]) -> "Features":
        """Those of the prompts ``at``."""
        return Features(self.hidden[at], self.traits[at], self.kinds[at])


@dataclass(frozen=True, slots=True)
class Strength:
    """How much of the models' own deviations counts, from 0 to 1.

    Attributes:
        topics: Of those by topic.
        residual: Of those by direction and trait.
    """

    topics: float = 1.0
    residual: float = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is fitted, and with which penalties; what cross-validation chooses.

    Attributes:
        topics: The topics; without directions.
        directions: Most directions that split them.
        strength: How much of the deviations counts.
        prior: Prior of the models' scores by kind of task, [m, t], up to a constant of each kind;
            zeros = none.
        ratios: Penalties of the two regressions; None = the likeliest.
    """

    topics: Topics
    directions: int
    strength: Strength
    prior: FloatArray
    ratios: tuple[Ratios, Ratios] | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Effects of topics and sides, beside those of traits.

    Attributes:
        topics: Topics with their d directions.
        shared: What is common to the models, by topic, with each model's slope, [k, m].
        own: The models' deviations by topic, [k, m].
        shared_sides: As ``shared``, by direction, [d, m].
        own_sides: As ``own``, by direction, [d, m].
        variances: Posterior variances of each combination of topic and sides, [k * 2^d, m].
    """

    topics: Topics
    shared: FloatArray
    own: FloatArray
    shared_sides: FloatArray
    own_sides: FloatArray
    variances: FloatArray

    def effects(self, shares: FloatArray, tilts: FloatArray, strength: Strength) -> FloatArray:
        """Effects [n, m] of shares of topics [n, k] and expected sides [n, d]."""
        found: FloatArray = shares @ (self.shared + strength.topics * self.own)
        return found + tilts @ (self.shared_sides + strength.residual * self.own_sides)


@dataclass(frozen=True, slots=True)
class FittedScores:
    """Scores of m models.

    Attributes:
        topics: Topics with their directions.
        levels: The models' levels.
        told: Effects of topics (the first k features) and traits, for prompts of a known topic.
        split: Effects of topics and sides, beside the traits' effects of ``told``.
        offsets: Prior scores by topic, less their mean over the models, [m, k].
        strength: How much of the deviations counts.
    """

    topics: Topics
    levels: Levels
    told: Effects
    split: Split
    offsets: FloatArray
    strength: Strength

    @property
    def _k(self) -> int:
        return len(self.topics.names)

    def _strengths(self, others: int) -> FloatArray:
        return np.r_[
            np.full(self._k, self.strength.topics), np.full(others, self.strength.residual)
        ]

    def trait_weights(self) -> FloatArray:
        """Weights of the traits, [r, m]."""
        features = len(self.told.shared.coefficients)
        weights = self.told.weights(self._strengths(features - self._k))
        return weights[self._k :]

    def trait_variances(self) -> FloatArray:
        """Variances of the weights of the traits, [r, m]."""
        inputs = np.eye(len(self.told.shared.coefficients))[self._k :]
        return self.told.variances(inputs)

    def topic_variances(self) -> FloatArray:
        """Variances of ``topic_scores``, [k, m]."""
        inputs = np.eye(len(self.told.shared.coefficients))[: self._k]
        return self.levels.variance + self.told.variances(inputs)

    def topic_scores(self) -> FloatArray:
        """Scores by topic, for prompts of a known topic, [k, m]."""
        features = len(self.told.shared.coefficients)
        weights = self.told.weights(self._strengths(features - self._k))[: self._k]
        return self.levels.mean + self.strength.topics * self.offsets.T + weights

    def row_scores(self) -> FloatArray:
        """Scores by combination of topic and sides, [k * 2^d, m]."""
        sides = self.topics.sides
        shares = np.repeat(np.eye(self._k), len(sides), axis=0)
        effects = self.split.effects(shares, np.tile(sides, (self._k, 1)), self.strength)
        return self.levels.mean + self.strength.topics * shares @ self.offsets.T + effects

    def predict(self, features: Features) -> FloatArray:
        """Scores [n, m] of prompts whose topic is recognised, in [0, 1] as the graph clips them."""
        shares = self.topics.row_shares(features.hidden)
        found = shares @ np.clip(self.row_scores(), *SCORES)
        return np.clip(found + features.traits @ self.trait_weights(), 0.0, 1.0)

    def predict_told(self, topics: Sequence[str], features: Features) -> FloatArray:
        """Scores [n, m] of prompts whose topics are told; of no topic of the fit: recognised."""
        place = {name: at for at, name in enumerate(self.topics.names)}
        at = np.array([place.get(name, -1) for name in topics])
        found = np.clip(self.topic_scores(), *SCORES)[at] + features.traits @ self.trait_weights()
        found = np.clip(found, 0.0, 1.0)
        if (at < 0).any():
            found[at < 0] = self.predict(features)[at < 0]
        return found


def fit_scores(
    scores: FloatArray,
    features: Features,
    recipe: Recipe,
    labels: NDArray[np.int64] | None = None,
) -> tuple[FittedScores, Recipe]:
    """Fit scores [n, m], NaN = not asked.

    Args:
        scores: [n, m].
        features: Of the n prompts.
        recipe: What to fit.
        labels: Topic of each prompt where they are known, int64 [n].

    Returns:
        The fit, and the recipe with the penalties that were found.
    """
    topics, k = recipe.topics, len(recipe.topics.names)
    shares = topics.shares(features.hidden)
    of_topic = shares if labels is None else np.eye(k)[labels]
    offsets = _offsets(scores, shares, features.kinds, recipe.prior)
    levels = fit_levels(scores, shares.mean(axis=0) @ offsets.T)
    residuals = scores - levels.mean - shares @ offsets.T
    told_ratios = None if recipe.ratios is None else recipe.ratios[0]
    inputs = np.concatenate([of_topic, features.traits], axis=1)
    blocks = np.repeat([0, 1], [k, features.traits.shape[1]])
    told = fit_effects(residuals, levels.within, inputs, blocks, told_ratios)
    left = residuals - features.traits @ told.weights(np.ones(len(blocks)))[k:]
    split, unit_ratios = _fit_split(left, levels.within, shares, features.hidden, recipe)
    fitted = FittedScores(split.topics, levels, told, split, offsets, recipe.strength)
    return fitted, replace(recipe, ratios=(ratios_of(told), unit_ratios))


def _fit_split(
    left: FloatArray, within: FloatArray, shares: FloatArray, hidden: FloatArray, recipe: Recipe
) -> tuple[Split, Ratios]:
    """Fit what topics and directions explain of the residuals ``left`` [n, m]."""
    topics, (n, k) = recipe.topics, shares.shape
    ratios = None if recipe.ratios is None else recipe.ratios[1]
    most = min(recipe.directions, int(np.log2(max(MOST_ROWS // k, 1))))
    if not most or n < FEWEST_FOR_DIRECTIONS:
        effects = fit_effects(left, within, shares, np.zeros(k, np.int64), ratios)
        none = np.zeros((0, left.shape[1]))
        variances = effects.variances(np.eye(k))
        weights = effects.weights(np.zeros(k)), effects.weights(np.ones(k))
        split = Split(topics, weights[0], weights[1] - weights[0], none, none, variances)
        return split, ratios_of(effects)
    scale = Standardised.of(hidden)
    units = scale.units(hidden)
    inputs = np.concatenate([shares, units], axis=1)
    blocks = np.repeat([0, 1], [k, units.shape[1]])
    effects = fit_effects(left, within, inputs, blocks, ratios)
    shared, whole = effects.weights(np.zeros(len(blocks))), effects.weights(np.ones(len(blocks)))
    own = whole - shared
    along = np.concatenate([effects.shared.coefficients, own], axis=1)[k:]
    found = find_directions(units, along, most)
    topics = replace(topics, directions=scale.rows(found, -found @ units.mean(axis=0)))
    # The sides get what the units were found to explain; a new fit would find it again, and more.
    tilts = np.column_stack([topics.tilts(hidden), np.ones(n)])
    of_sides = np.linalg.lstsq(tilts, units @ np.concatenate([shared, own], axis=1)[k:])[0]
    shared_sides, own_sides = np.split(of_sides, 2, axis=1)
    rows = softmax(hidden @ topics.graph_rows()[1].T, axis=1)
    mean_inputs = rows.T @ inputs / np.maximum(rows.sum(axis=0), 1e-9)[:, None]
    split = Split(
        topics,
        shared[:k] + shared_sides[-1],
        own[:k] + own_sides[-1],
        shared_sides[:-1],
        own_sides[:-1],
        effects.variances(mean_inputs),
    )
    return split, ratios_of(effects)


def _offsets(
    scores: FloatArray, shares: FloatArray, kinds: FloatArray, prior: FloatArray
) -> FloatArray:
    """The prior scores by topic, less their mean over the models, as far as they fit, [m, k].

    One factor, from 0 to 1, equates the prior's scale with that of the scores, by least squares on
    deviations within prompts.
    """
    if not prior.any():
        return np.zeros((len(prior), shares.shape[1]))
    of_topic = shares.T @ kinds / np.maximum(shares.sum(axis=0), 1e-9)[:, None]
    by_topic = prior @ of_topic.T
    by_topic = by_topic - by_topic.mean(axis=0)
    said = shares @ by_topic.T
    known = ~np.isnan(scores)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    gap = np.where(known, said - np.where(known, said, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    real = np.where(known, scores, 0.0)
    real = np.where(known, real - real.sum(axis=1, keepdims=True) / count, 0.0)
    factor = float((gap * real).sum()) / max(float(np.square(gap).sum()), 1e-12)
    found: FloatArray = np.clip(factor, 0.0, 1.0) * by_topic
    return found
