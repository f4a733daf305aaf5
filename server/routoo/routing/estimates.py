"""Estimates of scores, output lengths, costs and latencies of prompts on the models of a pool."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from routoo.selector.policies.lp import round_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Prediction
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest


@dataclass(frozen=True, slots=True)
class Estimates:
    """Predicted figures of n prompts on the pool's m models, float64 where nothing else is said.

    The predictor need not give the last six; they are None or empty then.

    Attributes:
        scores: [n, m], in [0, 1], rounded to 1e-4.
        output_tokens: [n, m], whole numbers.
        costs_usd: [n, m].
        latencies_ms: [n, m], time to the last token.
        input_tokens: [n].
        score_std: [n, m], standard deviation of a score over predictors trained on other prompts.
        evidence: [n, m], graded prompts behind a score, rounded to 0.01.
        averages: [n, m], published averages behind a score, rounded to 0.01.
        ood: [n], in [0, 1], distance from the training prompts, rounded to 1e-4.
        confidence: [n], probability of the most probable task, rounded to 1e-4.
        tasks: int64 [n], the most probable task, by its position in ``task_names``.
        task_names: the kinds of task.
        unsure: bool [n], prompts that the predictor does not know by the setting ``policy.unsure``;
            None where that is not set.
    """

    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    costs_usd: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]
    input_tokens: NDArray[np.float64]
    score_std: NDArray[np.float64] | None = None
    evidence: NDArray[np.float64] | None = None
    averages: NDArray[np.float64] | None = None
    ood: NDArray[np.float64] | None = None
    confidence: NDArray[np.float64] | None = None
    tasks: NDArray[np.int64] | None = None
    task_names: tuple[str, ...] = ()
    unsure: NDArray[np.bool_] | None = None

    def rows(self, at: slice | NDArray[np.intp]) -> Self:
        """Returns the figures of k of the prompts."""
        figures: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in figures.items():
            if isinstance(value, np.ndarray):
                figures[name] = value[at]
        return type(self)(**figures)


def estimates_of(
    prediction: Prediction,
    requests: Sequence[PromptRequest],
    pool: Pool,
    columns: NDArray[np.intp],
) -> Estimates:
    """Turns a prediction into the pool's estimates.

    Scores and token counts are rounded, so that the last bits of an inference, which depend on the
    batch it ran in, cannot change a decision.

    Args:
        prediction: the prediction for n prompts, on all models of the predictor.
        requests: the n requests; their own length estimates replace the predicted ones, and
            their limits and additions change them.
        pool: m models.
        columns: [m], the pool's models among the prediction's columns.
    """
    scores = round_scores(prediction.scores[:, columns])
    output_tokens = np.rint(prediction.output_tokens[:, columns], dtype=np.float64)
    input_tokens = prediction.input_tokens
    for row, request in enumerate(requests):
        if request.expected_output_tokens is not None:
            output_tokens[row] = request.expected_output_tokens
        if request.max_output_tokens is not None:
            np.minimum(output_tokens[row], request.max_output_tokens, out=output_tokens[row])
        if request.added_input_tokens:
            if input_tokens is prediction.input_tokens:
                input_tokens = input_tokens.copy()
            input_tokens[row] += request.added_input_tokens
    tasks = prediction.tasks
    return Estimates(
        scores=scores,
        output_tokens=output_tokens,
        costs_usd=costs_usd_of(pool, input_tokens, output_tokens),
        latencies_ms=latencies_ms_of(pool, output_tokens),
        input_tokens=input_tokens,
        score_std=(
            None
            if prediction.score_std is None
            else prediction.score_std[:, columns].astype(np.float64)
        ),
        evidence=_hundredths(prediction.evidence, columns),
        averages=_hundredths(prediction.averages, columns),
        ood=None if prediction.ood is None else round_scores(prediction.ood),
        confidence=None if tasks is None else round_scores(tasks.max(axis=1)),
        tasks=None if tasks is None else tasks.argmax(axis=1).astype(np.int64),
        task_names=prediction.task_names,
    )


def _hundredths(
    values: NDArray[np.float32] | None, columns: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """Returns the pool's columns, rounded: the last bits of a product depend on the batch."""
    if values is None:
        return None
    found: NDArray[np.float64] = np.multiply(values[:, columns], 100.0, dtype=np.float64)
    return np.rint(found) / 100.0


def costs_usd_of(
    pool: Pool, input_tokens: NDArray[np.float64], output_tokens: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns predicted costs in USD, [n, m], of inputs [n] and outputs [n, m] in tokens."""
    costs = output_tokens * pool.usd_per_output_token
    costs += input_tokens[:, None] * pool.usd_per_input_token
    return costs


def latencies_ms_of(pool: Pool, output_tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns predicted times to the last token in milliseconds, float64 [n, m]."""
    return pool.time_to_first_token_ms + output_tokens * pool.time_per_output_token_ms


def tokens_cost_usd(pool: Pool, column: int, input_tokens: float, output_tokens: float) -> float:
    """Returns the price, in USD, of the tokens that a provider has billed for one answer."""
    return float(
        input_tokens * pool.usd_per_input_token[column]
        + output_tokens * pool.usd_per_output_token[column]
    )
