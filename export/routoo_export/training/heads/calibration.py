"""Calibration of the trained members: scores, their spread, output tokens.

Parameters that are fitted per model are regularised, so that they add little noise to the
differences between models.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_export.network.network import FloatArray, RawPrediction, Weights
from routoo_export.training.heads.convex import minimise
from routoo_export.training.heads.objectives import SoftLabels

METHODS: Final = {
    "temperature": "temperature, common to all models",
    "platt": "platt, per model, shrunk towards the common slope and the training intercept",
}
CHOICE_FOLDS: Final = 5


def realign(weights: Weights, raw: RawPrediction, labels: SoftLabels, ridge: float) -> Weights:
    """Refit the topic table and the intercepts on the training rows; the network stays as it is.

    Dropout leaves the trained network's mean per model and topic slightly off, and two good models
    often differ by only half a point. The problem is convex: log-loss plus ``ridge`` times the
    squared change of each cell of the table; the intercepts are free.
    """
    shares, logits = torch.from_numpy(raw.topics).double(), torch.from_numpy(raw.logits).double()
    change = _unknowns(*weights.split[:2])
    shift = _unknowns(logits.shape[1])

    def loss() -> Tensor:
        fit = labels.loss_sum(logits + shift + shares @ change)
        return (fit + ridge * change.square().sum()) / len(logits)

    minimise(loss, [change, shift])
    bias = weights.heads_bias.copy()
    topics, models, _ = weights.split
    bias[:, topics : topics + models] += _float32(shift)
    table = weights.topic_logits + _float32(change)
    return replace(weights, heads_bias=bias, topic_logits=table)


@dataclass(frozen=True, slots=True)
class PlattPrior:
    """Strength of the priors of Platt scaling, as pseudo-counts of prompts at a score of one half.

    Attributes:
        slope: Pulls a model's slope towards the slope that all models share.
        intercept: Pulls a model's intercept towards 0, which keeps the intercept of training. That
            one rests on far more rows, and noise in it directly changes the choice of model.
    """

    slope: float
    intercept: float


def platt(weights: Weights, raw: RawPrediction, labels: SoftLabels, prior: PlattPrior) -> Weights:
    """Slope and intercept per model, fitted on the validation rows (Platt scaling).

    A model without outcomes takes the shared slope.
    """
    logits = torch.from_numpy(raw.logits).double()
    common, slope, intercept = _unknowns(1), _unknowns(logits.shape[1]), _unknowns(logits.shape[1])
    # A prompt at one half has an information of 1/4; half of that is the weight of the square.
    slope_weight, intercept_weight = prior.slope / 8.0, prior.intercept / 8.0

    def loss() -> Tensor:
        fit = labels.loss_sum((common + slope) * logits + intercept)
        held = slope_weight * slope.square().sum() + intercept_weight * intercept.square().sum()
        return (fit + held) / len(logits)

    minimise(loss, [common, slope, intercept])
    return replace(weights, slope=_float32(common + slope), intercept=_float32(intercept))


def temperature(weights: Weights, raw: RawPrediction, labels: SoftLabels) -> Weights:
    """One slope for all models, intercepts of 0, fitted on the validation rows."""
    logits = torch.from_numpy(raw.logits).double()
    common = _unknowns(1)
    minimise(lambda: labels.loss_sum(common * logits) / len(logits), [common])
    models = logits.shape[1]
    slope = _float32(common).repeat(models)
    return replace(weights, slope=slope, intercept=np.zeros(models, dtype=np.float32))


def calibrate(
    weights: Weights, raw: RawPrediction, labels: SoftLabels, prior: PlattPrior, seed: int
) -> Weights:
    """Calibrate by Platt scaling, or by one temperature where that is better on held-out rows.

    They are compared by cross-validation over the validation rows in CHOICE_FOLDS random folds. The
    temperature is taken only if its loss is lower by more than the standard error. Platt scaling is
    preferred otherwise: on topics that training did not see, its slopes decided better at equal
    loss on the topics that it saw.
    """
    rows = len(raw.logits)
    fold = np.random.default_rng(seed).permutation(rows) % CHOICE_FOLDS
    excess = np.zeros(rows)
    for held in range(min(CHOICE_FOLDS, rows - 1)):
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        known = RawPrediction(*(part[inside] for part in raw))
        known_labels = labels.rows(torch.from_numpy(inside))
        judged = labels.rows(torch.from_numpy(outside))
        for sign, fitted in (
            (1.0, platt(weights, known, known_labels, prior)),
            (-1.0, temperature(weights, known, known_labels)),
        ):
            logits = torch.from_numpy(fitted.slope * raw.logits[outside] + fitted.intercept)
            excess[outside] += sign * judged.losses(logits).sum(1).numpy()
    if excess.mean() > excess.std() / np.sqrt(rows):
        return temperature(weights, raw, labels)
    return platt(weights, raw, labels, prior)


def describe_calibration(weights: Weights) -> str:
    """Name the one of METHODS that ``weights`` are calibrated by."""
    common = np.ptp(weights.slope) == 0.0 and not weights.intercept.any()
    return METHODS["temperature" if common else "platt"]


def resample_heads(
    weights: Weights, raw: RawPrediction, labels: SoftLabels, ridge: float, seed: int
) -> Weights:
    """Give each member the topic table of a resample of the training rows; their mean stays.

    A bootstrap of the last layer by one Newton step per resample from the common optimum of
    ``realign`` (the infinitesimal jackknife: Giordano et al., arXiv 1806.00550). The members then
    differ by what they would have learned from other prompts, not by their seeds alone. Resampling
    whole members would cost accuracy, because each would see two thirds of the prompts.
    """
    members = len(weights.topic_logits)
    if members == 1:
        return weights
    shares = torch.from_numpy(raw.topics).double()
    logits = torch.from_numpy(raw.logits).double().requires_grad_()
    torch.autograd.backward(labels.loss_sum(logits))
    gradient = torch.zeros(()) if logits.grad is None else logits.grad
    chance = torch.sigmoid(logits.detach())
    curvature = labels.present.double() * chance * (1.0 - chance)
    draws = np.random.default_rng(seed).poisson(1.0, (members, len(shares))) - 1.0
    pull = torch.stack([(shares.T * row) @ gradient for row in torch.from_numpy(draws)])
    held = 2.0 * ridge * torch.eye(shares.shape[1], dtype=torch.float64)
    change = torch.stack(
        [
            -torch.linalg.solve((shares.T * of_model) @ shares + held, pull[:, :, model].T).T
            for model, of_model in enumerate(curvature.T)
        ],
        dim=2,
    )
    centred = (change - change.mean(0)) * np.sqrt(members / (members - 1.0))
    return replace(weights, topic_logits=weights.topic_logits + _float32(centred))


def fit_spread(
    weights: Weights, scores: FloatArray, labels: SoftLabels, groups: NDArray[np.int64]
) -> Weights:
    """Scale the members' spread to the size of the error that it stands for.

    With one outcome per prompt the error of a score cannot be measured, but that of a topic's mean
    can: over pairs of different prompts of one topic, the products of a model's residuals have the
    same mean as the products of their errors. The factor is the root of the sum of these products
    over that of the members' products. The mean over models is subtracted from each prompt first:
    how hard the sampled prompts are is noise that all models share, and it does not matter for the
    choice among them. The factor is at least 1/sqrt(k), at which the error of the members' mean
    would come from their seeds alone.

    Args:
        weights: The calibrated weights of k members.
        scores: Each member's calibrated scores of the v validation rows, [k, v, m].
        labels: The outcomes of these rows.
        groups: The most likely topic of each row, [v].
    """
    members, _, models = scores.shape
    present = labels.present.numpy() > 0.0
    mean = scores.mean(axis=0)
    residual = _without_row_means(labels.scores.numpy() - mean, present)
    away = np.stack([_without_row_means(member - mean, present) for member in scores])
    errors = spreads = 0.0
    for group in np.unique(groups):
        inside = groups == group
        errors += _pair_products(residual[None, inside])
        spreads += _pair_products(away[:, inside])
    floor = 1.0 / np.sqrt(members)
    ratio = np.sqrt(max(errors, 0.0) / spreads) if spreads > 0.0 else floor
    factor = np.float32(max(ratio, floor))
    return replace(weights, spread=np.full(models, factor, dtype=np.float32))


def _without_row_means(values: FloatArray, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Subtract each row's mean over its present cells [v, m]; missing cells become 0."""
    counts = np.maximum(present.sum(axis=1, keepdims=True), 1)
    known = np.where(present, values, 0.0).astype(np.float64)
    centred: NDArray[np.float64] = known - known.sum(axis=1, keepdims=True) / counts
    return np.where(present, centred, 0.0)


