"""The claims of the Routoo paper (arXiv 2401.13979), tested on published outcomes of other models.

Each pool is evaluated on questions that were not trained on in any source: the split goes by
question over all sources at once. All methods train on the same questions and decide through the
service's own selector. The selector sees predicted scores and costs; the figures are of the true
ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.baselines import NEIGHBOURS, domain_prior, nearest_neighbours
from routoo_export.evaluation.bootstrap import Estimate, FloatArray, Resamples
from routoo_export.evaluation.curves import Curve, Gains, Truth, single_model_choices
from routoo_export.evaluation.decisions import OperatingPoint, PoolPredictions, price_for_share
from routoo_export.evaluation.evaluate import plain_numbers
from routoo_export.evaluation.factorisation import matrix_factorisation
from routoo_export.evaluation.pool import EvaluationPool, Expected, Mask, best_single, input_tokens
from routoo_export.evaluation.protocol import of_source
from routoo_export.evaluation.summary import Figures, gain_differences, gain_figures, single_figures
from routoo_export.network.network import predict
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes
from routoo_export.outcomes.sources import read_prices
from routoo_export.outcomes.splits import (
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    in_buckets,
    question_stem,
)
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import Progress, TrainConfig, fit

SOURCES: Final = {
    "mmlu_joined": "mmlu",
    "mmlu_pro": "mmlu_pro",
    "routerbench": "routerbench",
    "routerdc": "routerdc",
    "mmlu_routellm": "mmlu",
}
"""File -> source. Files of one source have the same kind of questions in the same domains.

A question that two files have for the same models is read from the first file only.
"""

# These domains are in Chinese, which the backbones' tokenizers do not cover.
UNREAD_DOMAINS: Final = ("routerdc/cmmlu", "routerdc/ceval")
SHARES: Final = (0.5, 0.75, 1.0)
BEST_SINGLE: Final = "best single model"
RANDOM_MIX: Final = "random mix of two"
ORACLE: Final = "oracle"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper about such a pool.

    Attributes:
        text: The claim in words.
        figure: Name of the figure of ``Gains`` that is compared with ``bound``.
        bound: The value that the claim names.
        at_most: The claim is that the figure is at most ``bound``; otherwise that it is above it.
    """

    text: str
    figure: str
    bound: float
    at_most: bool = False

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value > self.bound


@dataclass(frozen=True, slots=True)
class ReproductionCase:
    """One pool of models, and the claims that are tested on it.

    Attributes:
        key: Letter of the pool in the table.
        title: Title of the pool.
        source: The source whose models and prompts form the pool.
        excluded: Models of the source that are not in the pool.
        claims: The claims of the paper about such a pool.
        answer_tokens: Output tokens of every answer, where the source's costs assume a constant;
            None = predicted.
    """

    key: str
    title: str
    source: str
    excluded: tuple[str, ...]
    claims: tuple[Claim, ...]
    answer_tokens: float | None = None


_OPEN_CLAIMS: Final = (
    Claim("the best single model's quality at 2/3 of its cost", "cost_share", 2 / 3, at_most=True),
    Claim("5 points above the best single model at its cost", "full_cost_points", 5.0),
)
STRONG_CLAIMS: Final = (
    Claim("the best single model's quality at 1/2 of its cost", "cost_share", 1 / 2, at_most=True),
    Claim("above the best single model at 3/4 of its cost", "three_quarter_cost_points", 0.0),
)
_CLOSED: Final = ("gpt-4o-2024-05-13", "gemini-1.5-pro-002", "gemini-1.5-flash-002")
_OPEN_BUT_RUN_BY_OTHERS: Final = ("deepseek-chat-v2", "ai21/jamba-1.5-large")
_FEW_OUTCOMES: Final = ("deepseek-ai/DeepSeek-Coder-V2",)

CASES: Final = (
    ReproductionCase(
        "a", "MMLU, 8 open models", "mmlu", ("gpt-4-1106-preview",), _OPEN_CLAIMS, 1.0
    ),
    ReproductionCase("b", "MMLU, 8 open models and GPT-4", "mmlu", (), STRONG_CLAIMS, 1.0),
    ReproductionCase(
        "c",
        "MMLU-Pro, 26 open-weight models",
        "mmlu_pro",
        (*_CLOSED, *_OPEN_BUT_RUN_BY_OTHERS, *_FEW_OUTCOMES),
        _OPEN_CLAIMS,
    ),
    ReproductionCase(
        "d", "MMLU-Pro, 31 models with GPT-4o", "mmlu_pro", _FEW_OUTCOMES, STRONG_CLAIMS
    ),
    ReproductionCase("e", "RouterBench, 11 models, true costs", "routerbench", (), STRONG_CLAIMS),
    ReproductionCase(
        "f",
        "MMLU-Pro, (c) with two more",
        "mmlu_pro",
        (*_CLOSED, *_FEW_OUTCOMES),
        _OPEN_CLAIMS,
    ),
)


