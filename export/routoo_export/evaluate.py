"""The judgement of a predictor: held-out figures, their standard errors, and baselines.

- pair: cross-validation over all prompts of the pair's source, by question stem, and with whole
  domains left out of training. What is judged is the training procedure, fold by fold.
- pool and pair on the test split: the checkpoint itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from routoo_export.backbone import load_backbone
from routoo_export.checkpoint import Checkpoint
from routoo_export.decisions import Predicted, Truth, gain_estimate, half_budget, sweep
from routoo_export.holdout import DOMAIN_GROUPS, Holdout, domain_folds, stem_folds
from routoo_export.metrics import (
    CALL_PERCENTAGES,
    Estimate,
    FloatArray,
    auc,
    bootstrap,
    expected_calibration_error,
    log_loss,
    pair_curve,
)
from routoo_export.network import predict
from routoo_export.outcomes import CHARS_PER_TOKEN, Outcomes
from routoo_export.rows import Rows, make_rows
from routoo_export.sources import Protocol
from routoo_export.splits import FOLDS, TEST_BUCKETS, TRAIN_BUCKETS, VALIDATION_BUCKETS, in_buckets
from routoo_export.train import Progress, TrainConfig, refit, token_targets

Figure = Callable[[FloatArray, FloatArray], float]
"""(truth, score) -> a number."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What every figure needs; prices are USD per million (input, output) tokens [m, 2]."""

    rows: Rows
    protocol: Protocol
    prices: NDArray[np.float64]
    seed: int

    def rng(self) -> np.random.Generator:
        """A fresh generator per figure, so that no figure depends on which others were taken."""
        return np.random.default_rng(self.seed)

    def column(self, model: str) -> int:
        return self.rows.outcomes.models.index(model)

    def from_source(self, source: str) -> NDArray[np.bool_]:
        return np.array([name == source for name in self.rows.outcomes.source_names])


def evaluation_epochs(config: TrainConfig) -> int:
    """Epochs of training that `evaluate` does, for a progress bar."""
    return (FOLDS + DOMAIN_GROUPS) * (config.members + 1) * config.epochs


