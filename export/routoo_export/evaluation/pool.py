"""Pools of models and prompts on which decisions are evaluated, and what is predicted of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.curves import Truth
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.outcomes.outcomes import CHARS_PER_TOKEN, Outcomes
from routoo_export.outcomes.splits import (
    TEST_BUCKETS,
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    in_buckets,
)
from routoo_export.training.heads.train import token_targets

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Expected:
    """Predictions for n prompts and m models, float64 [n, m] each; NaN = not predicted.

    Attributes:
        scores: Expected scores.
        output_tokens: Expected output tokens.
    """

    scores: FloatArray
    output_tokens: FloatArray


@dataclass(frozen=True, slots=True)
class EvaluationPool:
    """k models on the prompts of one source.

    Attributes:
        outcomes: Outcomes of n prompts and m models.
        rows: Mask [n] of the prompts of the source.
        columns: The models, int64 [k], as columns of the outcomes.
        prices: USD per million (input, output) tokens, [k, 2].
        input_tokens: Input tokens [n], known before the call.
        reference: The model to match, as an index into ``columns``.
    """

    outcomes: Outcomes
    rows: Mask
    columns: NDArray[np.int64]
    prices: FloatArray
    input_tokens: FloatArray
    reference: int

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.outcomes.models[j] for j in self.columns)

    @property
    def train(self) -> Mask:
        return self.rows & in_buckets(self.outcomes.buckets, TRAIN_BUCKETS)

    @property
    def validation(self) -> Mask:
        return self.rows & in_buckets(self.outcomes.buckets, VALIDATION_BUCKETS)

    @property
    def test(self) -> Mask:
        return self.rows & in_buckets(self.outcomes.buckets, TEST_BUCKETS)

    def whole(self, keep: Mask) -> Mask:
        """Mask of the prompts of ``keep`` on which every model has a score and a cost."""
        missing = np.isnan(self.outcomes.scores) | np.isnan(self.outcomes.cost_usd)
        return keep & ~missing[:, self.columns].any(axis=1)

    def truth(self, keep: Mask) -> Truth:
        """True scores and costs on the prompts of ``keep``, all of them ``whole``."""
        return Truth(
            self.outcomes.scores[keep][:, self.columns],
            self.outcomes.cost_usd[keep][:, self.columns],
            self.reference,
        )

    def predicted(self, expected: Expected, keep: Mask) -> PoolPredictions:
        """Predicted scores and costs on the prompts of ``keep``, as known before any call."""
        tokens = expected.output_tokens[keep][:, self.columns]
        input_cost = self.input_tokens[keep][:, None] * self.prices[:, 0]
        cost_usd = (input_cost + tokens * self.prices[:, 1]) / 1.0e6
        return PoolPredictions(expected.scores[keep][:, self.columns], cost_usd)

    def hull_of_singles(self) -> NDArray[np.int64]:
        """Indices into ``columns`` of the single models on the concave hull of cost and score.

        Measured on the training rows, cheapest first. A random mix of two neighbours reaches every
        mean score between theirs.
        """
        train = self.whole(self.train)
        truth = self.truth(train)
        score, cost = truth.scores.mean(axis=0), truth.cost_usd.mean(axis=0)
        kept: list[int] = []
        for j in np.lexsort((-score, cost)):
            if kept and score[j] <= score[kept[-1]]:
                continue
            while len(kept) > 1 and _slope(score, cost, kept[-2], j) >= _slope(
                score, cost, kept[-2], kept[-1]
            ):
                kept.pop()
            kept.append(int(j))
        return np.array(kept, dtype=np.int64)


def _slope(score: FloatArray, cost: FloatArray, start: int, end: int) -> float:
    return float((score[end] - score[start]) / (cost[end] - cost[start]))


def input_tokens(prompts: Sequence[str]) -> FloatArray:
    """Estimate input tokens [n] by the rule that the sources' own estimates use."""
    return np.array([len(prompt) for prompt in prompts]) / CHARS_PER_TOKEN


def best_single(scores: FloatArray, train: Mask, columns: NDArray[np.int64]) -> int:
    """Index into ``columns`` of the model of the highest mean score on the training rows."""
    return int(np.nanmean(scores[train][:, columns], axis=0).argmax())


def fitted_prices(outcomes: Outcomes, train: Mask, tokens_in: FloatArray) -> FloatArray:
    """Fit USD per million (input, output) tokens [m, 2] to the recorded costs.

    For outcomes without a price list: non-negative least squares per model over the rows of
    ``train`` with a known cost. A model without any known cost has NaN.
    """
    tokens_out = token_targets(outcomes)
    prices = np.full((len(outcomes.models), 2), np.nan)
    for j, cost_usd in enumerate(outcomes.cost_usd.T):
        usable = train & ~np.isnan(cost_usd)
        if not usable.any():
            continue
        # Without lengths a call is taken to cost its input tokens plus a constant.
        out = np.where(np.isnan(tokens_out[usable, j]), 1.0, tokens_out[usable, j])
        design = np.stack([tokens_in[usable], out], axis=1)
        prices[j] = nnls(design, 1.0e6 * cost_usd[usable])[0]
    return prices
