"""The choice, by cross-validation, of how far a team's rows go beyond the best single model.

Plain empirical-Bayes means by kind of task are the start. They put a model above the best single
one of all prompts only where choices by them, on prompts that were not fitted to, do not fall short
of it: neither of the best of the prompts that were fitted to, by half a standard error, nor of the
best in hindsight, with all prompts known, by a whole one. Of many near-equal models that one looks
the better the more they are, and so does what is chosen among them.

Deviations by topic, by direction and by trait count if they gain surely both on the start and on
the best single model in hindsight: as in the one-standard-error rule of Breiman et al.,
"Classification and Regression Trees" (1984), but as the luckiest of several is looked at, by so
many standard errors that one without merit is taken no more often than a single one would be by one
standard error (Sidak, "Rectangular confidence regions", JASA 1967).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from routoo_export.training.own.fit import Features, FittedScores, RowRecipe, Strength, fit_scores
from routoo_export.training.own.scores import MOST_DIRECTIONS, fit_levels
from routoo_export.training.own.topics import Named, OwnTopics, TopicCandidate

FloatArray = NDArray[np.float64]

Kind = TypeVar("Kind")

_TOLD: Final = ((0.5, 0.0), (1.0, 0.5), (1.0, 1.0))
"""Strength of told topics and of traits that is tried beyond topics alone."""
_RECOGNISED: Final = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0))
"""Strength of recognised topics and of sides that is tried beyond plain means."""
SURE: Final = 1.0
"""Gain of the only thing that is tried, in standard errors of the choices' scores."""
MOST_LOSS: Final = (0.5, 1.0)
"""Of plain means against the best single model as known from other prompts, and in hindsight, in
the same unit. Less costs more gains than it saves losses while there are few labels."""


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
        topics: Sequence[OwnTopics],
        named: Named | None,
    ) -> "FoldFits":
        """Fit each fold's complement, with the topics that were learnt from it."""
        held, fits = [], []
        for fold, of_fold in zip(np.unique(folds).tolist(), topics, strict=True):
            train, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if not len(train):
                continue
            known = None if named is None else named.rows(train)
            part = replace(recipe, topics=of_fold)
            fits.append(fit_scores(scores[train], features.rows(train), part, known)[0])
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
        """Levels [n, m] of the models as the others' folds have them."""
        found = np.full(self.scores.shape, np.nan)
        for out, fitted in zip(self.held, self.fits, strict=True):
            found[out] = fitted.levels.mean
        return found


def choose_recipe(
    scores: FloatArray,
    features: Features,
    folds: NDArray[np.int64],
    candidates: Sequence[TopicCandidate],
    prior: FloatArray,
    named: Named | None = None,
) -> RowRecipe:
    """Choose topics, directions and strength.

    Plain means by kind of task are the start; where they fall short of the best single model, no
    other is put above it. What has more to it has to gain on both.

    Args:
        scores: [n, m], NaN = not asked.
        features: Of the n prompts.
        folds: Fold of each prompt, int64 [n].
        candidates: Topics to choose from, by which prompts are recognised; first the kinds of task.
        prior: As in ``RowRecipe``.
        named: Topics of the prompts where the outcomes name them.
    """
    data = _Data(scores, features, folds, prior, named)
    tried = [_Learnt.of(one, features.hidden, folds) for one in candidates]
    told = _told_strength(data, tried[0])
    plainer = replace(told, traits=0.0)
    found = [(one, data.plain(tried[0], one)) for one in dict.fromkeys((plainer, told))]
    # What traits add has to pay where topics have to be recognised, too.
    by_plain = [(one, one[1][1].predict(replace(one[0], topics=1.0))) for one in found]
    told, plain = _upgraded(by_plain[1:], by_plain[0], data)
    return _recognised(data, tried, told, plain)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """Topics, and what they are as learnt without each fold."""

    topics: OwnTopics
    kinds: NDArray[np.int64] | None
    of_folds: tuple[OwnTopics, ...]

    @classmethod
    def of(
        cls, candidate: TopicCandidate, hidden: FloatArray, folds: NDArray[np.int64]
    ) -> "_Learnt":
        others = [np.flatnonzero(folds != fold) for fold in np.unique(folds).tolist()]
        learnt = tuple(candidate.learnt_on(rows, hidden[rows]) for rows in others)
        return cls(candidate.topics, candidate.kinds, learnt)


