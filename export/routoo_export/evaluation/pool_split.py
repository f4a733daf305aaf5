"""Evaluation on the test split of a pool: ranking, calibration, decisions, baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routoo_export.evaluation.baselines import domain_prior, folded_domain_prior, nearest_neighbours
from routoo_export.evaluation.bootstrap import FloatArray, Resamples
from routoo_export.evaluation.cross_validation import CrossPrediction
from routoo_export.evaluation.curves import Curve, Gains, Truth, single_model_choices
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.evaluation.metrics import IntArray, Reliability
from routoo_export.evaluation.pool import EvaluationPool, Expected, Mask, best_single
from routoo_export.evaluation.summary import (
    Figures,
    gain_differences,
    gain_figures,
    operating_figures,
    pool_score_figures,
    single_figures,
)
from routoo_export.outcomes.folds import Holdout
from routoo_export.training.heads.rows import Rows

OURS = "predictor"


@dataclass(frozen=True, slots=True)
class Drawing:
    """The data of the plots.

    Attributes:
        curves: Mean cost in USD and mean score, [p] each, per method; empty where costs are
            missing.
        singles: Mean cost in USD and mean score of each model; empty where costs are missing.
        reliability: Reliability diagram of each model.
    """

    curves: Mapping[str, tuple[FloatArray, FloatArray]]
    singles: Mapping[str, tuple[float, float]]
    reliability: Mapping[str, Reliability]


@dataclass(frozen=True, slots=True)
class PoolJudgement:
    """The figures of a pool.

    Attributes:
        figures: Nested figures by name.
        drawing: The data of the plots.
        left_out: One sentence per figure that could not be computed.
    """

    figures: Figures
    drawing: Drawing
    left_out: tuple[str, ...]


def judge_pool(
    pool: EvaluationPool, expected: Expected, rows: Rows | None, seed: int
) -> PoolJudgement:
    """Judge the predictions ``expected`` on the pool's test split.

    Args:
        pool: The models and prompts.
        expected: The predictions.
        rows: The features of all prompts; None = no comparison with nearest neighbours.
        seed: Seed of the resamples.
    """
    test = pool.test
    resamples = Resamples.draw(int(test.sum()), seed)
    truth = pool.outcomes.scores[test][:, pool.columns]

    def scored(one: Expected) -> Figures:
        return pool_score_figures(truth, one.scores[test][:, pool.columns], pool.models, resamples)

    rivals, left_out = _rivals(pool, rows)
    baselines: dict[str, Figures] = {}
    for name, rival in rivals.items():
        baselines[name] = {k: v for k, v in scored(rival).items() if k != "per_model"}
    figures: Figures = {
        "models": len(pool.columns),
        "prompts": int(test.sum()),
        "reference": pool.models[pool.reference],
        **scored(expected),
        "baselines": baselines,
    }
    reliability = {
        model: _reliability(truth[:, k], expected.scores[test, j])
        for k, (model, j) in enumerate(zip(pool.models, pool.columns, strict=True))
    }
    decided = pool.whole(test)
    if not (decided.any() and pool.whole(pool.train).any()):
        left_out.append("decisions: no prompt has a score and a cost of every model of the pool")
        return PoolJudgement(figures, Drawing({}, {}, reliability), tuple(left_out))
    duel = _Duel.of(pool, {OURS: expected, **rivals}, decided, resamples.of(decided[test]))
    figures["decision"] = duel.decision(pool, expected, decided)
    for name in duel.gains:
        if name != OURS:
            baselines.setdefault(name, {}).update(duel.against(name))
    baselines["best_single"] = _best_single(pool, duel)
    if not pool.validation.any():
        left_out.append("prices set beforehand: no prompt falls into the validation split")
    curves = {name: (curve.cost_usd[0], curve.score[0]) for name, curve in duel.curves.items()}
    singles = {
        model: (float(duel.truth.cost_usd[:, k].mean()), float(duel.truth.scores[:, k].mean()))
        for k, model in enumerate(pool.models)
    }
    return PoolJudgement(figures, Drawing(curves, singles, reliability), tuple(left_out))


def judge_pool_folds(
    pool: EvaluationPool, folded: CrossPrediction, folds: Sequence[Holdout], resamples: Resamples
) -> Figures | None:
    """Judge decisions on all prompts that the ``folds`` held out, instead of the test split.

    These are several times as many prompts, so the errors are smaller; they evaluate the training
    procedure, not one predictor. The domain prior is fitted on the same folds. Returns None where
    no prompt has a score and a cost of every model of the pool.

    Args:
        pool: The models and prompts.
        folded: Predictions for the held-out prompts.
        folds: The folds.
        resamples: Resamples of all rows.
    """
    decided = pool.whole(pool.rows & ~np.isnan(folded.ood))
    if not decided.any():
        return None
    methods = {OURS: Expected(folded.scores, folded.output_tokens)}
    if _has_domains(pool):
        methods["domain_prior"] = folded_domain_prior(pool.outcomes, pool.rows, folds)
    duel = _Duel.of(pool, methods, decided, resamples.of(decided))
    rivals = {name: duel.against(name) for name in duel.gains if name != OURS}
    return {"prompts": int(decided.sum()), **gain_figures(duel.gains[OURS]), "baselines": rivals}


@dataclass(frozen=True, slots=True)
class _Duel:
    """Decisions of several methods, compared on the same prompts and the same resamples."""

    truth: Truth
    resamples: Resamples
    curves: dict[str, Curve]
    gains: dict[str, Gains]

    @classmethod
    def of(
        cls,
        pool: EvaluationPool,
        methods: Mapping[str, Expected],
        decided: Mask,
        resamples: Resamples,
    ) -> "_Duel":
        truth = pool.truth(decided)
        choices: dict[str, IntArray] = {
            name: pool.predicted(method, decided).sweep() for name, method in methods.items()
        }
        prompts = len(truth.scores)
        choices["random_mix_of_singles"] = single_model_choices(pool.hull_of_singles(), prompts)
        choices["oracle"] = PoolPredictions(truth.scores, truth.cost_usd).sweep()
        curves = {name: Curve.of(chosen, truth, resamples) for name, chosen in choices.items()}
        gains = {name: Gains.of(curve, truth, resamples) for name, curve in curves.items()}
        return cls(truth, resamples, curves, gains)

    def decision(self, pool: EvaluationPool, expected: Expected, decided: Mask) -> Figures:
        figures = {
            "prompts": len(self.truth.scores),
            "reference_score": float(self.truth.scores[:, self.truth.reference].mean()),
            "reference_cost_usd": float(self.truth.cost_usd[:, self.truth.reference].mean()),
            **gain_figures(self.gains[OURS]),
        }
        if pool.validation.any():
            sample = pool.predicted(expected, pool.validation)
            prompts = pool.predicted(expected, decided)
            figures |= operating_figures(sample, prompts, self.truth, self.resamples)
        return figures

    def against(self, name: str) -> Figures:
        difference = gain_differences(self.gains[OURS], self.gains[name])
        return {**gain_figures(self.gains[name]), "predictor_minus_this": difference}


def _best_single(pool: EvaluationPool, duel: _Duel) -> Figures:
    """Figures of the model that scored best in training, whatever it costs."""
    k = best_single(pool.outcomes.scores, pool.train, pool.columns)
    return {"model": pool.models[k], **single_figures(k, duel.truth, duel.resamples)}


def _rivals(pool: EvaluationPool, rows: Rows | None) -> tuple[dict[str, Expected], list[str]]:
    """Baselines fitted on the pool's training prompts, for its test prompts."""
    found, left_out = {}, []
    outcomes = pool.outcomes
    if _has_domains(pool):
        found["domain_prior"] = domain_prior(outcomes, pool.train, pool.test)
    else:
        left_out.append("the domain prior: the outcomes have no domains")
    if rows is not None:
        found["nearest_neighbours"] = nearest_neighbours(
            outcomes, rows.features.numpy(), rows.groups, pool.train, pool.test
        )
    return found, left_out


def _has_domains(pool: EvaluationPool) -> bool:
    return any(domain for domain, own in zip(pool.outcomes.domains, pool.rows, strict=True) if own)


def _reliability(truth: FloatArray, score: FloatArray) -> Reliability:
    known = ~np.isnan(truth)
    return Reliability.of(truth[known], score[known])
