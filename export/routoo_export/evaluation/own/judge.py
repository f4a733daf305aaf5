"""Five folds of a team's outcomes: the trained rows against plain means, one model, and chance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.bootstrap import Estimate, Resamples
from routoo_export.evaluation.curves import Curve, Gains, Truth, single_model_choices
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.evaluation.metrics import weighted_auc, weighted_calibration_error
from routoo_export.evaluation.own.baselines import domain_shares, mean_costs, task_means
from routoo_export.outcomes.splits import FOLDS
from routoo_export.training.own.train import OwnPredictor, OwnPrompts, train_own

FloatArray = NDArray[np.float64]

THIS: Final = "this predictor"
THIS_TOLD: Final = "this predictor, told the domain"
RECOGNISED: Final = "recognised task, empirical-Bayes means"
TOLD: Final = "told domain, empirical-Bayes means"
SINGLE: Final = "best single model"
RANDOM: Final = "random mix of models"
ORACLE: Final = "oracle, after the fact"
RESAMPLED: Final = 100
FEWEST_COMPLETE: Final = 20


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions [n, m] for prompts that were not trained on.

    Attributes:
        scores: Predicted scores by method; a method without predictions is not among them.
        cost_usd: Predicted costs by method; empty = costs are not known.
        levels: The models' levels in what was trained on; the first of them is the best single
            model as known then.
    """

    scores: dict[str, FloatArray] = field(default_factory=dict)
    cost_usd: dict[str, FloatArray] = field(default_factory=dict)
    levels: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """Figures of one method; None = it has none.

    Attributes:
        auc: Mean over the models of the area under the ROC curve over all prompts.
        auc_within: The same within the topics, which counts no difference between them.
        points: Mean score of the choice by predicted score less that of the best single model, in
            points (1/100).
        full_cost_points: The same at the best single model's mean cost.
        half_cost_points: The same at half of it.
        cost_share: Share of the best single model's cost at which its mean score is reached.
        ece: Mean over the models of the expected calibration error.
    """

    auc: Estimate | None = None
    auc_within: Estimate | None = None
    points: Estimate | None = None
    full_cost_points: Estimate | None = None
    half_cost_points: Estimate | None = None
    cost_share: Estimate | None = None
    ece: Estimate | None = None


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Prices of m models, USD per million input and output tokens, [m, 2]."""

    usd_per_million: FloatArray


def cross_validate(
    own: OwnPrompts, prices: ModelPrices | None = None, *, prior: bool = True
) -> HeldOut:
    """Predict each of five folds by what is fitted to the others.

    Args:
        own: The prompts and outcomes.
        prices: Prices; None = costs are those of the outcomes, if any.
        prior: As in ``train_own``.
    """
    blank = np.full(own.outcomes.scores.shape, np.nan)
    held = HeldOut(levels=blank.copy())
    for fold in range(FOLDS):
        of_fold = own.outcomes.buckets % FOLDS == fold
        train, out = np.flatnonzero(~of_fold), np.flatnonzero(of_fold)
        if not len(out) or not len(train):
            continue
        part = predict_held_out(own.rows(train), own.rows(out), prices, prior=prior)
        for mine, found in ((held.scores, part.scores), (held.cost_usd, part.cost_usd)):
            for method, values in found.items():
                mine.setdefault(method, blank.copy())[out] = values
        held.levels[out] = part.levels
    return held


def predict_held_out(
    train: OwnPrompts, asked: OwnPrompts, prices: ModelPrices | None = None, *, prior: bool = True
) -> HeldOut:
    """Fit every method to ``train`` and predict ``asked``."""
    listed = None if prices is None else prices.usd_per_million
    fitted = train_own(train, listed, prior=prior)
    models = len(train.outcomes.models)
    scores = train.outcomes.scores
    held = HeldOut(levels=np.broadcast_to(fitted.scores.levels.mean, asked.outcomes.scores.shape))
    held.scores[THIS] = fitted.scores.predict(asked.features)
    kinds = train.features.kinds, asked.features.kinds
    held.scores[RECOGNISED] = task_means(scores, *kinds, models)
    rows = fitted.scores.topics.row_shares
    shares = {
        THIS: (rows(train.features.hidden), rows(asked.features.hidden)),
        RECOGNISED: kinds,
    }
    if fitted.labels is not None:
        told = tuple(domain or "" for domain in asked.outcomes.domains)
        held.scores[THIS_TOLD] = fitted.scores.predict_told(told, asked.features)
        both = domain_shares((*(d or "" for d in train.outcomes.domains), *told))
        shares[TOLD] = both[: len(scores)], both[len(scores) :]
        shares[THIS_TOLD] = shares[TOLD]
        held.scores[TOLD] = task_means(scores, *shares[TOLD], models)
    for method in held.scores:
        found = _costs(fitted, train, asked, listed, shares[method])
        if found is not None:
            held.cost_usd[method] = found
    return held


def _costs(
    fitted: OwnPredictor,
    train: OwnPrompts,
    asked: OwnPrompts,
    prices: FloatArray | None,
    shares: tuple[FloatArray, FloatArray],
) -> FloatArray | None:
    """Predicted costs: those of the calls that were recorded, or else by prices and lengths."""
    recorded = train.outcomes.cost_usd
    if not np.isnan(recorded).any(axis=1).all():
        return mean_costs(recorded, *shares)
    if prices is None:
        return None
    tokens = fitted.tokens(asked.features)
    return (asked.input_tokens[:, None] * prices[:, 0] + tokens * prices[:, 1]) / 1e6


def true_costs(own: OwnPrompts, prices: ModelPrices | None) -> FloatArray | None:
    """Costs in USD [n, m] by which choices are judged; None = they are not known.

    Those that the outcomes record, or else prices times the recorded lengths, or the artifact's
    expectation of a length where none is recorded.
    """
    recorded = own.outcomes.cost_usd
    if not np.isnan(recorded).any(axis=1).all():
        return recorded
    if prices is None:
        return None
    tokens = own.outcomes.output_tokens
    listed = prices.usd_per_million
    expected = train_own(own, listed).tokens(own.features)
    tokens = np.where(np.isnan(tokens), expected, tokens)
    return (own.input_tokens[:, None] * listed[:, 0] + tokens * listed[:, 1]) / 1e6


def judge(
    own: OwnPrompts, held: HeldOut, cost_usd: FloatArray | None, seed: int = 0
) -> dict[str, OwnFigures]:
    """Judge held-out predictions; errors are those of a bootstrap over prompts.

    Args:
        own: The prompts that were predicted.
        held: The predictions.
        cost_usd: True costs, [n, m]; None = not known.
        seed: Of the resamples.
    """
    scores = own.outcomes.scores
    resamples = Resamples.draw(len(scores), seed, RESAMPLED)
    topics = np.unique(
        [d or k for d, k in zip(own.outcomes.domains, own.kinds, strict=True)], return_inverse=True
    )[1]
    complete = _complete(scores, cost_usd)
    whole = cost_usd is not None and int(complete.sum()) >= FEWEST_COMPLETE
    choices = choice_figures(own, held, cost_usd, seed)
    found = {
        method: OwnFigures(
            **_prediction_figures(scores, predicted, topics, resamples), **choices[method]
        )
        for method, predicted in held.scores.items()
    }
    found[SINGLE] = OwnFigures(points=Estimate(0.0, 0.0, 0.0, 0.0))
    found[RANDOM] = OwnFigures(points=Estimate.of(_points(scores, None, resamples)))
    found[ORACLE] = OwnFigures(points=Estimate.of(_points(scores, scores, resamples)))
    if whole and cost_usd is not None:
        truth, part = _truth(scores, cost_usd, complete), resamples.of(complete)
        columns = np.arange(scores.shape[1])
        mixes = single_model_choices(_hull(truth, columns), len(truth.scores))
        found[RANDOM] = OwnFigures(points=found[RANDOM].points, **_gains(mixes, truth, part))
        best = PoolPredictions(truth.scores, truth.cost_usd).sweep()
        found[ORACLE] = OwnFigures(points=found[ORACLE].points, **_gains(best, truth, part))
        alone = single_model_choices(np.array([truth.reference]), len(truth.scores))
        found[SINGLE] = OwnFigures(points=found[SINGLE].points, **_gains(alone, truth, part))
        # A single model has no point at half of its own cost.
        found[SINGLE] = OwnFigures(
            points=found[SINGLE].points, full_cost_points=found[SINGLE].full_cost_points
        )
    return found


def choice_figures(
    own: OwnPrompts, held: HeldOut, cost_usd: FloatArray | None, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """The figures of ``judge`` that speak of choices, by method and by name in ``OwnFigures``."""
    scores = own.outcomes.scores
    resamples = Resamples.draw(len(scores), seed, RESAMPLED)
    complete = _complete(scores, cost_usd)
    found = {}
    for method, predicted in held.scores.items():
        figures = {"points": Estimate.of(_points(scores, predicted, resamples))}
        if cost_usd is not None and complete.sum() >= FEWEST_COMPLETE:
            predictions = PoolPredictions(predicted[complete], held.cost_usd[method][complete])
            truth = _truth(scores, cost_usd, complete)
            figures |= _gains(predictions.sweep(), truth, resamples.of(complete))
        found[method] = figures
    return found


def known_before(
    own: OwnPrompts, held: HeldOut, cost_usd: FloatArray | None, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """As ``choice_figures``, over the best single model of what was trained on.

    No one knows beforehand which model will be the best on prompts to come; in hindsight the best
    of many near-equal ones is above what any choice could have had.
    """
    scores = own.outcomes.scores
    resamples = Resamples.draw(len(scores), seed, RESAMPLED)
    complete = _complete(scores, cost_usd)
    alone = np.where(np.isnan(held.levels), -np.inf, held.levels).argmax(axis=1)
    found = {}
    for method, predicted in held.scores.items():
        figures = {"points": Estimate.of(_mean_gaps(scores, predicted, alone, resamples))}
        if cost_usd is not None and complete.sum() >= FEWEST_COMPLETE:
            predictions = PoolPredictions(predicted[complete], held.cost_usd[method][complete])
            rows, single = np.flatnonzero(complete), alone[complete]
            # One more column is the model of the prompt's fold; no choice is made of it.
            truth = Truth(
                np.column_stack([scores[complete], scores[rows, single]]),
                np.column_stack([cost_usd[complete], cost_usd[rows, single]]),
                scores.shape[1],
            )
            figures |= _gains(predictions.sweep(), truth, resamples.of(complete))
        found[method] = figures
    return found


def _complete(scores: FloatArray, cost_usd: FloatArray | None) -> NDArray[np.bool_]:
    """The prompts [n] of which every model's score, and its cost if any are known, is known."""
    known = ~np.isnan(scores if cost_usd is None else scores + cost_usd)
    return np.asarray(known.all(axis=1), np.bool_)


