"""Figures of predictions as plain nested numbers, each with its standard error and interval."""

import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, Final

import numpy as np

from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples, Weights
from routoo_export.evaluation.curves import Gains, Truth, arena_score
from routoo_export.evaluation.decisions import (
    OperatingPoint,
    PoolPredictions,
    price_for_arena,
    price_for_share,
)
from routoo_export.evaluation.metrics import (
    CALL_PERCENTAGES,
    weighted_auc,
    weighted_brier,
    weighted_calibration_error,
    weighted_log_loss,
    weighted_pair_curves,
)

Figures = dict[str, Any]
ScoreFigure = Callable[[FloatArray, FloatArray, Weights], FloatArray]

SCORE_FIGURES: Final[dict[str, ScoreFigure]] = {
    "auc": weighted_auc,
    "log_loss": weighted_log_loss,
    "brier": weighted_brier,
    "ece": weighted_calibration_error,
}
HALF: Final = 0.5


def score_values(
    truth: FloatArray, score: FloatArray, resamples: Resamples
) -> dict[str, FloatArray]:
    """Compute SCORE_FIGURES, [r] each, of one model; prompts with missing truth are left out."""
    known = ~np.isnan(truth)
    truth, score, kept = truth[known], score[known], resamples.of(known)
    values: dict[str, FloatArray] = {}
    for name, figure in SCORE_FIGURES.items():
        values[name] = kept.values(partial(figure, truth, score))
    return values


def score_figures(truth: FloatArray, score: FloatArray, resamples: Resamples) -> Figures:
    """Estimate SCORE_FIGURES of one model's predictions [n]."""
    return _estimates(score_values(truth, score, resamples))


def pool_score_figures(
    truth: FloatArray, scores: FloatArray, models: tuple[str, ...], resamples: Resamples
) -> Figures:
    """``score_figures`` per model, and their means over the models.

    Prompts are resampled, not models. A model with a single kind of outcome has no AUC and does not
    count in its mean.

    Args:
        truth: True scores, [n, k].
        scores: Predicted scores, [n, k].
        models: Names of the k models.
        resamples: Resamples of the prompts.
    """
    values = [score_values(truth[:, j], scores[:, j], resamples) for j in range(len(models))]
    means = {}
    for name in SCORE_FIGURES:
        stacked = np.stack([value[name] for value in values])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            means[f"mean_{name}"] = np.nanmean(stacked, axis=0)
    return {
        **_estimates(means),
        "per_model": {
            model: _estimates(value) for model, value in zip(models, values, strict=True)
        },
    }


def pair_values(
    truth: FloatArray, scores: FloatArray, resamples: Resamples
) -> dict[str, FloatArray]:
    """RouteLLM's figures, [r] each; ``truth`` and ``scores`` [n, 2]: weak model, strong model."""
    preference = scores[:, 1] - scores[:, 0]

    def stacked(weights: Weights) -> FloatArray:
        curves = weighted_pair_curves(preference, truth[:, 0], truth[:, 1], weights)
        columns = [*curves.calls_for.values(), *curves.recovered_at.values()]
        return np.stack([curves.apgr, *columns], axis=1)

    names = [f"{name}_{p}" for name in ("cpt", "pgr") for p in CALL_PERCENTAGES]
    return dict(zip(["apgr", *names], resamples.values(stacked).T, strict=True))


def pair_figures(truth: FloatArray, scores: FloatArray, resamples: Resamples) -> Figures:
    """Estimate RouteLLM's figures; ``truth`` and ``scores`` [n, 2]: weak model, strong model."""
    return _estimates(pair_values(truth, scores, resamples))


def pair_differences(
    truth: FloatArray, one: FloatArray, other: FloatArray, resamples: Resamples
) -> Figures:
    """``one`` minus ``other`` on the same resamples, hence with paired errors."""
    ours, theirs = (pair_values(truth, scores, resamples) for scores in (one, other))
    return _estimates({name: ours[name] - theirs[name] for name in ours})


