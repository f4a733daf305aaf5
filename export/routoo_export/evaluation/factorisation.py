"""Matrix factorisation as in RouteLLM, on the features of any backbone: a baseline.

RouteLLM (arXiv 2406.18665, section 4.2, equation 6) scores model M on query q by

    delta(M, q) = w . (v_M * (W q + b))

with a vector v_M per model and a projection of the query's features. RouteLLM's loss is that of
pairwise preferences; graded outcomes say more than which of two models won, so here sigmoid(delta)
is fitted to each outcome by log-loss. Noise on the features and Adam are taken from RouteLLM; the
number of epochs is the best on the validation prompts.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from routoo_export.evaluation.baselines import overall_means, scale_features
from routoo_export.evaluation.pool import Expected, Mask
from routoo_export.outcomes.outcomes import Outcomes


@dataclass(frozen=True, slots=True)
class FactorisationConfig:
    """Settings of the training.

    Attributes:
        width: Length of the vectors v_M.
        epochs: Most epochs to train.
        patience: Epochs without a better validation loss after which training stops.
        batch_size: Prompts per step.
        learning_rate: Adam's learning rate.
        weight_decay: Adam's weight decay.
        noise: Standard deviation of the noise that training adds to each feature of unit scale.
    """

    width: int = 128
    epochs: int = 60
    patience: int = 5
    batch_size: int = 128
    learning_rate: float = 1.0e-3
    weight_decay: float = 1.0e-5
    noise: float = 0.1


class Factorisation(nn.Module):
    """Maps features float32 [n, f] to logits [n, m] of the scores."""

    def __init__(self, features: int, models: int, width: int) -> None:
        super().__init__()
        self.model_vectors = nn.Embedding(models, width)
        self.project = nn.Linear(features, width)
        self.combine = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        models = functional.normalize(self.model_vectors.weight, dim=1) * self.combine.weight
        logits: Tensor = self.project(features) @ models.T
        return logits


def matrix_factorisation(
    outcomes: Outcomes,
    features: NDArray[np.float32],
    groups: Sequence[int],
    train: Mask,
    validation: Mask,
    wanted: Mask,
    *,
    seed: int,
    config: FactorisationConfig | None = None,
) -> Expected:
    """Fit on ``train``, stop early by ``validation``, predict ``wanted`` (masks [n] of prompts).

    Output tokens are each model's mean. The same arguments give the same result on one thread.
    """
    config = config or FactorisationConfig()
    inputs = torch.from_numpy(scale_features(features, groups, train))
    truth = torch.from_numpy(np.nan_to_num(outcomes.scores).astype(np.float32))
    present = torch.from_numpy((~np.isnan(outcomes.scores)).astype(np.float32))

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(logits, truth[rows], reduction="none")
        return (each * present[rows]).sum() / present[rows].sum().clamp(min=1.0)

    known, checked = (torch.from_numpy(np.flatnonzero(mask)) for mask in (train, validation))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Factorisation(inputs.shape[1], len(outcomes.models), config.width)
        optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        best, best_loss, waited = copy.deepcopy(model.state_dict()), float("inf"), 0
        for _ in range(config.epochs):
            shuffled = known[torch.randperm(len(known))]
            for rows in torch.split(shuffled, config.batch_size):
                noisy = inputs[rows] + config.noise * torch.randn(len(rows), inputs.shape[1])
                optimizer.zero_grad()
                torch.autograd.backward(loss(model(noisy), rows))
                optimizer.step()
            with torch.inference_mode():
                reached = float(loss(model(inputs[checked]), checked))
            if reached < best_loss:
                best, best_loss, waited = copy.deepcopy(model.state_dict()), reached, 0
            elif (waited := waited + 1) >= config.patience:
                break
    model.load_state_dict(best)
    means = overall_means(outcomes, train, wanted)
    scores = np.full(outcomes.scores.shape, np.nan)
    with torch.inference_mode():
        scores[wanted] = torch.sigmoid(model(inputs[torch.from_numpy(wanted)])).numpy()
    return Expected(scores, means.output_tokens)