@dataclass(frozen=True, slots=True)
class Material:
    """The outcomes and prices from which all pools are made.

    Attributes:
        outcomes: Merged outcomes of all sources.
        prices: USD per million (input, output) tokens, [m, 2].
        input_tokens: Input tokens [n] of the whole prompts. Where a prompt has demonstrations
            before its question, the outcomes hold the question only.
    """

    outcomes: Outcomes
    prices: FloatArray
    input_tokens: FloatArray

    @property
    def train(self) -> Mask:
        return in_buckets(self.outcomes.buckets, TRAIN_BUCKETS)

    @property
    def validation(self) -> Mask:
        return in_buckets(self.outcomes.buckets, VALIDATION_BUCKETS)

    def pool(self, case: ReproductionCase) -> EvaluationPool:
        """The pool of a case; the reference is the model that scored best in training."""
        rows = of_source(self.outcomes, case.source)
        columns = np.array(
            [
                j
                for j, model in enumerate(self.outcomes.models)
                if model not in case.excluded and not np.isnan(self.outcomes.scores[rows, j]).all()
            ]
        )
        return EvaluationPool(
            outcomes=self.outcomes,
            rows=rows,
            columns=columns,
            prices=self.prices[columns],
            input_tokens=self.input_tokens,
            reference=best_single(self.outcomes.scores, rows & self.train, columns),
        )


def read_material(data: Path) -> Material:
    """Read SOURCES from the folder ``data``, without questions that an earlier source has too.

    Raises:
        OutcomeError: a file is missing or does not fit.
    """
    parts, lengths, asked = [], [], set[str]()
    for name, source in SOURCES.items():
        path = data / f"{name}.parquet"
        part = read_outcomes(path, name=source, licence="research use")
        tokens = input_tokens(_whole_prompts(path, part))
        stems = [question_stem(prompt) for prompt in part.prompts]
        repeats = name in ("routerdc", "mmlu_routellm")
        keep = np.array(
            [
                topic not in UNREAD_DOMAINS and not (repeats and stem in asked)
                for topic, stem in zip(part.topics, stems, strict=True)
            ]
        )
        parts.append(part.rows(keep))
        lengths.append(tokens[keep])
        if name == "mmlu_joined":
            asked.update(stems)
    outcomes = merge_outcomes(parts)
    return Material(outcomes, read_prices(data, outcomes.models), np.concatenate(lengths))


def _whole_prompts(path: Path, part: Outcomes) -> list[str]:
    """The prompts as they were sent, with demonstrations, in the order of ``part``."""
    table = pq.read_table(path, columns=["prompt_id", "prompt"])
    sent = dict(zip(table["prompt_id"].to_pylist(), table["prompt"].to_pylist(), strict=True))
    try:
        return [sent[prompt_id] for prompt_id in part.prompt_ids]
    except KeyError as error:
        raise OutcomeError(f"{path}: no prompt_id {error}; it changed while it was read") from error