def _truth(scores: FloatArray, cost_usd: FloatArray, complete: NDArray[np.bool_]) -> Truth:
    chosen = scores[complete]
    return Truth(chosen, cost_usd[complete], int(chosen.mean(axis=0).argmax()))


def _hull(truth: Truth, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Single models that no cheaper one beats, cheapest first."""
    score, cost = truth.scores.mean(axis=0), truth.cost_usd.mean(axis=0)
    order = columns[np.lexsort((-score, cost))]
    best = np.maximum.accumulate(np.append(-np.inf, score[order][:-1]))
    kept: NDArray[np.int64] = order[score[order] > best]
    return kept


def _gains(choices: NDArray[np.int64], truth: Truth, resamples: Resamples) -> dict[str, Estimate]:
    gains = Gains.of(Curve.of(choices, truth, resamples), truth, resamples)
    return {
        "full_cost_points": Estimate.of(gains.full_cost_points),
        "half_cost_points": Estimate.of(gains.half_cost_points),
        "cost_share": Estimate.of(gains.cost_share),
    }


def _points(scores: FloatArray, predicted: FloatArray | None, resamples: Resamples) -> FloatArray:
    """Points [r] of the choice among the models asked over the best single model.

    ``predicted`` None chooses at random. Prompts that the best single model was not asked are left
    out.
    """
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0)
    count = np.maximum(known.sum(axis=0), 1)
    # A model that few prompts were put to is not called the best.
    best = int(np.where(count >= 0.5 * count.max(), total.sum(axis=0) / count, -np.inf).argmax())
    return _mean_gaps(scores, predicted, np.full(len(scores), best), resamples)


def _mean_gaps(
    scores: FloatArray, predicted: FloatArray | None, alone: NDArray[np.int64], resamples: Resamples
) -> FloatArray:
    """Points [r] of the choice over the models ``alone`` [n], of prompts that these were asked."""
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0)
    rows = np.flatnonzero(known[np.arange(len(scores)), alone])
    if predicted is None:
        got = total[rows].sum(axis=1) / known[rows].sum(axis=1)
    else:
        choice = np.where(known, predicted, -np.inf)[rows].argmax(axis=1)
        got = total[rows, choice]
    gaps = 100.0 * (got - total[rows, alone[rows]])
    weights = resamples.weights[:, rows].astype(np.float64)
    means: FloatArray = weights @ gaps / np.maximum(weights.sum(axis=1), 1.0)
    return means


def _prediction_figures(
    scores: FloatArray, predicted: FloatArray, topics: NDArray[np.int64], resamples: Resamples
) -> dict[str, Estimate]:
    """AUC over and within topics, and ECE; means over the models."""
    over, within, errors = [], [], []
    for column in range(scores.shape[1]):
        known = ~np.isnan(scores[:, column]) & ~np.isnan(predicted[:, column])
        truth, said = scores[known, column], predicted[known, column]
        if len(truth) < FEWEST_COMPLETE:
            continue
        part = resamples.of(known)
        over.append(part.values(_of(weighted_auc, truth, said)))
        errors.append(part.values(_of(weighted_calibration_error, truth, said)))
        within.append(_auc_within(truth, said, topics[known], part))
    return {
        name: Estimate.of(_mean(values))
        for name, values in (("auc", over), ("auc_within", within), ("ece", errors))
        if values
    }


def _of(
    figure: Callable[..., FloatArray], truth: FloatArray, said: FloatArray
) -> Callable[[NDArray[np.float32]], FloatArray]:
    return lambda weights: figure(truth, said, weights)


def _mean(values: list[FloatArray]) -> FloatArray:
    """Means over models, [r]; NaN where no model has the figure."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _auc_within(
    truth: FloatArray, said: FloatArray, topics: NDArray[np.int64], resamples: Resamples
) -> FloatArray:
    """Mean AUC [r] of the topics, weighted by their pairs of a right and a wrong answer."""
    total = np.zeros(len(resamples.weights))
    pairs = np.zeros(len(resamples.weights))
    for topic in np.unique(topics).tolist():
        inside = topics == topic
        part = resamples.of(inside)
        right = truth[inside] >= 0.5
        weights = part.weights.astype(np.float64)
        count = (weights @ right) * (weights @ ~right)
        area = part.values(_of(weighted_auc, truth[inside], said[inside]))
        total += np.where(count > 0.0, np.nan_to_num(area) * count, 0.0)
        pairs += count
    return np.where(pairs > 0.0, total / np.maximum(pairs, 1e-9), np.nan)
