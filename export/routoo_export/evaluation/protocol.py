"""Evaluation protocols: the shipped predictor's, and one made from a team's own outcomes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.pool import EvaluationPool, Mask, best_single, input_tokens
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.sources import ProtocolSpec
from routoo_export.outcomes.splits import TEST_BUCKETS, TRAIN_BUCKETS, in_buckets

LEAST_COVERAGE: Final = 0.95
LEAST_TEST_PROMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A weak and a strong model, and the source on whose prompts they are evaluated."""

    source: str
    weak: str
    strong: str


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """The models and prompts of an evaluation.

    Attributes:
        pool: The pool among whose models decisions are made, on its test split.
        pool_source: Name of the pool's source.
        pair: The models of RouteLLM's figures; None = without these figures.
        left_out: One sentence for each thing that is not evaluated, with the reason.
    """

    pool: EvaluationPool
    pool_source: str
    pair: Pair | None
    left_out: tuple[str, ...]


def standard_protocol(
    spec: ProtocolSpec, outcomes: Outcomes, prices: FloatArray
) -> EvaluationProtocol:
    """The protocol by which the shipped predictor is judged.

    Args:
        spec: The models and sources that the protocol names.
        outcomes: The outcomes of these sources.
        prices: USD per million (input, output) tokens, [m, 2].
    """
    rows = of_source(outcomes, spec.pool_source)
    columns = np.array(
        [
            j
            for j, model in enumerate(outcomes.models)
            if model not in spec.excluded and not np.isnan(outcomes.scores[rows, j]).all()
        ]
    )
    pool = EvaluationPool(
        outcomes=outcomes,
        rows=rows,
        columns=columns,
        prices=prices[columns],
        input_tokens=input_tokens(outcomes.prompts),
        reference=[outcomes.models[j] for j in columns].index(spec.reference),
    )
    left_out = tuple(
        f"{model}: not in the pool, it lacks too many outcomes" for model in spec.excluded
    )
    pair = Pair(spec.pair_source, spec.weak, spec.strong)
    return EvaluationProtocol(pool, spec.pool_source, pair, left_out)


def own_protocol(
    outcomes: Outcomes,
    predicted: Sequence[str],
    prices: FloatArray,
    pair: tuple[str, str] | None = None,
) -> EvaluationProtocol:
    """The protocol for a team's own outcomes.

    The pool is every model with outcomes on nearly all test prompts of the source with the most
    outcomes; the reference is the best single model on its training prompts.

    Args:
        outcomes: The outcomes to evaluate on.
        predicted: The models of the predictor.
        prices: USD per million (input, output) tokens, [m, 2].
        pair: The weak and the strong model. None: the strong model is the best single one, and the
            weak one is the next cheaper model on the hull of the single models' costs and scores.

    Raises:
        OutcomeError: there are too few test prompts, fewer than two models, or no such weak or
            strong model.
    """
    cells = Counter[str]()
    for name, known in zip(
        outcomes.source_names, (~np.isnan(outcomes.scores)).sum(axis=1), strict=True
    ):
        cells[name] += int(known)
    source = cells.most_common(1)[0][0]
    left_out = [
        f"{name}: its prompts are not judged as a pool; {source} has more outcomes"
        for name in cells
        if name != source
    ]
    rows = of_source(outcomes, source)
    test = rows & in_buckets(outcomes.buckets, TEST_BUCKETS)
    train = rows & in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    if test.sum() < LEAST_TEST_PROMPTS or not train.any():
        raise OutcomeError(
            f"{source} has {int(test.sum())} test and {int(train.sum())} training prompts; "
            f"judging needs {LEAST_TEST_PROMPTS} of the one and any of the other, bring more"
        )
    columns = []
    for j, model in enumerate(outcomes.models):
        coverage = 1.0 - np.isnan(outcomes.scores[test, j]).mean()
        if model not in predicted:
            left_out.append(f"{model}: the predictor does not know it")
        elif coverage < LEAST_COVERAGE:
            left_out.append(f"{model}: only {coverage:.0%} of the test prompts have its outcome")
        else:
            columns.append(j)
    if len(columns) < 2:
        raise OutcomeError(
            f"{len(columns)} of the predictor's models have outcomes on {LEAST_COVERAGE:.0%} of "
            f"the test prompts of {source}; a pool needs two, bring their outcomes"
        )
    pool = EvaluationPool(
        outcomes=outcomes,
        rows=rows,
        columns=np.array(columns),
        prices=prices[columns],
        input_tokens=input_tokens(outcomes.prompts),
        reference=best_single(outcomes.scores, train, np.array(columns)),
    )
    protocol = EvaluationProtocol(pool, source, None, tuple(left_out))
    return _with_pair(protocol, pair)


def _with_pair(protocol: EvaluationProtocol, given: tuple[str, str] | None) -> EvaluationProtocol:
    models = protocol.pool.models
    if given is not None:
        for model in given:
            if model not in models:
                raise OutcomeError(f"{model!r} is not in the pool; it has {', '.join(models)}")
        return replace(protocol, pair=Pair(protocol.pool_source, *given))
    if not protocol.pool.whole(protocol.pool.train).any():
        reason = "the figures of a weak and a strong model: costs are missing; name both models"
    elif len(hull := protocol.pool.hull_of_singles()) < 2:
        reason = "the figures of a weak and a strong model: the best model is also the cheapest"
    else:
        pair = Pair(protocol.pool_source, models[hull[-2]], models[hull[-1]])
        return replace(protocol, pair=pair)
    return replace(protocol, left_out=(*protocol.left_out, reason))


def of_source(outcomes: Outcomes, source: str) -> Mask:
    """Mask [n] of the prompts of ``source``."""
    return np.array([name == source for name in outcomes.source_names])
