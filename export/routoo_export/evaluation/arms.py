"""Model and effort chosen together against the model alone, where both efforts are graded.

Both ways choose by the shipped predictor's scores and lengths under the same budgets, by the linear
program; the graded answers then tell the quality. Chosen alone, every model is asked at one effort,
the same for all that have it. Costs are those of the predicted lengths at the pool's prices, for
the choice and for the comparison: the sources record no lengths of reasoning. So the figures say
what the choice of an effort is worth if the predicted lengths hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.artifact import Artifact
from routoo.predictor.base import join
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.arms.columns import ArmColumns
from routoo.routing.arms.efforts import EFFORTS
from routoo.routing.arms.model import ModelSpec
from routoo.routing.estimates import Estimates, estimates_of
from routoo.routing.pool import Pool
from routoo.routing.request import PromptRequest
from routoo.selector.lp.problem import Problem, budget
from routoo.selector.lp.solve import solve
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples, Weights
from routoo_export.outcomes.outcomes import Outcomes

POINTS: Final = 9
"""Budgets, of equal ratios, from the cheapest choice to where more money changes nothing."""
_PROMPTS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class AloneComparison:
    """The joint choice against models that are all asked at one effort.

    Attributes:
        effort: The effort of the models that have it; others keep the nearest of theirs.
        budgets_usd: The budgets, mean USD a prompt.
        together: Mean graded score of the joint choice at each.
        alone: That of the choice of a model alone.
        gain: Mean over the budgets of their difference, paired by prompt.
        spent_ratio: Cost of the joint choice over that of the other, all budgets together.
    """

    effort: str
    budgets_usd: tuple[float, ...]
    together: tuple[float, ...]
    alone: tuple[float, ...]
    gain: Estimate
    spent_ratio: float


@dataclass(frozen=True, slots=True)
class ArmsJudgement:
    """A source, judged.

    Attributes:
        source: Its name.
        prompts: Prompts with an answer of every column.
        models: Names of the models.
        arms: Columns: arms, and models without any.
        known: Columns whose own row the predictor has; the others have an offset.
        by_effort: One comparison per effort that any model has.
    """

    source: str
    prompts: int
    models: tuple[str, ...]
    arms: tuple[str, ...]
    known: tuple[str, ...]
    by_effort: tuple[AloneComparison, ...]


def judge_arms(
    source: str, outcomes: Outcomes, models: Sequence[ModelSpec], artifact: Artifact, seed: int = 0
) -> ArmsJudgement:
    """Judge the arms of the models that a source has answers of.

    Args:
        source: Name of the source.
        outcomes: Graded answers; the columns are named ``model`` or ``model@arm``.
        models: Models with their arms; those that are not graded are left out.
        artifact: The predictor.
        seed: Of the resamples.

    Raises:
        OutcomeError: no model is graded at two efforts, or too little is left.
    """
    pool = Pool.of(graded_models(models, outcomes.models)).known_to(artifact.knows)
    if pool.arms is None or all(len(one.arms) < 2 for one in pool.models):
        raise OutcomeError(
            f"{source}: no model is graded at two efforts; name a source that has model@effort"
        )
    columns = [outcomes.models.index(name) for name in pool.names]
    rows = np.flatnonzero(np.isfinite(outcomes.scores[:, columns]).all(axis=1))
    if not rows.size:
        raise OutcomeError(f"{source}: no prompt has an answer of every arm")
    truth = outcomes.scores[rows][:, columns]
    estimates = _estimated([outcomes.prompts[row] for row in rows], pool, artifact)
    resamples = Resamples.draw(len(rows), seed)
    compared = [
        _compared(effort, truth, estimates, alone, resamples)
        for effort, alone in _alone(pool.arms).items()
    ]
    known = pool.arms.offsets.known
    return ArmsJudgement(
        source,
        len(rows),
        tuple(one.name for one in pool.models),
        pool.names,
        tuple(name for name, own in zip(pool.names, known, strict=True) if own),
        tuple(compared),
    )


def graded_models(models: Sequence[ModelSpec], graded: Sequence[str]) -> tuple[ModelSpec, ...]:
    """The models with those of their arms that are graded."""
    found = []
    for model in models:
        arms = tuple(arm for arm in model.arms if f"{model.name}@{arm.name}" in graded)
        if arms or (not model.arms and model.name in graded):
            found.append(model.model_copy(update={"arms": arms}))
    return tuple(found)


def _alone(arms: ArmColumns) -> dict[str, NDArray[np.bool_]]:
    """By effort, the column that each model keeps, bool [m]."""
    offered = sorted(
        {int(one) for one, arm in zip(arms.efforts, arms.specs, strict=True) if arm is not None}
    )
    kept: dict[str, NDArray[np.bool_]] = {}
    for rank in offered:
        away = np.abs(arms.efforts - rank)[None]
        nearest = (away <= arms.least_of_model(away))[0]
        # Of two that are as near, the first.
        first = np.zeros(len(nearest), dtype=np.bool_)
        _, places = np.unique(arms.model_of[nearest], return_index=True)
        first[np.flatnonzero(nearest)[places]] = True
        kept[EFFORTS[rank]] = first
    return kept


def _estimated(prompts: Sequence[str], pool: Pool, artifact: Artifact) -> Estimates:
    graph = PaddedGraph(artifact, pool.predicted_names)
    predictor = OnnxPredictor(artifact, provider="cpu", intra_op_threads=1, graph=graph)
    parts = [
        predictor.predict(prompts[start : start + _PROMPTS_AT_ONCE])
        for start in range(0, len(prompts), _PROMPTS_AT_ONCE)
    ]
    requests = [PromptRequest(prompt) for prompt in prompts]
    return estimates_of(join(parts), requests, pool, pool.columns_in(predictor.models), None)


def _compared(
    effort: str,
    truth: FloatArray,
    estimates: Estimates,
    alone: NDArray[np.bool_],
    resamples: Resamples,
) -> AloneComparison:
    scores, costs = estimates.scores, estimates.costs_usd
    rows = np.arange(len(scores))
    every = np.ones(scores.shape, dtype=np.bool_)
    single = every & alone
    best = np.where(single, scores - 1e-9 * costs, -np.inf).argmax(axis=1)
    least = np.where(single, costs, np.inf).min(axis=1).mean()
    budgets = np.geomspace(least * 1.02, costs[rows, best].mean(), POINTS)
    graded, spent = [], []
    for mean_usd in budgets.tolist():
        limit = budget(costs, mean_usd * len(rows))
        chosen = [solve(Problem(scores, costs, mask, (limit,))).choice for mask in (every, single)]
        graded.append([truth[rows, choice] for choice in chosen])
        spent.append([costs[rows, choice].mean() for choice in chosen])
    found, paid = np.array(graded), np.array(spent)
    gains = (found[:, 0] - found[:, 1]).mean(axis=0)

    def gain(weights: Weights) -> FloatArray:
        means: FloatArray = weights @ gains / weights.sum(axis=1)
        return means

    means = found.mean(axis=2)
    return AloneComparison(
        effort,
        tuple(budgets.tolist()),
        tuple(means[:, 0].tolist()),
        tuple(means[:, 1].tolist()),
        resamples.estimate(gain),
        float(paid[:, 0].sum() / paid[:, 1].sum()),
    )
