"""Conditioning of a model's row on graded prompts whose kinds of task are probabilities.

The score on a prompt is the mixture of the model's scores on the kinds of task, by the prompt's
probabilities, plus a residual that is linear in the prompt's traits, plus noise. The logit of a
score is the model's plus the level of the grader on that kind of task; the weights of the residual
are the model's plus the grader's. All four are Gaussian. The mode and its curvature are found by
Gauss-Newton steps; the variances of noise and weights maximise the marginal likelihood (empirical
Bayes: MacKay, "Bayesian Interpolation", 1992).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

# Standard deviations, in logits, of a grader's level: over all tasks, and of one task beside it.
_LEVEL_SD: Final = 1.0
_TASK_LEVEL_SD: Final = 0.5
# Of the grader's weights of the traits.
_GRADER_WEIGHT_SD: Final = 0.1
# Variances of a model's own weights that are tried, the smallest first.
_WEIGHT_VARIANCES: Final = (1e-6, 1e-4, 4e-4, 1.6e-3, 6.4e-3, 2.5e-2, 0.1)
_STEPS: Final = 12
_SMALLEST_NOISE: Final = 1e-3
_FIRST_NOISE: Final = 0.2
_NO_VARIANCE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class GradedPrompts:
    """Scores of one model on k prompts.

    Attributes:
        tasks: Probabilities of the kinds of task, float64 [k, t].
        traits: Traits of the prompts, float64 [k, r].
        scores: Scores in [0, 1], float64 [k].
    """

    tasks: Doubles
    traits: Doubles
    scores: Doubles

    def means(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """The mean score and the number of prompts of each of the named kinds, [t].

        Each prompt counts by its probabilities; kinds with less than one prompt in all are left
        out.
        """
        counts = self.tasks.sum(axis=0)
        sums = self.scores @ self.tasks
        return {
            name: (float(np.clip(total / count, 0.0, 1.0)), float(count))
            for name, total, count in zip(names, sums, counts, strict=True)
            if count >= 1.0
        }


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A Gaussian vector of s numbers.

    Attributes:
        mean: float64 [s].
        covariance: float64 [s, s].
    """

    mean: Doubles
    covariance: Doubles


@dataclass(frozen=True, slots=True)
class ModelBelief:
    """Belief about a model.

    Attributes:
        logits: Logits of its scores on the t kinds of task.
        weights: Weights of the r traits in the residual of its score.
    """

    logits: Gaussian
    weights: Gaussian


@dataclass(frozen=True, slots=True)
class GraderBelief:
    """Belief about a grader: what its scores are above the table's, whatever the model.

    Attributes:
        level: In logits, on the t kinds of task.
        weights: Weights of the r traits.
    """

    level: Gaussian
    weights: Gaussian

    @classmethod
    def exact(cls, tasks: int, traits: int) -> "GraderBelief":
        """A grader that is taken to have the scale of the table."""
        return cls(
            Gaussian(np.zeros(tasks), np.zeros((tasks, tasks))),
            Gaussian(np.zeros(traits), np.zeros((traits, traits))),
        )

    @classmethod
    def unknown(cls, tasks: int, traits: int) -> "GraderBelief":
        """A grader of whom nothing is known."""
        level = _LEVEL_SD**2 * np.ones((tasks, tasks)) + _TASK_LEVEL_SD**2 * np.eye(tasks)
        return cls(
            Gaussian(np.zeros(tasks), level),
            Gaussian(np.zeros(traits), _GRADER_WEIGHT_SD**2 * np.eye(traits)),
        )


