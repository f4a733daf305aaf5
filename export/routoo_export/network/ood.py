"""Out-of-distribution detection: a measure of how unlike the training prompts a prompt is.

Two signals, each standardised over in-domain validation prompts, add up to a distance:

- the energy of the topic logits, minus their expectation under the topic shares: low where a prompt
  clearly belongs to a topic that was trained on (Liu et al., "Energy-based Out-of-distribution
  Detection", arXiv 2010.03759). It tells unseen domains from seen ones;
- the Mahalanobis length of the features in their leading principal directions (Lee et al., arXiv
  1807.03888), counted only beyond one standard deviation. It detects text of an entirely different
  kind, on which a topic classifier may be confident.

The distance is reported as the share of in-domain validation prompts that are nearer.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FloatArray = NDArray[np.float32]

DIRECTIONS: Final = 128
LEVELS: Final = (*np.linspace(0.0, 0.9, 10).round(1).tolist(), 0.95, 0.98, 0.99, 1.0)
"""Shares of in-domain prompts whose distances are the knots; finer where prompts are unusual."""


@dataclass(frozen=True, slots=True)
class OodWeights:
    """Weights of the measure, all float32, with f features, r directions and q knots.

    Attributes:
        whiten: Maps features to directions of variance 1, [f, r].
        whiten_bias: Shifts these directions to mean 0, [r].
        location: Mean of energy and of squared length over in-domain prompts, [2].
        gain: Reciprocal standard deviation of both, [2].
        knots: Distances, increasing, [q].
        steps: Share of in-domain prompts between two knots, [q - 1].
    """

    whiten: FloatArray
    whiten_bias: FloatArray
    location: FloatArray
    gain: FloatArray
    knots: FloatArray
    steps: FloatArray

    @classmethod
    def none(cls, features: int) -> "OodWeights":
        """Weights under which every prompt is typical: ood is 0."""
        return cls(
            whiten=np.zeros((features, 1), dtype=np.float32),
            whiten_bias=np.zeros(1, dtype=np.float32),
            location=np.zeros(2, dtype=np.float32),
            gain=np.zeros(2, dtype=np.float32),
            knots=np.array([1.0, 2.0], dtype=np.float32),
            steps=np.ones(1, dtype=np.float32),
        )

    def arrays(self) -> dict[str, FloatArray]:
        """Every array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Ood(nn.Module):
    """``OodWeights`` as a torch module: features [n, f] and energy [n] -> ood [n] in [0, 1].

    All float32.
    """

    def __init__(self, weights: OodWeights) -> None:
        super().__init__()
        for name, array in weights.arrays().items():
            self.register_buffer(f"{name}_", torch.from_numpy(np.ascontiguousarray(array)))

    def forward(self, features: Tensor, energy: Tensor) -> Tensor:
        knots = self.get_buffer("knots_")
        beyond = self.distance(features, energy).unsqueeze(1) - knots[:-1]
        passed = (beyond / (knots[1:] - knots[:-1])).clamp(0.0, 1.0) * self.get_buffer("steps_")
        return passed.sum(1).clamp(max=1.0)

    def distance(self, features: Tensor, energy: Tensor) -> Tensor:
        """Standardised energy plus the standardised length beyond 1, [n]."""
        location, gain = self.get_buffer("location_"), self.get_buffer("gain_")
        length = (self.length(features) - location[1]) * gain[1]
        return (energy - location[0]) * gain[0] + torch.relu(length - 1.0)

    def length(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis length [n]."""
        whitened = torch.addmm(
            self.get_buffer("whiten_bias_"), features, self.get_buffer("whiten_")
        )
        return whitened.square().sum(1)


def fit_ood(
    train: Tensor, validation: Tensor, energy: Tensor, groups: tuple[int, ...]
) -> OodWeights:
    """Fit the weights on training prompts and on in-domain prompts that were not trained on.

    Args:
        train: Features of the n training prompts, [n, f].
        validation: Features of the v other prompts, [v, f].
        energy: Energy of the v other prompts, [v].
        groups: Widths of the runs of features that share one scale.
    """
    deviation = train.double().std(0, correction=0)
    for run in torch.split(deviation, list(groups)):
        run[:] = run.square().mean().sqrt()
    scale = torch.where(deviation > 0.0, deviation, 1.0)
    mean = train.double().mean(0)
    covariance = torch.cov(((train - mean) / scale).T, correction=0)
    width = train.shape[1]
    variances, directions = torch.linalg.eigh(covariance.reshape(width, width))
    # Directions without variance would be divided by rounding errors.
    kept = (variances > variances.max().clamp(min=1.0e-12) * 1.0e-6).nonzero().flatten()
    kept = kept.flip(0)[:DIRECTIONS]
    whiten = directions[:, kept] / variances[kept].sqrt() / scale[:, None]
    weights = replace(
        OodWeights.none(1), whiten=_float32(whiten), whiten_bias=_float32(-mean @ whiten)
    )
    signs = torch.stack([energy, Ood(weights).length(validation)]).double()
    spread = signs.std(1, correction=0)
    weights = replace(
        weights,
        location=_float32(signs.mean(1)),
        gain=_float32(torch.where(spread > 0.0, 1.0 / spread, 0.0)),
    )
    distances = Ood(weights).distance(validation, energy).double().numpy()
    levels = np.array(LEVELS)
    knots = np.quantile(distances, levels).astype(np.float32)
    # Prompts at the same distance would make a gap of zero between two knots.
    distinct = np.append(True, np.diff(knots) > 1.0e-4 * max(1.0, np.ptp(distances)))
    if distinct.sum() == 1:
        return OodWeights.none(width)
    return replace(
        weights,
        knots=knots[distinct],
        steps=np.diff(levels[distinct] / levels[distinct][-1]).astype(np.float32),
    )


def _float32(values: Tensor) -> FloatArray:
    array: FloatArray = values.numpy().astype(np.float32)
    return array
