"""Scores of models by topic, by the sides of directions, and by the prompt's traits.

A score is the model's level, plus what is common to all models on such a prompt (its difficulty),
plus the model's own deviation from that; both are linear in the prompt's features, with penalties
by marginal likelihood (``ridge``). Deviations are fitted to scores from which the prompt's own
difficulty is taken, as far as the prompt's other scores tell it: what all models share says nothing
on which of them to take, and would drown it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.training.own.means import shrink_means
from routoo_export.training.own.ridge import Ridge, fit_ridge

FloatArray = NDArray[np.float64]

MOST_DIRECTIONS: Final = 5
_SHARED_WEIGHT: Final = 0.25
"""Of the common part, against the models' deviations, when directions are chosen."""


@dataclass(frozen=True, slots=True)
class ModelLevels:
    """The models' mean scores, and how scores scatter around them.

    Attributes:
        mean: Posterior mean level of each model, [m].
        variance: Its variance, [m].
        within: Share of a prompt's mean residual that is the prompt's own difficulty, [n].
    """

    mean: FloatArray
    variance: FloatArray
    within: FloatArray


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of k topics and p further features: common to all models, and each one's deviations.

    The deviations are fitted twice, by topic alone and by all features, so that a mixture of both
    is right at either end. Each fit's last feature is the common part: a strong model may suffer
    less from a difficult prompt than a weak one.

    Attributes:
        shared: The common part, of k + p features, one column.
        own: The deviations by topic alone, m columns.
        joint: The deviations by all features, m columns.
    """

    shared: Ridge
    own: Ridge
    joint: Ridge

    def weights(self, topics: float = 1.0, further: float = 1.0) -> FloatArray:
        """Coefficients [k + p, m].

        Args:
            topics: How much of the deviations counts.
            further: Part of the fit by all features in their mixture.
        """
        own, joint = self.own.coefficients, self.joint.coefficients
        mixed = further * joint
        mixed[: len(own) - 1] += (1.0 - further) * own[:-1]
        # Without deviations by further features a model has no slope of its own on them either.
        slopes = np.repeat([further * joint[-1]], len(joint) - 1, axis=0)
        slopes[: len(own) - 1] += (1.0 - further) * own[-1]
        found: FloatArray = self.shared.coefficients * (1.0 + topics * slopes)
        return found + topics * mixed[:-1]

    def variances(self, inputs: FloatArray) -> FloatArray:
        """Posterior variances [q, m] of the effects of features [q, k + p]."""
        common = inputs @ self.shared.coefficients
        own = self.joint.variances(np.concatenate([inputs, common], axis=1))
        return self.shared.variances(inputs) + own


@dataclass(frozen=True, slots=True)
class Ratios:
    """Logarithms of the prior variances by block, so that a fold need not find them anew.

    Attributes:
        shared: Of the common part.
        own: Of the deviations by topic alone.
        joint: Of those by all features.
    """

    shared: FloatArray
    own: FloatArray
    joint: FloatArray


def fit_levels(scores: FloatArray, prior: FloatArray) -> ModelLevels:
    """Fit the levels by empirical Bayes.

    Args:
        scores: [n, m], NaN = not asked.
        prior: Prior mean of each model's level up to a constant, [m].
    """
    known = ~np.isnan(scores)
    count, total = known.sum(axis=0).astype(np.float64), np.where(known, scores, 0.0).sum(axis=0)
    grand = total.sum() / max(count.sum(), 1.0)
    prior = grand + prior - (prior * count).sum() / max(count.sum(), 1.0)
    spread = np.square(np.where(known, scores - grand, 0.0)).sum() / max(count.sum(), 1.0)
    found = shrink_means(total, count, prior, np.full(len(count), spread))
    return ModelLevels(found.mean, found.variance, _within(scores - found.mean))


def _within(residuals: FloatArray) -> FloatArray:
    """Share of each prompt's mean residual that is its own, by analysis of variance, [n]."""
    known = ~np.isnan(residuals)
    count = known.sum(axis=1)
    several = count > 1
    if not several.any():
        return np.zeros(len(count))
    mean = _row_means(residuals)
    gaps = np.square(np.where(known, residuals - mean[:, None], 0.0))[several]
    noise = gaps.sum() / (count[several] - 1).sum()
    own = max(float((np.square(mean[several]) - noise / count[several]).mean()), 0.0)
    shares: FloatArray = own * count / np.maximum(own * count + noise, 1e-12)
    return shares