def evaluate(
    checkpoint: Checkpoint,
    outcomes: Outcomes,
    prices: NDArray[np.float64],
    protocol: Protocol,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures as nested plain numbers; an estimate is {"value", "se"}, "never" is None."""
    config = checkpoint.record.config
    tokenizer = load_backbone().tokenizer()
    rows = make_rows(outcomes, checkpoint.table, tokenizer, config.max_tokens, config.seed)
    judge = Judge(rows, protocol, prices, config.seed)
    pair = judge.from_source(protocol.pair_source)
    by_stem = stem_folds(outcomes)
    by_domain = domain_folds(outcomes, protocol.pair_source)
    test = in_buckets(outcomes.buckets, TEST_BUCKETS)
    scores, tokens = predict(checkpoint.weights, rows.features)
    shipped = scores.astype(np.float64)
    folded = _cross_predict(rows, by_stem, config, progress)
    unseen = _cross_predict(rows, by_domain, config, progress)
    figures = {
        "pair": {
            "source": protocol.pair_source,
            "weak": protocol.weak,
            "strong": protocol.strong,
            "prompts": int(pair.sum()),
            "five_folds": _pair_figures(judge, pair, folded),
            "domains_left_out": _pair_figures(judge, pair, unseen),
            "test_split": _pair_figures(judge, pair & test, shipped),
            "baselines": {
                "domain_prior": _pair_decision(judge, pair, _domain_prior_folds(judge, by_stem)),
                "oracle": _pair_decision(judge, pair, outcomes.scores),
                "random_apgr": 0.5,
            },
        },
        "pool_test_split": pool_figures(judge, shipped, tokens.astype(np.float64)),
    }
    plain: dict[str, Any] = _without_nan(figures)
    return plain


def _without_nan(figure: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(figure, dict):
        return {name: _without_nan(value) for name, value in figure.items()}
    return None if isinstance(figure, float) and math.isnan(figure) else figure


def pool_figures(judge: Judge, scores: FloatArray, output_tokens: FloatArray) -> dict[str, Any]:
    """The checkpoint on the pool's test split: ranking, calibration, decision value, baselines."""
    outcomes, protocol = judge.rows.outcomes, judge.protocol
    of_pool = judge.from_source(protocol.pool_source)
    pool = [
        j
        for j, model in enumerate(outcomes.models)
        if model not in protocol.excluded and not np.isnan(outcomes.scores[of_pool, j]).all()
    ]
    test = of_pool & in_buckets(outcomes.buckets, TEST_BUCKETS)
    train = of_pool & in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    truth, predicted = outcomes.scores[test][:, pool], scores[test][:, pool]
    whole = ~(np.isnan(truth) | np.isnan(outcomes.cost_usd[test][:, pool])).any(axis=1)
    world = Truth(
        truth[whole],
        outcomes.cost_usd[test][:, pool][whole],
        pool.index(judge.column(protocol.reference)),
    )
    chars = np.array([len(prompt) for prompt in outcomes.prompts])

    def cost_usd(keep: NDArray[np.bool_], tokens: FloatArray) -> FloatArray:
        """Predicted USD [n, m]: the prompt's length is known before the call."""
        price = judge.prices[pool]
        input_cost = (chars[keep] / CHARS_PER_TOKEN)[:, None] * price[:, 0]
        cost: FloatArray = (input_cost + tokens * price[:, 1]) / 1.0e6
        return cost

    def predictions(keep: NDArray[np.bool_]) -> Predicted:
        return Predicted(scores[keep][:, pool], cost_usd(keep, output_tokens[keep][:, pool]))

    decided = test.copy()
    decided[test] = whole
    validation = of_pool & in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
    mine = predictions(decided)

    def value(score: FloatArray, cost: FloatArray) -> dict[str, Any]:
        return asdict(gain_estimate(sweep(score, cost), world, judge.rng()))

    means = _domain_means(outcomes, train, test, pool)
    overall = [np.nanmean(values[train][:, pool], axis=0) for values in _known(outcomes)]
    like = np.ones((int(whole.sum()), 1))
    return {
        "source": protocol.pool_source,
        "models": len(pool),
        "prompts": int(test.sum()),
        "reference": protocol.reference,
        "mean_auc": asdict(_mean_over_models(auc, truth, predicted, judge)),
        "mean_log_loss": asdict(_mean_over_models(log_loss, truth, predicted, judge)),
        "mean_ece": asdict(_mean_over_models(expected_calibration_error, truth, predicted, judge)),
        "decision": {
            "prompts": int(whole.sum()),
            "reference_score": float(world.scores[:, world.reference].mean()),
            "reference_cost_usd": float(world.cost_usd[:, world.reference].mean()),
            **value(mine.scores, mine.cost_usd),
            "half_budget": asdict(half_budget(predictions(validation), mine, world)),
        },
        "baselines": {
            "domain_prior": {
                "mean_auc": asdict(_mean_over_models(auc, truth, means[0], judge)),
                **value(means[0][whole], cost_usd(decided, means[1][whole])),
            },
            "random_mix_of_singles": value(like * overall[0], cost_usd(decided, like * overall[1])),
            "oracle": value(world.scores, world.cost_usd),
        },
    }


def _cross_predict(
    rows: Rows, folds: Sequence[Holdout], config: TrainConfig, progress: Progress | None
) -> FloatArray:
    """Scores [n, m] from models that have not seen the question; NaN where no fold holds it."""
    scores = np.full(rows.outcomes.scores.shape, np.nan)
    for fold in folds:
        weights = refit(rows, fold.train, fold.validation, config, progress)
        scores[fold.held] = predict(weights, rows.features[torch.from_numpy(fold.held)])[0]
    return scores


def _pair_figures(judge: Judge, keep: NDArray[np.bool_], scores: FloatArray) -> dict[str, Any]:
    figures: dict[str, Any] = _pair_decision(judge, keep, scores)
    for model in (judge.protocol.weak, judge.protocol.strong):
        truth = judge.rows.outcomes.scores[keep, judge.column(model)]
        score = scores[keep, judge.column(model)]
        figures[model] = {
            name: asdict(_figure(figure, truth, score, judge))
            for name, figure in (
                ("auc", auc),
                ("log_loss", log_loss),
                ("ece", expected_calibration_error),
            )
        }
    return figures


def _pair_decision(judge: Judge, keep: NDArray[np.bool_], scores: FloatArray) -> dict[str, Any]:
    weak, strong = judge.column(judge.protocol.weak), judge.column(judge.protocol.strong)
    keep = keep & ~np.isnan(judge.rows.outcomes.scores[:, [weak, strong]]).any(axis=1)
    preference = scores[keep, strong] - scores[keep, weak]
    truth = judge.rows.outcomes.scores[keep]

    def apgr(rows: NDArray[np.int64]) -> float:
        return pair_curve(preference[rows], truth[rows, weak], truth[rows, strong]).apgr

    def calls(percentage: int) -> Estimate:
        def figure(rows: NDArray[np.int64]) -> float:
            curve = pair_curve(preference[rows], truth[rows, weak], truth[rows, strong])
            return curve.calls_for[percentage]

        return bootstrap(len(preference), judge.rng(), figure)

    return {
        "apgr": asdict(bootstrap(len(preference), judge.rng(), apgr)),
        **{f"cpt_{p}": asdict(calls(p)) for p in CALL_PERCENTAGES},
    }


def _figure(figure: Figure, truth: FloatArray, score: FloatArray, judge: Judge) -> Estimate:
    known = ~np.isnan(truth)
    truth, score = truth[known], score[known]
    return bootstrap(len(truth), judge.rng(), lambda rows: figure(truth[rows], score[rows]))


def _mean_over_models(
    figure: Figure, truth: FloatArray, score: FloatArray, judge: Judge
) -> Estimate:
    """`figure` per column over its known rows, averaged; prompts are resampled, not models."""

    def mean(rows: NDArray[np.int64]) -> float:
        values = []
        for j in range(truth.shape[1]):
            known = rows[~np.isnan(truth[rows, j])]
            values.append(figure(truth[known, j], score[known, j]))
        return float(np.mean(values))

    return bootstrap(len(truth), judge.rng(), mean)


def _domain_prior_folds(judge: Judge, folds: Sequence[Holdout]) -> FloatArray:
    """Each model's mean over the other folds in the prompt's domain, which is given away."""
    outcomes = judge.rows.outcomes
    columns = list(range(len(outcomes.models)))
    of_pair = judge.from_source(judge.protocol.pair_source)
    scores = np.full(outcomes.scores.shape, np.nan)
    for fold in folds:
        held = fold.held & of_pair
        scores[held] = _domain_means(outcomes, ~fold.held & of_pair, held, columns)[0]
    return scores


def _domain_means(
    outcomes: Outcomes,
    train: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    columns: Sequence[int],
) -> tuple[FloatArray, FloatArray]:
    """Mean scores and output tokens over `train` in each `wanted` row's domain, [w, columns]."""
    topics = np.array([topic or "" for topic in outcomes.topics])
    found = []
    for values in _known(outcomes):
        means = np.full((len(topics), len(columns)), np.nan)
        for topic in np.unique(topics[wanted]):
            inside = values[train & (topics == topic)][:, columns]
            present = ~np.isnan(inside)
            total = np.where(present, inside, 0.0).sum(axis=0)
            empty = np.full(len(columns), np.nan)
            count = present.sum(axis=0)
            means[topics == topic] = np.divide(total, count, out=empty, where=count > 0)
        found.append(means[wanted])
    return found[0], found[1]


def _known(outcomes: Outcomes) -> tuple[FloatArray, FloatArray]:
    return outcomes.scores, token_targets(outcomes)