def unusual_figures(seen: FloatArray, unseen: FloatArray, resamples: Resamples) -> Figures:
    """Figures of telling prompts of unseen domains from prompts of seen domains by ``ood``.

    The figure auroc is the chance that a prompt of an unseen domain has the higher output ``ood``.

    Args:
        seen: Outputs ``ood`` [n] of prompts whose domains were in the training.
        unseen: Outputs ``ood`` [n] of the same prompts, with their domains left out of it.
        resamples: Resamples of the prompts.
    """
    truth = np.repeat([0.0, 1.0], len(seen))
    both = np.concatenate([seen, unseen])

    def auroc(weights: Weights) -> FloatArray:
        return weighted_auc(truth, both, np.concatenate([weights, weights], axis=1))

    means = {"mean_seen": seen, "mean_unseen": unseen}
    return {
        "auroc": resamples.estimate(auroc).plain(),
        **{name: float(values.mean()) for name, values in means.items()},
    }


def shrinking_figures(
    truth: FloatArray, shrunk: FloatArray, unshrunk: FloatArray, resamples: Resamples
) -> Figures:
    """Figures with and without shrinking the scores of unusual prompts, and their differences.

    The figures ece and log_loss are means over the two models.

    Args:
        truth: True scores, [n, 2]: weak model, strong model.
        shrunk: Predicted scores with shrinkage, [n, 2].
        unshrunk: Predicted scores without it, [n, 2].
        resamples: Resamples of the prompts.
    """
    found = []
    for scores in (shrunk, unshrunk):
        values = {"apgr": pair_values(truth, scores, resamples)["apgr"]}
        of_each = [score_values(truth[:, k], scores[:, k], resamples) for k in range(2)]
        for name in ("ece", "log_loss"):
            values[name] = (of_each[0][name] + of_each[1][name]) / 2.0
        found.append(values)
    with_it, without = found
    return {
        "with": _estimates(with_it),
        "without": _estimates(without),
        "difference": _estimates({name: with_it[name] - without[name] for name in with_it}),
    }


def gain_figures(found: Gains) -> Figures:
    """Estimate all figures of ``found``.

    The figure matched_share is the share of resamples in which the reference's score is matched.
    """
    figures = _estimates({field.name: getattr(found, field.name) for field in fields(found)})
    matched = float(np.isfinite(found.cost_share[1:]).mean())
    return {**figures, "matched_share": matched}


def gain_differences(one: Gains, other: Gains) -> Figures:
    """``one`` minus ``other`` on the same resamples, hence with paired errors."""
    return _estimates(
        {field.name: getattr(one, field.name) - getattr(other, field.name) for field in fields(one)}
    )


def operating_figures(
    sample: PoolPredictions, prompts: PoolPredictions, truth: Truth, resamples: Resamples
) -> Figures:
    """Figures on ``prompts`` at prices that were set on ``sample`` beforehand.

    The figure half_budget is at the price for half of the reference's predicted cost, None where no
    model is that cheap; arena is at the price of the best predicted RouterArena score.
    """
    figures: Figures = {"half_budget": None}
    half = price_for_share(sample, truth.reference, HALF)
    if half is not None:
        point = OperatingPoint.of(half, prompts, truth, resamples)
        figures["half_budget"] = {
            "price": half,
            "cost_share": float(point.cost_share[0]),
            "points": Estimate.of(point.points).plain(),
        }
    point = OperatingPoint.of(price_for_arena(sample), prompts, truth, resamples)
    return {
        **figures,
        "arena": {
            "price": point.price,
            "cost_share": float(point.cost_share[0]),
            "points": Estimate.of(point.points).plain(),
            "score": Estimate.of(point.arena).plain(),
        },
    }


def single_figures(column: int, truth: Truth, resamples: Resamples) -> Figures:
    """Mean score, mean cost in USD and RouterArena's score when always choosing ``column``."""
    weights = resamples.weights.astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    score, cost = weights @ truth.scores[:, column], weights @ truth.cost_usd[:, column]
    return _estimates({"score": score, "cost_usd": cost, "arena": arena_score(score, cost)})


def _estimates(values: dict[str, FloatArray]) -> Figures:
    return {name: Estimate.of(value).plain() for name, value in values.items()}