def _row_means(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    total: FloatArray = np.where(known, values, 0.0).sum(axis=1)
    means: FloatArray = total / np.maximum(known.sum(axis=1), 1)
    return means


def plain_deviations(scores: FloatArray, kinds: FloatArray, levels: FloatArray) -> FloatArray:
    """Empirical-Bayes means by likeliest kind of task, less the models' levels, [t, m].

    Args:
        scores: [n, m], NaN = not asked.
        kinds: Probabilities of the kinds, [n, t].
        levels: [m].
    """
    known = ~np.isnan(scores)
    of_kind = np.eye(kinds.shape[1])[kinds.argmax(axis=1)]
    found = shrink_means(
        of_kind.T @ np.where(known, scores, 0.0),
        of_kind.T @ known,
        levels,
        np.maximum(levels * (1.0 - levels), 1e-3),
    )
    deviations: FloatArray = found.mean - levels
    return deviations


def fit_effects(
    residuals: FloatArray,
    within: FloatArray,
    topics: FloatArray,
    further: FloatArray,
    ratios: Ratios | None = None,
) -> Effects:
    """Fit the effects of features on scores from which the models' levels are taken.

    Args:
        residuals: [n, m], NaN = not asked.
        within: As in ``ModelLevels``, [n].
        topics: Shares of the topics, [n, k].
        further: Further features, [n, p].
        ratios: Prior variances; None = the likeliest.
    """
    known = ratios or Ratios(*(None,) * 3)  # type: ignore[arg-type]
    asked = (~np.isnan(residuals)).any(axis=1)
    means = np.where(asked, _row_means(residuals), np.nan)
    features = np.concatenate([topics, further], axis=1)
    blocks = np.repeat([0, 1], [topics.shape[1], further.shape[1]])
    shared = fit_ridge(features, means[:, None], blocks, known.shared)
    fitted = features @ shared.coefficients
    common = fitted + (within * np.where(asked, means - fitted[:, 0], 0.0))[:, None]
    left = residuals - common
    inputs = np.concatenate([topics, fitted], axis=1)
    own = fit_ridge(inputs, left, np.repeat([0, 1], [topics.shape[1], 1]), known.own)
    inputs = np.concatenate([features, fitted], axis=1)
    joint = fit_ridge(inputs, left, np.append(blocks, blocks.max() + 1), known.joint)
    return Effects(shared, own, joint)


def ratios_of(effects: Effects) -> Ratios:
    """The prior variances of effects."""
    parts = (effects.shared, effects.own, effects.joint)
    return Ratios(*(part.log_ratios for part in parts))


def find_directions(units: FloatArray, effects: FloatArray, most: int) -> FloatArray:
    """Directions of standardised units along which predicted scores vary most.

    Reduced-rank regression: the leading principal axes of the fitted values.

    Args:
        units: [n, u].
        effects: Coefficients of the units, [u, 1 + m]; first those of the common part.
        most: Most directions.

    Returns:
        Directions with deviation 1 over the prompts, [d, u]; fewer where fewer matter.
    """
    weighed = effects.copy()
    weighed[:, 0] *= np.sqrt(_SHARED_WEIGHT * max(effects.shape[1] - 1, 1))
    fitted = (units - units.mean(axis=0)) @ weighed
    _, spread, axes = np.linalg.svd(fitted, full_matrices=False)
    count = int((spread[:most] > 1e-6 * max(float(spread[:1].sum()), 1e-6)).sum())
    found = (weighed @ axes[:count].T).T
    scale = (units @ found.T).std(axis=0)
    rows: FloatArray = found / np.maximum(scale, 1e-12)[:, None]
    return rows
