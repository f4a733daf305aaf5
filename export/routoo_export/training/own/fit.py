"""The fit of a team's rows: topics, directions, scores by topic and trait."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from routoo_export.training.own.scores import (
    Effects,
    ModelLevels,
    Ratios,
    find_directions,
    fit_effects,
    fit_levels,
    plain_deviations,
    ratios_of,
)
from routoo_export.training.own.topics import MOST_ROWS, Named, OwnTopics, Standardised

FloatArray = NDArray[np.float64]

SCORES: Final = (1e-5, 1.0 - 1e-5)
"""Least and greatest score of a row of the table."""
MOST_MOVED: Final = 0.1
"""Most that traits move the scores of 99 of 100 prompts."""
FEWEST_FOR_DIRECTIONS: Final = 60
"""Prompts below which no directions are sought."""
BEHIND: Final = 2e-3
"""Score by which others stay behind the best single model where they may not be above it; a tie
would be broken by rounding."""


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
        topics: Of all deviations where topics are recognised.
        sides: Part of those that count directions, too, in their mixture with those by topic alone.
        told: Of all deviations where topics are told.
        traits: Part of those that count traits, too, in their mixture with those by topic alone.
        above: Whether recognised topics lift models above the best single model.
        told_above: Whether told topics do.
    """

    topics: float = 1.0
    sides: float = 1.0
    told: float = 1.0
    traits: float = 1.0
    above: bool = True
    told_above: bool = True