@dataclass(frozen=True, slots=True)
class _Data:
    scores: FloatArray
    features: Features
    folds: NDArray[np.int64]
    prior: FloatArray
    named: Named | None

    def fitted(
        self, learnt: _Learnt, strength: Strength, directions: int, *, plain: bool = False
    ) -> tuple[RowRecipe, FoldFits]:
        """A recipe with the likeliest penalties, and the folds that are fitted with them."""
        start = RowRecipe(
            learnt.topics, directions, strength, self.prior, learnt.kinds if plain else None
        )
        recipe = fit_scores(self.scores, self.features, start, self.named)[1]
        fits = FoldFits.fit(
            self.scores, self.features, self.folds, recipe, learnt.of_folds, self.named
        )
        return recipe, fits

    def plain(self, kinds: _Learnt, strength: Strength) -> tuple[RowRecipe, FoldFits]:
        """Plain means, with directions of what is common if they predict held-out scores better."""

        def missed(one: tuple[RowRecipe, FoldFits]) -> float:
            predicted = one[1].predict(replace(strength, topics=1.0))
            return float(np.nanmean(np.square(self.scores - predicted)))

        both = (
            self.fitted(kinds, strength, directions, plain=True)
            for directions in (0, MOST_DIRECTIONS)
        )
        return min(both, key=missed)

    def hold(self, fits: FoldFits, strength: Strength, *, told: bool = False) -> bool:
        """Whether choices fall short of no best single model by more than MOST_LOSS."""
        predicted = fits.predict(strength, told=told)
        singles = fits.best_single(), self.best_single()
        return all(
            gain(predicted, single, self.scores) >= -most
            for single, most in zip(singles, MOST_LOSS, strict=True)
        )

    def best_single(self) -> FloatArray:
        """The models' levels with all prompts known, [n, m]."""
        levels = fit_levels(self.scores, np.zeros(self.scores.shape[1])).mean
        return np.broadcast_to(levels, self.scores.shape)


def _told_strength(data: _Data, kinds: _Learnt) -> Strength:
    """How much deviations by told topic and by trait count."""
    levels = Strength(topics=0.0, sides=0.0, told=0.0, traits=0.0)
    if data.named is None:
        return levels
    fits = data.fitted(kinds, levels, 0, plain=True)[1]
    base = replace(levels, told=1.0)
    base = replace(base, told_above=data.hold(fits, base, told=True))
    tried = []
    for told, traits in _TOLD:
        strength = replace(levels, told=told, traits=traits)
        tried.append((strength, fits.predict(strength, told=True)))
    return _upgraded(tried, (base, fits.predict(base, told=True)), data)


def _recognised(
    data: _Data, tried: Sequence[_Learnt], told: Strength, plain: tuple[RowRecipe, FoldFits]
) -> RowRecipe:
    """The recipe for prompts whose topic is recognised."""
    recipe, fits = plain
    base = replace(told, topics=1.0)
    base = replace(base, above=data.hold(fits, base))
    found = []
    for learnt in tried:
        full, full_fits = data.fitted(learnt, told, recipe.directions)
        for topics, sides in _RECOGNISED:
            strength = replace(told, topics=topics, sides=sides)
            found.append((replace(full, strength=strength), full_fits.predict(strength)))
    return _upgraded(found, (replace(recipe, strength=base), fits.predict(base)), data)


def _upgraded(
    tried: Sequence[tuple[Kind, FloatArray]], base: tuple[Kind, FloatArray], data: _Data
) -> Kind:
    """The best of what gains on the base and on the best single model, or else the base."""
    single, found, most = data.best_single(), base[0], 0.0
    least = least_gain(len(tried))
    for one, predicted in tried:
        gains = gaps(predicted, base[1], data.scores)
        sure = min(_errors(gains), gain(predicted, single, data.scores)) > least
        if sure and gains.mean() > most:
            found, most = one, float(gains.mean())
    return found


def least_gain(tried: int) -> float:
    """Least gain, in standard errors, of the best of so many that are tried; SURE of one."""
    return float(norm.ppf(norm.cdf(SURE) ** (1.0 / max(tried, 1))))


def gaps(predicted: FloatArray, other: FloatArray, scores: FloatArray) -> FloatArray:
    """Score of one choice less that of another, of each prompt that several models were asked."""
    known = ~np.isnan(scores)
    rows = np.flatnonzero((known.sum(axis=1) > 1) & ~np.isnan(predicted).any(axis=1))
    chosen, alone = (
        scores[rows, np.where(known, one, -np.inf)[rows].argmax(axis=1)]
        for one in (predicted, other)
    )
    found: FloatArray = chosen - alone
    return found


def gain(predicted: FloatArray, other: FloatArray, scores: FloatArray) -> float:
    """Mean of ``gaps`` in standard errors."""
    return _errors(gaps(predicted, other, scores))


def _errors(values: FloatArray) -> float:
    if len(values) < 2:
        return 0.0
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) / error if error > 0.0 else 0.0