def condition(
    model: ModelBelief, grader: GraderBelief, graded: GradedPrompts
) -> tuple[ModelBelief, GraderBelief]:
    """Condition beliefs about a model and its grader on graded prompts.

    Args:
        model: The model. The covariance of its weights is that of the models of the table; how
            far the weights may be off it is estimated.
        grader: The grader.
        graded: The k prompts, 1 or more.
    """
    r = graded.traits.shape[1]
    # The vector: logits, levels, the model's weights as in the table, the grader's weights, and the
    # model's beyond the table; the first four in units of their priors' standard deviations.
    roots = [_root(one) for one in (model.logits, grader.level, model.weights, grader.weights)]
    of_logits, known = np.hstack(roots[:2]), np.hstack(roots[2:])
    centre = model.logits.mean + grader.level.mean
    base = graded.traits @ (model.weights.mean + grader.weights.mean)
    of_weights = graded.traits @ known
    logits = of_logits.shape[1]
    size = logits + known.shape[1] + r
    noise, found, spread = _FIRST_NOISE, np.zeros(size), np.eye(size)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-(centre + of_logits @ found[:logits])))
        slope = graded.tasks @ ((chance * (1.0 - chance))[:, None] * of_logits)
        inputs = np.hstack([slope, of_weights, graded.traits])
        wanted = graded.scores - base - graded.tasks @ chance + slope @ found[:logits]
        gram, moment = inputs.T @ inputs, inputs.T @ wanted
        total = float(wanted @ wanted)
        scales = [np.r_[np.ones(size - r), np.full(r, one**0.5)] for one in _WEIGHT_VARIANCES]
        scale = max(scales, key=lambda one: _log_evidence(gram, moment, total, noise, one))
        precision = np.eye(size) + scale[:, None] * gram * scale / noise
        spread = scale[:, None] * np.linalg.inv(precision) * scale
        found = spread @ moment / noise
        left = wanted - inputs @ found
        # As many prompts as there are well determined numbers say nothing of the noise.
        taken = float(np.einsum("ij,ji->", spread, gram)) / noise
        noise = max(float(left @ left) / max(len(left) - taken, 0.1 * len(left)), _SMALLEST_NOISE)

    def after(before: Gaussian, columns: Doubles, places: NDArray[np.intp]) -> Gaussian:
        inner = spread[np.ix_(places, places)]
        return Gaussian(before.mean + columns @ found[places], columns @ inner @ columns.T)

    places = np.split(np.arange(size), np.cumsum([root.shape[1] for root in roots]))
    return (
        ModelBelief(
            after(model.logits, roots[0], places[0]),
            after(model.weights, np.hstack([roots[2], np.eye(r)]), np.r_[places[2], places[4]]),
        ),
        GraderBelief(
            after(grader.level, roots[1], places[1]), after(grader.weights, roots[3], places[3])
        ),
    )


def judge_grader(graded: Iterable[tuple[ModelBelief, GradedPrompts]]) -> GraderBelief | None:
    """Find a grader's scale from models of the table that it has graded.

    A model's figures are independent of another's, so each model in turn narrows the belief.

    Args:
        graded: The models as the table has them, and their graded prompts.

    Returns:
        The belief; None where no model is graded.
    """
    grader = None
    for model, prompts in graded:
        before = grader or GraderBelief.unknown(prompts.tasks.shape[1], prompts.traits.shape[1])
        _, grader = condition(model, before, prompts)
    return grader


def _root(of: Gaussian) -> Doubles:
    """A matrix [s, q] whose product with its transpose is the covariance, of rank q."""
    values, axes = np.linalg.eigh(of.covariance)
    real = values > _NO_VARIANCE
    root: Doubles = axes[:, real] * np.sqrt(values[real])
    return root


def _log_evidence(
    gram: Doubles, moment: Doubles, total: float, noise: float, scale: Doubles
) -> float:
    """The log marginal likelihood of the linearised prompts, up to what the scales leave alone."""
    precision = np.eye(len(scale)) + scale[:, None] * gram * scale / noise
    scaled = scale * moment / noise
    _, logarithm = np.linalg.slogdet(precision)
    fit = total / noise - float(scaled @ np.linalg.solve(precision, scaled))
    return -0.5 * (float(logarithm) + fit)