@dataclass(frozen=True, slots=True)
class RowRecipe:
    """What is fitted, and with which penalties; what cross-validation chooses.

    Attributes:
        topics: The topics; without directions.
        directions: Most directions that split them.
        strength: How much of the deviations counts.
        prior: Prior of the models' scores by kind of task, [m, t], up to a constant of each kind;
            zeros = none.
        plain: Places of the topics among the artifact's kinds of task, int64 [k]: deviations by
            topic are plain empirical-Bayes means by kind then, and sides have none; None = by
            regression.
        ratios: Penalties of the two regressions; None = the likeliest.
    """

    topics: OwnTopics
    directions: int
    strength: Strength
    prior: FloatArray
    plain: NDArray[np.int64] | None = None
    ratios: tuple[Ratios, Ratios] | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Effects of topics and sides, beside those of traits.

    Attributes:
        topics: Topics with their d directions.
        shared: What is common to the models, by topic, with each model's slope, [k, m].
        own: The models' deviations by topic where sides do not count, [k, m].
        joint: Their deviations by topic where sides count, [k, m].
        shared_sides: As ``shared``, by direction, [d, m].
        own_sides: As ``joint``, by direction, [d, m].
        variances: Posterior variances of each combination of topic and sides, [k * 2^d, m].
    """

    topics: OwnTopics
    shared: FloatArray
    own: FloatArray
    joint: FloatArray
    shared_sides: FloatArray
    own_sides: FloatArray
    variances: FloatArray

    def effects(self, shares: FloatArray, tilts: FloatArray, strength: Strength) -> FloatArray:
        """Effects [n, m] of shares of topics [n, k] and expected sides [n, d]."""
        topics, sides = strength.topics, strength.sides
        own = (1.0 - sides) * self.own + sides * self.joint
        found: FloatArray = shares @ (self.shared + topics * own)
        return found + tilts @ (self.shared_sides + topics * sides * self.own_sides)


@dataclass(frozen=True, slots=True)
class FittedScores:
    """Scores of m models.

    Attributes:
        topics: Topics with their directions.
        levels: The models' levels.
        told_names: The q topics that a caller may name: those of the outcomes, or else ``topics``.
        told: Effects of these topics (the first q features) and of traits.
        split: Effects of topics and sides, beside the traits' effects of ``told``.
        offsets: Prior scores by topic, less their mean over the models, [m, k].
        told_offsets: The same by topic that a caller may name, [m, q].
        strength: How much of the deviations counts.
        traits: Traits of the prompts that were fitted to, [n, r].
    """

    topics: OwnTopics
    levels: ModelLevels
    told_names: tuple[str, ...]
    told: Effects
    split: Split
    offsets: FloatArray
    told_offsets: FloatArray
    strength: Strength
    traits: FloatArray

    @property
    def _q(self) -> int:
        return len(self.told_names)

    def _told_weights(self) -> FloatArray:
        """Weights of topics and traits, [q + r, m]."""
        return self.told.weights(self.strength.told, self.strength.traits)

    def trait_weights(self) -> FloatArray:
        """Weights of the traits, [r, m]."""
        return _bounded(self._told_weights()[self._q :], self.traits)

    def in_range(self, scores: FloatArray) -> FloatArray:
        """The rows of ``scores`` [q, m] as the table holds them, in SCORES.

        A row is moved as a whole until its best score stays from 0 to 1, traits included: clipped
        one by one, the best models of an easy or a hopeless topic would be equal.
        """
        lifts = self.traits @ self.trait_weights()
        low, high = np.quantile(lifts.min(axis=1), 0.01), np.quantile(lifts.max(axis=1), 0.99)
        least = SCORES[0] + np.clip(-low, 0.0, MOST_MOVED)
        most = SCORES[1] - np.clip(high, 0.0, MOST_MOVED)
        best = scores.max(axis=1, keepdims=True)
        found: FloatArray = np.clip(scores + np.clip(best, least, most) - best, *SCORES)
        return found

    def trait_variances(self) -> FloatArray:
        """Variances of the weights of the traits, [r, m]."""
        inputs = np.eye(len(self.told.shared.coefficients))[self._q :]
        return self.told.variances(inputs)

    def topic_variances(self) -> FloatArray:
        """Variances of ``topic_scores``, [q, m]."""
        inputs = np.eye(len(self.told.shared.coefficients))[: self._q]
        return self.levels.variance + self.told.variances(inputs)

    def topic_scores(self) -> FloatArray:
        """Scores by topic, for prompts of a told topic, [q, m]."""
        weights = self._told_weights()[: self._q]
        found: FloatArray = self.levels.mean + self.strength.told * self.told_offsets.T
        return self.in_range(self._held_back(found + weights, above=self.strength.told_above))

    def row_scores(self) -> FloatArray:
        """Scores by combination of topic and sides, [k * 2^d, m]."""
        sides, k = self.topics.sides, len(self.topics.names)
        shares = np.repeat(np.eye(k), len(sides), axis=0)
        effects = self.split.effects(shares, np.tile(sides, (k, 1)), self.strength)
        found: FloatArray = self.levels.mean + self.strength.topics * shares @ self.offsets.T
        return self.in_range(self._held_back(found + effects, above=self.strength.above))

    def _held_back(self, scores: FloatArray, *, above: bool) -> FloatArray:
        """The rows of ``scores`` [q, m], with no model above the best single one if not ``above``.

        Without deviations at all, a cheaper model that is as good in a topic would be lost, too.
        """
        if above:
            return scores
        best = int(self.levels.mean.argmax())
        most = scores[:, [best]] - BEHIND
        found = np.minimum(scores, most)
        found[:, best] = scores[:, best]
        return found

    def predict(self, features: Features) -> FloatArray:
        """Scores [n, m] of prompts whose topic is recognised, in [0, 1] as the graph clips them."""
        shares = self.topics.row_shares(features.hidden)
        found = shares @ self.row_scores()
        return np.clip(found + features.traits @ self.trait_weights(), 0.0, 1.0)

    def predict_told(self, topics: Sequence[str], features: Features) -> FloatArray:
        """Scores [n, m] of prompts whose topics are told; of no topic of the fit: recognised."""
        place = {name: at for at, name in enumerate(self.told_names)}
        at = np.array([place.get(name, -1) for name in topics])
        scores = self.topic_scores()
        # A topic that is a row of the graph by its name is told by that row.
        names, rows = self.topics.graph_rows()[0], self.row_scores()
        for name, position in place.items():
            if name in names:
                scores[position] = rows[names.index(name)]
        found = scores[at] + features.traits @ self.trait_weights()
        found = np.asarray(np.clip(found, 0.0, 1.0), np.float64)
        if (at < 0).any():
            found[at < 0] = self.predict(features)[at < 0]
        return found


def fit_scores(
    scores: FloatArray,
    features: Features,
    recipe: RowRecipe,
    named: Named | None = None,
) -> tuple[FittedScores, RowRecipe]:
    """Fit scores [n, m], NaN = not asked.

    Args:
        scores: [n, m].
        features: Of the n prompts.
        recipe: What to fit.
        named: Topics of the prompts where the outcomes name them.

    Returns:
        The fit, and the recipe with the penalties that were found.
    """
    shares = recipe.topics.shares(features.hidden)
    of_topic = shares if named is None else named.shares()
    q = of_topic.shape[1]
    offsets = _offsets(scores, shares, features.kinds, recipe.prior)
    told_offsets = _offsets(scores, of_topic, features.kinds, recipe.prior)
    levels = fit_levels(scores, shares.mean(axis=0) @ offsets.T)
    residuals = scores - levels.mean - shares @ offsets.T
    told_ratios = None if recipe.ratios is None else recipe.ratios[0]
    told = fit_effects(residuals, levels.within, of_topic, features.traits, told_ratios)
    strength = recipe.strength
    of_traits = told.weights(strength.told, strength.traits)[q:]
    left = residuals - features.traits @ _bounded(of_traits, features.traits)
    plain = None
    if recipe.plain is not None:
        plain = plain_deviations(scores, features.kinds, levels.mean)[recipe.plain] - offsets.T
        left = left - shares @ plain
    split, unit_ratios = _fit_split(left, levels.within, shares, features.hidden, recipe)
    if plain is not None:
        split = replace(split, own=plain, joint=plain, own_sides=np.zeros_like(split.own_sides))
    names = recipe.topics.names if named is None else named.names
    fitted = FittedScores(
        split.topics,
        levels,
        names,
        told,
        split,
        offsets,
        told_offsets,
        recipe.strength,
        features.traits,
    )
    return fitted, replace(recipe, ratios=(ratios_of(told), unit_ratios))


def _bounded(weights: FloatArray, traits: FloatArray) -> FloatArray:
    """Weights of traits [r, m], less where they would move a prompt's scores too far.

    They are linear, and an unusual prompt has far traits: all scores would be 0 or 1.
    """
    moved = np.abs(traits @ weights).max(axis=1)
    far = float(np.quantile(moved, 0.99)) if len(moved) else 0.0
    found: FloatArray = weights * min(1.0, MOST_MOVED / max(far, 1e-12))
    return found


def _fit_split(
    left: FloatArray,
    within: FloatArray,
    shares: FloatArray,
    hidden: FloatArray,
    recipe: RowRecipe,
) -> tuple[Split, Ratios]:
    """Fit what topics and directions explain of the residuals ``left`` [n, m]."""
    topics, (n, k) = recipe.topics, shares.shape
    ratios = None if recipe.ratios is None else recipe.ratios[1]
    most = min(recipe.directions, int(np.log2(max(MOST_ROWS // k, 1))))
    if not most or n < FEWEST_FOR_DIRECTIONS:
        effects = fit_effects(left, within, shares, np.zeros((n, 0)), ratios)
        none = np.zeros((0, left.shape[1]))
        shared = effects.weights(0.0, 0.0)
        own = effects.weights() - shared
        split = Split(topics, shared, own, own, none, none, effects.variances(np.eye(k)))
        return split, ratios_of(effects)
    scale = Standardised.of(hidden)
    units = scale.units(hidden)
    inputs = np.concatenate([shares, units], axis=1)
    effects = fit_effects(left, within, shares, units, ratios)
    shared = effects.weights(0.0, 0.0)
    joint, own = effects.weights() - shared, effects.weights(1.0, 0.0) - shared
    along = np.concatenate([effects.shared.coefficients, joint], axis=1)[k:]
    found = find_directions(units, along, most)
    topics = replace(topics, directions=scale.rows(found, -found @ units.mean(axis=0)))
    # The sides get what the units were found to explain; a new fit would find it again, and more.
    tilts = np.column_stack([topics.tilts(hidden), np.ones(n)])
    parts = [values[k:] for values in (shared, own, joint)]
    of_sides = np.linalg.lstsq(tilts, units @ np.concatenate(parts, axis=1))[0]
    shared_sides, own_shift, joint_sides = np.split(of_sides, 3, axis=1)
    rows = softmax(hidden @ topics.graph_rows()[1].T, axis=1)
    mean_inputs = rows.T @ inputs / np.maximum(rows.sum(axis=0), 1e-9)[:, None]
    split = Split(
        topics,
        shared[:k] + shared_sides[-1],
        own[:k] + own_shift[-1],
        joint[:k] + joint_sides[-1],
        shared_sides[:-1],
        joint_sides[:-1],
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
