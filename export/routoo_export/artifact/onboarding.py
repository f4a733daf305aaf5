"""Onboarding: adding one model from a few graded prompts, without changing the others.

The new model's logit is a function of the network's outputs for the trained models (logits c_j,
topic shares), fitted by penalised log-loss:

    logit = offset + (1 + slope) * mean_j c_j + sum_j w_j (c_j - mean_j c_j) + sum_t shares_t d_t

The prior of w makes the new model a draw from the distribution of the trained ones (probabilistic
principal components of their logits: Tipping and Bishop 1999). A few prompts therefore move it
along the directions in which models differ. Without any prompt it is their mean, an additive model.
The curvature at the optimum gives the covariance of the parameters (Laplace approximation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.metrics import auc, log_loss
from routoo_export.network.added_models import AddedWeights
from routoo_export.network.network import ADDED_DIRECTIONS, Network, Weights
from routoo_export.training.heads.convex import minimise

Doubles = NDArray[np.float64]

MIN_PROMPTS: Final = 20
CHECK_FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class NewcomerPrior:
    """Prior standard deviations of the parameters, in logits.

    Attributes:
        resemblance: Deviation of the model within the distribution of the trained models; 1 = that
            of the trained models themselves.
        offset: Deviation of its ability beyond that.
        slope: Deviation of its slope from that of the mean.
        topic: Deviation of each topic.
        token_power: Deviation of the power of the output tokens, in units of the residual.
    """

    resemblance: float = 1.0
    offset: float = 0.5
    slope: float = 0.1
    topic: float = 0.1
    token_power: float = 0.5


@dataclass(frozen=True, slots=True)
class Graded:
    """The new model's outcomes on k graded prompts, float64.

    Attributes:
        scores: Scores in [0, 1], [k].
        output_tokens: Output tokens, > 0, [k]; NaN = missing.
    """

    scores: Doubles
    output_tokens: Doubles


@dataclass(frozen=True, slots=True)
class Known:
    """Predictions for the m trained models on n prompts, float64.

    Attributes:
        logits: Calibrated logits without shrinkage, [n, m].
        shares: Topic shares, [n, t].
        output_tokens: Mean output tokens over the models, [n].
    """

    logits: Doubles
    shares: Doubles
    output_tokens: Doubles

    @classmethod
    def of(cls, weights: Weights, features: Tensor) -> "Known":
        """Predict from features float32 [n, f]."""
        with torch.inference_mode():
            members = Network(weights).members(features)
            tokens = torch.exp(members.log_tokens.mean(0)).mean(1)
        logits = members.logits.mean(0).numpy().astype(np.float64)
        return cls(
            weights.slope * logits + weights.intercept,
            members.shares.mean(0).numpy().astype(np.float64),
            tokens.numpy().astype(np.float64),
        )

    def rows(self, index: NDArray[np.intp]) -> "Known":
        """The predictions for the prompts ``index``."""
        return Known(self.logits[index], self.shares[index], self.output_tokens[index])

    def design(self) -> Doubles:
        """The p inputs of the parameters [n, p]: 1, mean logit, deviations from it, shares."""
        mean = self.logits.mean(axis=1, keepdims=True)
        return np.concatenate([np.ones_like(mean), mean, self.logits - mean, self.shares], axis=1)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A fitted new model, float64.

    Attributes:
        parameters: Parameters of the columns of ``Known.design``, [p].
        covariance: Their covariance, [p, p].
    """

    parameters: Doubles
    covariance: Doubles

    def logits(self, known: Known) -> Doubles:
        """The new model's logits [n] on the prompts of ``known``."""
        logits: Doubles = known.design() @ self.parameters
        return logits

    def mean_score(self, known: Known) -> tuple[float, float]:
        """The mean score over the prompts of ``known``, and its standard error."""
        scores = _sigmoid(self.logits(known))
        gradient = (scores * (1.0 - scores)) @ known.design() / len(scores)
        return float(scores.mean()), float(np.sqrt(gradient @ self.covariance @ gradient))


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank of the new model among all models by mean score, 1 = best.

    Attributes:
        estimate: The estimated rank.
        low: Lower end of its 90 % interval.
        high: Upper end of its 90 % interval.
        models: Number of models.
    """

    estimate: int
    low: int
    high: int
    models: int


@dataclass(frozen=True, slots=True)
class HeldOutMetrics:
    """Metrics of the new model by cross-validation over its graded prompts.

    Attributes:
        auc: Area under the ROC curve; None where only one kind of outcome occurs.
        log_loss: Log-loss of the fit, in nats.
        log_loss_of_mean: Log-loss of always predicting the mean score, in nats.
    """

    auc: float | None
    log_loss: float
    log_loss_of_mean: float


def check_graded(graded: Graded) -> None:
    """Refuse graded prompts from which nothing can be learned.

    Raises:
        OutcomeError: fewer than MIN_PROMPTS, or all scores are the same.
    """
    count = len(graded.scores)
    if count < MIN_PROMPTS:
        raise OutcomeError(f"{count} graded prompts are too few; grade {MIN_PROMPTS} or more")
    if np.ptp(graded.scores) == 0.0:
        raise OutcomeError(
            f"all {count} graded prompts score {graded.scores[0]:g}; grade prompts until both good"
            " and bad answers occur"
        )


def fit_newcomer(known: Known, scores: Doubles, prior: NewcomerPrior) -> Newcomer:
    """Fit the new model to its scores [k], from the predictions for the trained models."""
    design = torch.from_numpy(known.design())
    models, topics = known.logits.shape[1], known.shares.shape[1]
    deviations = np.concatenate(
        [
            [prior.offset, prior.slope],
            # Each trained model is one unit step of w, so their covariance is that of steps of 1/m.
            np.full(models, prior.resemblance / np.sqrt(models)),
            np.full(topics, prior.topic),
        ]
    )
    precision = torch.from_numpy(deviations**-2.0)
    start = torch.zeros(len(deviations), dtype=torch.float64)
    start[1] = 1.0
    parameters = start.clone().requires_grad_()
    targets = torch.from_numpy(scores)

    def loss() -> Tensor:
        fit = functional.binary_cross_entropy_with_logits(
            design @ parameters, targets, reduction="sum"
        )
        return (fit + 0.5 * (precision * (parameters - start).square()).sum()) / len(targets)

    minimise(loss, [parameters])
    found = parameters.detach()
    chance = torch.sigmoid(design @ found)
    curvature = (design.T * (chance * (1.0 - chance))) @ design + torch.diag(precision)
    return Newcomer(found.numpy(), torch.linalg.inv(curvature).numpy())


def add_newcomer(
    weights: Weights, known: Known, graded: Graded, prior: NewcomerPrior
) -> tuple[Weights, Newcomer]:
    """Add one model to ``weights``; ``known`` is of the graded prompts, in their order."""
    newcomer = fit_newcomer(known, graded.scores, prior)
    # The trained models' mean scores may differ between the graded and the training prompts.
    shift = np.mean(weights.anchor - _logit(_sigmoid(known.logits).mean(axis=0)))
    mean = _sigmoid(newcomer.logits(known)).mean()
    power, log_factor = _fit_tokens(known.output_tokens, graded.output_tokens, prior)
    column, bias = _column(newcomer, known)
    one = AddedWeights(
        columns=column.astype(np.float32)[None],
        bias=bias.astype(np.float32)[None],
        spread=np.array([weights.spread.mean()], dtype=np.float32),
        anchor=np.array([_logit(mean) + shift], dtype=np.float32),
        token_power=np.array([power], dtype=np.float32),
        log_token_factor=np.array([log_factor], dtype=np.float32),
    )
    arrays = weights.arrays() | {
        f"added.{name}": array for name, array in weights.added.with_one(one).arrays().items()
    }
    return Weights.of(arrays), newcomer


def held_out(known: Known, scores: Doubles, prior: NewcomerPrior, seed: int) -> HeldOutMetrics:
    """Cross-validate over the graded prompts, in CHECK_FOLDS random folds."""
    fold = np.random.default_rng(seed).permutation(len(scores)) % CHECK_FOLDS
    predicted, means = np.empty(len(scores)), np.empty(len(scores))
    for held in range(CHECK_FOLDS):
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        fitted = fit_newcomer(known.rows(inside), scores[inside], prior)
        predicted[outside] = _sigmoid(fitted.logits(known.rows(outside)))
        means[outside] = scores[inside].mean()
    both = 0 < int((scores >= 0.5).sum()) < len(scores)
    return HeldOutMetrics(
        auc=auc(scores, predicted) if both else None,
        log_loss=log_loss(scores, predicted),
        log_loss_of_mean=log_loss(scores, means),
    )


def rank_among(mean: float, se: float, others: Sequence[float]) -> Rank:
    """Rank a mean score with its standard error among the mean scores of the others."""
    z = 1.645

    def rank(value: float) -> int:
        return 1 + sum(other > value for other in others)

    return Rank(rank(mean), rank(mean + z * se), rank(mean - z * se), 1 + len(others))


def _column(newcomer: Newcomer, known: Known) -> tuple[Doubles, Doubles]:
    """``AddedWeights.columns`` [m + t, 1 + r] and bias [1 + r] of the one model."""
    models = known.logits.shape[1]
    design = known.design()
    root = np.linalg.cholesky(newcomer.covariance)
    moment = root.T @ (design.T @ design / len(design)) @ root
    lengths, axes = np.linalg.eigh(moment)
    kept = root @ axes[:, ::-1][:, :ADDED_DIRECTIONS]
    # Scale by the variance of the omitted directions, on average over the graded prompts.
    kept = kept * np.sqrt(lengths.sum() / lengths[::-1][:ADDED_DIRECTIONS].sum())
    parts = np.column_stack([newcomer.parameters, kept])
    deviations = parts[2 : 2 + models]
    logits = parts[1] / models + deviations - deviations.mean(axis=0)
    return np.concatenate([logits, parts[2 + models :]]), parts[0]


def _fit_tokens(expected: Doubles, actual: Doubles, prior: NewcomerPrior) -> tuple[float, float]:
    """Fit power and log factor of actual = factor * expected ** power, with the mean of ``actual``.

    Without any recorded length, the new model is taken to write as much as the trained models do on
    average.
    """
    has = ~np.isnan(actual)
    if not has.any():
        return 1.0, 0.0
    x, y = np.log(expected[has]), np.log(actual[has])
    away = x - x.mean()
    slope = (away @ (y - x)) / (away @ away + prior.token_power**-2.0)
    power = float(1.0 + slope)
    return power, float(np.log(actual[has].mean()) - np.log((expected[has] ** power).mean()))


def _sigmoid(values: Doubles) -> Doubles:
    chances: Doubles = 1.0 / (1.0 + np.exp(-values))
    return chances


def _logit(chances: Doubles | float) -> Doubles:
    return np.asarray(np.log(chances) - np.log1p(-np.asarray(chances)))