def _pair_products(values: NDArray[np.float64]) -> float:
    """Sum the products of two different rows of a column of ``values`` [k, r, m]; mean over k."""
    return float((values.sum(axis=1) ** 2 - (values**2).sum(axis=1)).sum(axis=1).mean())


def token_factors(predicted: FloatArray, actual: NDArray[np.float64]) -> FloatArray:
    """Factors [m] that turn the mean of ``predicted`` [n, m] into the mean of ``actual``.

    The head predicts the mean logarithm, whose exponential is below the mean that costs need
    (Duan's smearing, as a ratio of means). A missing ``actual`` is NaN. Models without lengths take
    the mean of the others' factors.
    """
    present = ~np.isnan(actual)
    has = np.asarray(present.any(axis=0))
    mean_actual = np.where(present, actual, 0.0).sum(axis=0)
    mean_predicted = np.where(present, predicted, 0.0).sum(axis=0)
    factors: FloatArray = np.ones(actual.shape[1], dtype=np.float32)
    np.divide(mean_actual, mean_predicted, out=factors, where=has, casting="same_kind")
    factors[~has] = factors[has].mean() if has.any() else 1.0
    return factors


def _unknowns(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)


def _float32(values: Tensor) -> FloatArray:
    array: FloatArray = values.detach().numpy().astype(np.float32)
    return array
