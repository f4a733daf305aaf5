"""The uncertainty of a trained ensemble: spread, unusual prompts, shrinkage of their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from routoo_export.network.network import FloatArray, Network, Weights, predict_raw
from routoo_export.network.ood import fit_ood
from routoo_export.training.heads.calibration import PlattPrior, calibrate, fit_spread
from routoo_export.training.heads.objectives import Objective, SoftLabels
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics

MAX_SHRINK: Final = 4.0
EXTREME_MEAN: Final = 1.0e-3
"""The least distance of mean scores from 0 and 1."""


def with_doubts(
    weights: Weights,
    train: Rows,
    validation: Rows,
    objective: Objective,
    prior: PlattPrior,
    seed: int,
) -> Weights:
    """``weights`` calibrated on ``validation``, with spread, ood and anchor; no shrinkage yet."""
    labels = SoftLabels.of(validation.outcomes.scores, validation.weights, objective)
    raw = predict_raw(weights, validation.features)
    weights = calibrate(weights, raw, labels, prior, seed)
    with torch.inference_mode():
        members = Network(weights).members(validation.features)
        scores = torch.sigmoid(_calibrated(weights, members.logits)).numpy()
        likely = members.shares.mean(0).argmax(1).numpy()
    ood = fit_ood(train.features, validation.features, members.energy, train.groups)
    weights = replace(weights, ood=ood, anchor=_anchor(train))
    return fit_spread(weights, scores, labels, likely)


@dataclass(frozen=True, slots=True)
class HeldOutPredictions:
    """Predictions for prompts that a predictor did not train on.

    Attributes:
        logits: Calibrated logits without shrinkage, float32 [n, m].
        ood: How unusual each prompt is, float32 [n].
        anchor: The logit towards which each model's scores shrink, float32 [m].
        labels: The outcomes of the prompts.
    """

    logits: FloatArray
    ood: FloatArray
    anchor: FloatArray
    labels: SoftLabels


def predict_held_out(weights: Weights, rows: Rows, objective: Objective) -> HeldOutPredictions:
    """Predict ``rows``, which ``weights`` did not train on."""
    network = Network(weights)
    with torch.inference_mode():
        members = network.members(rows.features)
        logits = _calibrated(weights, members.logits.mean(0))
        ood = network.ood(rows.features, members.energy)
    labels = SoftLabels.of(rows.outcomes.scores, rows.weights, objective)
    return HeldOutPredictions(logits.numpy(), ood.numpy(), weights.anchor, labels)


def fit_shrink(
    unseen: Sequence[HeldOutPredictions], seen: Sequence[HeldOutPredictions]
) -> FloatArray:
    """Fit ``Weights.shrink`` [1]: minimise the mean losses on unseen and on seen topics, summed.

    Both means count alike, however many prompts there are of each.
    """

    def mean_loss(parts: Sequence[HeldOutPredictions], shrink: float) -> float:
        total = cells = 0.0
        for part in parts:
            certainty = 1.0 / (1.0 + shrink * part.ood[:, None] ** 8)
            logits = part.anchor + certainty * (part.logits - part.anchor)
            total += float(part.labels.loss_sum(torch.from_numpy(logits).double()))
            cells += float(part.labels.present.sum())
        return total / max(cells, 1.0)

    def loss(root: float) -> float:
        return mean_loss(unseen, root**2) + mean_loss(seen, root**2)

    found = minimize_scalar(loss, bounds=(0.0, MAX_SHRINK**0.5), method="bounded")
    best = float(found.x) if found.fun < loss(0.0) else 0.0
    return np.array([best**2], dtype=np.float32)


def left_out_topics(topics: Topics, groups: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks [n] of the rows that each of up to ``groups`` trainings leaves out, by whole topics.

    Every row is left out once. Returns no masks where there are fewer than two topics.
    """
    count = len(topics.names)
    groups = min(groups, count)
    if groups < 2:
        return []
    group_of = np.random.default_rng(seed).permutation(count) % groups
    return [group_of[topics.labels] == group for group in range(groups)]


def rows_of_other_topics(rows: Rows, left_out: Rows) -> Rows:
    """``rows`` without the topics of ``left_out``; rows without a domain stay."""
    names = {name for name in left_out.outcomes.topics if name is not None}
    return rows.where(np.array([name not in names for name in rows.outcomes.topics]))


Fit = Callable[[Rows, Rows], Weights]
"""(training rows, validation rows) -> calibrated weights with ood."""


def shrink_by_left_out_topics(
    train: Rows, validation: Rows, masks: Sequence[NDArray[np.bool_]], fit: Fit, kind: Objective
) -> FloatArray:
    """Fit the shrinkage [1] for unseen topics by leaving out topics of the training rows.

    Args:
        train: Training rows.
        validation: Validation rows.
        masks: Masks [n] of the training rows that each training leaves out, by whole topics.
        fit: Trains once per mask.
        kind: Loss of the scores.
    """
    unseen, seen = [], []
    for mask in masks:
        left_out = train.where(mask)
        known = rows_of_other_topics(validation, left_out)
        if not len(known.features):
            continue
        weights = fit(train.where(~mask), known)
        unseen.append(predict_held_out(weights, left_out, kind))
        seen.append(predict_held_out(weights, known, kind))
    return fit_shrink(unseen, seen) if unseen else np.zeros(1, dtype=np.float32)


def _calibrated(weights: Weights, logits: Tensor) -> Tensor:
    return torch.from_numpy(weights.slope) * logits + torch.from_numpy(weights.intercept)


def _anchor(train: Rows) -> FloatArray:
    """The logit [m] of each model's mean score over its own outcomes.

    A model without any outcome takes the mean of the others' logits.
    """
    scores = train.outcomes.scores
    present = ~np.isnan(scores)
    counted = present if train.weights is None else np.where(present, train.weights, 0.0)
    totals = counted.sum(axis=0)
    sums = (np.where(present, scores, 0.0) * counted).sum(axis=0)
    means = np.divide(sums, totals, out=np.full(len(totals), np.nan), where=totals > 0.0)
    means = np.clip(means, EXTREME_MEAN, 1.0 - EXTREME_MEAN)
    logits = np.log(means) - np.log1p(-means)
    logits[np.isnan(logits)] = np.nanmean(logits)
    return np.asarray(logits, dtype=np.float32)
