"""The rows of the judgement: what each way of choosing predicts of a source's prompts."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.baselines import folded_domain_prior
from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.curves import Truth, non_decreasing_hull, single_model_choices
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.evaluation.traffic.source import JudgedSource
from routoo_export.outcomes.folds import stem_folds

TOLD: Final = "told"
RECOGNISED: Final = "recognised"
PRIOR: Final = "task prior"
SINGLE: Final = "best single"
RANDOM: Final = "random mix"
ORACLE: Final = "oracle"
METHODS: Final = (TOLD, RECOGNISED, PRIOR, SINGLE, RANDOM, ORACLE)


@dataclass(frozen=True, slots=True)
class TableRows:
    """What a table of models tells without the source that is judged.

    Attributes:
        score_mean: Expected score of each of m models on each of t kinds of task, [m, t].
    """

    score_mean: FloatArray


def predictions(source: JudgedSource, tasks: FloatArray, table: TableRows) -> dict[str, FloatArray]:
    """Predicted scores [n, m] of the methods that predict any.

    Told and recognised take the table's means; the task prior is the mean on the source's own
    domains, from the other four of five folds.

    Args:
        source: The source.
        tasks: Recognised probabilities of the kinds, [n, t].
        table: The table's rows of the source's models, estimated without the source.
    """
    outcomes = source.outcomes
    everyone = np.ones(len(outcomes.prompts), dtype=np.bool_)
    prior = folded_domain_prior(outcomes, everyone, stem_folds(outcomes)).scores
    # A fold without any prompt leaves nobody out; a prompt of no fold has the source's mean.
    return {
        TOLD: source.told_shares(tasks) @ table.score_mean.T,
        RECOGNISED: tasks @ table.score_mean.T,
        PRIOR: np.where(np.isnan(prior), outcomes.scores.mean(axis=0), prior),
        ORACLE: outcomes.scores,
    }


def truth_of(source: JudgedSource) -> Truth:
    """The true outcomes; the reference is the best single model, known after the fact."""
    outcomes = source.outcomes
    return Truth(outcomes.scores, outcomes.cost_usd, int(outcomes.scores.mean(axis=0).argmax()))


def decided(scores: FloatArray, truth: Truth, *, oracle: bool = False) -> PoolPredictions:
    """The decisions on predicted scores [n, m] and each model's mean cost in the source.

    What a model costs on average is taken as known, what a single call costs is not: but the
    oracle knows it.
    """
    mean = np.broadcast_to(truth.cost_usd.mean(axis=0), truth.cost_usd.shape)
    return PoolPredictions(scores, truth.cost_usd if oracle else mean.copy())


def single_models(truth: Truth) -> NDArray[np.int64]:
    """Choices [k, n] of the single models on the hull of cost and score, cheapest first.

    Their curve is that of the random mixes of two.
    """
    score, cost = truth.scores.mean(axis=0), truth.cost_usd.mean(axis=0)
    points = zip(*non_decreasing_hull(cost, score), strict=True)
    columns = [
        int(np.flatnonzero((cost == at_cost) & (score == at_score))[0])
        for at_cost, at_score in points
    ]
    return single_model_choices(np.array(columns, dtype=np.int64), len(truth.scores))