def train_all(
    material: Material, rows: Rows, config: TrainConfig, progress: Progress | None = None
) -> tuple[Expected, Expected]:
    """Train one predictor and one matrix factorisation for all pools, on the same features."""
    train, validation = material.train, material.validation
    weights = fit(rows.where(train), rows.where(validation), config, progress)
    said = predict(weights, rows.features)
    scores, tokens = said.scores.astype(np.float64), said.output_tokens.astype(np.float64)
    factors = matrix_factorisation(
        material.outcomes,
        rows.features.numpy(),
        rows.groups,
        train,
        validation,
        np.ones(len(train), dtype=np.bool_),
        seed=config.seed,
    )
    return Expected(scores, tokens), factors


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one pool.

    Attributes:
        case: The pool.
        figures: Nested plain numbers.
        curves: Mean cost in USD and mean score, [p] each, per method.
        singles: Mean cost in USD and mean score, [k] each, of the single models.
    """

    case: ReproductionCase
    figures: Figures
    curves: Mapping[str, tuple[FloatArray, FloatArray]]
    singles: tuple[FloatArray, FloatArray]


def reproduce(
    material: Material,
    features: Mapping[str, Rows],
    config: TrainConfig,
    progress: Progress | None = None,
) -> list[CaseResult]:
    """Train on the features of each named backbone, and evaluate all methods on every case."""
    trained = {name: train_all(material, rows, config, progress) for name, rows in features.items()}
    return [_judge(material, case, features, trained, config.seed) for case in CASES]


def _judge(
    material: Material,
    case: ReproductionCase,
    features: Mapping[str, Rows],
    trained: Mapping[str, tuple[Expected, Expected]],
    seed: int,
) -> CaseResult:
    pool = material.pool(case)
    decided = pool.whole(pool.test)
    resamples = Resamples.draw(int(decided.sum()), seed)
    truth = pool.truth(decided)
    methods: dict[str, Expected] = {
        "domain prior": domain_prior(pool.outcomes, pool.train, decided)
    }
    ours = [f"Routoo, {name}" for name in features]
    known = pool.whole(pool.train)
    for name, rows in features.items():
        # Only prompts with outcomes of all models of the pool can serve as neighbours.
        methods[f"kNN-{NEIGHBOURS}, {name}"] = nearest_neighbours(
            pool.outcomes, rows.features.numpy(), rows.groups, known, decided
        )
        methods[f"matrix factorisation, {name}"] = trained[name][1]
    methods |= {mine: trained[name][0] for mine, name in zip(ours, features, strict=True)}
    if case.answer_tokens is not None:
        tokens = np.full(pool.outcomes.scores.shape, case.answer_tokens)
        methods = {name: Expected(one.scores, tokens) for name, one in methods.items()}
    choices = {name: pool.predicted(one, decided).sweep() for name, one in methods.items()}
    choices[RANDOM_MIX] = single_model_choices(pool.hull_of_singles(), len(truth.scores))
    choices[ORACLE] = PoolPredictions(truth.scores, truth.cost_usd).sweep()
    curves = {name: Curve.of(chosen, truth, resamples) for name, chosen in choices.items()}
    gains = {name: Gains.of(curve, truth, resamples) for name, curve in curves.items()}
    figures: Figures = {
        "title": case.title,
        "source": case.source,
        "models": len(pool.columns),
        "test_prompts": len(truth.scores),
        "training_prompts": int(pool.train.sum()),
        "best_single": {
            "model": pool.models[pool.reference],
            **single_figures(pool.reference, truth, resamples),
        },
        "oracle_score": float(truth.scores.max(axis=1).mean()),
        "methods": {name: gain_figures(one) for name, one in gains.items()},
        "differences": {
            mine: {
                name: gain_differences(gains[mine], one)
                for name, one in gains.items()
                if name not in (mine, ORACLE)
            }
            for mine in ours
        },
        "prices_set_beforehand": {
            mine: _beforehand(pool, methods[mine], decided, truth, resamples) for mine in ours
        },
        "claims": {mine: _claims(case, gains[mine]) for mine in ours},
    }
    plain: Figures = plain_numbers(figures)
    drawn = {name: (curve.cost_usd[0], curve.score[0]) for name, curve in curves.items()}
    singles = (truth.cost_usd.mean(axis=0), truth.scores.mean(axis=0))
    return CaseResult(case, plain, drawn, singles)


def _claims(case: ReproductionCase, found: Gains) -> list[dict[str, Any]]:
    claims = []
    for claim in case.claims:
        value = plain_numbers(float(getattr(found, claim.figure)[0]))
        claims.append(
            {
                "paper": claim.text,
                "figure": claim.figure,
                "bound": claim.bound,
                "reached": value is not None and claim.reached(value),
            }
        )
    return claims


def _beforehand(
    pool: EvaluationPool, expected: Expected, decided: Mask, truth: Truth, resamples: Resamples
) -> Figures:
    """Test points of prices that keep to a share of the best single model's validation cost."""
    sample, prompts = pool.predicted(expected, pool.validation), pool.predicted(expected, decided)
    found: Figures = {}
    for share in SHARES:
        price = price_for_share(sample, truth.reference, share)
        if price is not None:
            point = OperatingPoint.of(price, prompts, truth, resamples)
            found[f"{share:.0%}"] = {
                "cost_share": Estimate.of(point.cost_share).plain(),
                "points": Estimate.of(point.points).plain(),
            }
    return found
