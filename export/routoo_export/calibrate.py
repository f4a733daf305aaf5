"""Calibration per model that adds little noise to the differences between models."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from routoo_export.convex import minimise
from routoo_export.network import FloatArray, RawPrediction, Weights

METHOD = "platt, per model, shrunk towards the common slope and the training intercept"


@dataclass(frozen=True, slots=True)
class Labels:
    """scores and present float32 [n, m]; scores are 0 where present is 0."""

    scores: Tensor
    present: Tensor

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> "Labels":
        """From scores [n, m] with NaN = missing."""
        present = ~np.isnan(scores)
        return cls(
            torch.from_numpy(np.where(present, scores, 0.0).astype(np.float32)),
            torch.from_numpy(present.astype(np.float32)),
        )

    def log_loss_sum(self, logits: Tensor) -> Tensor:
        """Summed log-loss over the outcomes that exist."""
        scores, present = self.scores.to(logits.dtype), self.present.to(logits.dtype)
        loss = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
        return (loss * present).sum()


def realign(weights: Weights, raw: RawPrediction, labels: Labels, ridge: float) -> Weights:
    """Refit the topic table and the intercepts on the training rows, the network as it is.

    Dropout leaves the trained network's mean per model and topic slightly off, and half a point
    between two good models is what a router lives on. Convex: log-loss plus `ridge` times the
    squared change of each cell of the table; the intercepts are free.
    """
    shares, logits = torch.from_numpy(raw.topics).double(), torch.from_numpy(raw.logits).double()
    change = _unknowns(*weights.topic_logits.shape)
    shift = _unknowns(logits.shape[1])

    def loss() -> Tensor:
        fit = labels.log_loss_sum(logits + shift + shares @ change)
        return (fit + ridge * change.square().sum()) / len(logits)

    minimise(loss, [change, shift])
    bias = weights.heads_bias.copy()
    topics, models, _ = weights.split
    bias[topics : topics + models] += _float32(shift)
    table = weights.topic_logits + _float32(change)
    return replace(weights, heads_bias=bias, topic_logits=table)


@dataclass(frozen=True, slots=True)
class PlattPrior:
    """Pseudo-counts, in prompts at a score of one half, that hold Platt's figures back.

    slope: towards the slope that all models share. intercept: towards 0, which keeps the intercepts
    of training; they rest on far more rows, and noise in them goes straight into the choice of
    model.
    """

    slope: float
    intercept: float


def platt(weights: Weights, raw: RawPrediction, labels: Labels, prior: PlattPrior) -> Weights:
    """Slope and intercept per model, fitted on the validation rows (Platt scaling).

    A model without outcomes takes the shared slope.
    """
    logits = torch.from_numpy(raw.logits).double()
    common, slope, intercept = _unknowns(1), _unknowns(logits.shape[1]), _unknowns(logits.shape[1])
    # A prompt at one half has an information of 1/4; half of that is the weight of the square.
    slope_weight, intercept_weight = prior.slope / 8.0, prior.intercept / 8.0

    def loss() -> Tensor:
        fit = labels.log_loss_sum((common + slope) * logits + intercept)
        held = slope_weight * slope.square().sum() + intercept_weight * intercept.square().sum()
        return (fit + held) / len(logits)

    minimise(loss, [common, slope, intercept])
    return replace(weights, slope=_float32(common + slope), intercept=_float32(intercept))


def token_factors(predicted: FloatArray, actual: NDArray[np.float64]) -> FloatArray:
    """Factor [m] that makes the mean of `predicted` [n, m] the mean of `actual` (NaN = missing).

    The head predicts the mean logarithm, whose exponential is below the mean that costs need
    (Duan's smearing, as a ratio of means). Models without lengths take the mean of the others'
    factors.
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
