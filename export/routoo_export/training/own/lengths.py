"""Output tokens of a team's models by topic, drawn to what the artifact expects.

The artifact's expectation is multiplied by a factor of each model and by one of each model and
topic, both of which count the expectation as some prompts. A model without a known length keeps the
artifact's expectation.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.model_table import ModelTable

FloatArray = NDArray[np.float64]

LEVEL_PROMPTS: Final = 5.0
TOPIC_PROMPTS: Final = 20.0
"""Prompts that the artifact's expectation counts as."""
LOG_TOKENS: Final = (0.0, 15.9)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Expected output tokens, reasoning included.

    Attributes:
        log_tokens: Natural logarithm by row of the graph, [q, m].
        token_weights: Weights of the traits in it, [m, r].
        reasoning_share: Share of the tokens that is reasoning, by row, [q, m].
        assumed: Models without a known length.
    """

    log_tokens: FloatArray
    token_weights: FloatArray
    reasoning_share: FloatArray
    assumed: NDArray[np.int64]

    def predict(self, shares: FloatArray, traits: FloatArray) -> FloatArray:
        """Expected tokens [n, m] of prompts with shares of rows [n, q] and traits [n, r]."""
        found: FloatArray = np.exp(shares @ self.log_tokens + traits @ self.token_weights.T)
        return found


def artifact_rows(table: ModelTable, models: tuple[str, ...]) -> list[int | None]:
    """The artifact's row of each model; None = it has none."""
    return [table.row_of(name) for name in models]


def fit_lengths(
    tokens: FloatArray,
    table: ModelTable,
    rows: list[int | None],
    kinds: FloatArray,
    shares: FloatArray,
    traits: FloatArray,
) -> Lengths:
    """Fit lengths to those that are known.

    Args:
        tokens: Output tokens [n, m], NaN = not known.
        table: The artifact's table.
        rows: Its row of each model, [m].
        kinds: Probabilities of the artifact's kinds of task, [n, t].
        shares: Shares of the q rows of the graph, [n, q].
        traits: [n, r].
    """

    def expected(figures: NDArray[np.float32]) -> FloatArray:
        mean = figures.mean(axis=0)
        return np.stack([mean if at is None else figures[at] for at in rows]).astype(np.float64)

    mix = shares.T @ kinds + 1e-6 * kinds.mean(axis=0)
    mix /= mix.sum(axis=1, keepdims=True)
    base = mix @ expected(table.log_tokens).T
    weights = expected(table.token_weights)
    known = ~np.isnan(tokens)
    said = np.where(known, np.exp(shares @ base + traits @ weights.T), 0.0)
    real = np.where(known, tokens, 0.0)
    count = np.maximum(known.sum(axis=0), 1)
    unit = said.sum(axis=0) / count
    level = (real.sum(axis=0) + LEVEL_PROMPTS * unit) / np.maximum(
        said.sum(axis=0) + LEVEL_PROMPTS * unit, 1e-9
    )
    assumed = np.flatnonzero(~known.any(axis=0))
    level[assumed] = 1.0
    by_row, real_by_row = shares.T @ (said * level), shares.T @ real
    prior = TOPIC_PROMPTS * np.where(unit > 0.0, unit * level, 1.0)
    topic = (real_by_row + prior) / (by_row + prior)
    logs = np.clip(base + np.log(level) + np.log(topic), *LOG_TOKENS)
    return Lengths(logs, weights, mix @ expected(table.reasoning_share).T, assumed)


def tokens_of_costs(
    cost_usd: FloatArray, input_tokens: FloatArray, prices: FloatArray
) -> FloatArray:
    """Output tokens [n, m] that costs [n, m] stand for, at least 1; NaN where a cost is missing.

    Args:
        cost_usd: Of each call.
        input_tokens: Of each prompt, [n].
        prices: USD per million input and output tokens, [m, 2].
    """
    left = 1e6 * cost_usd - input_tokens[:, None] * prices[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(prices[:, 1] > 0.0, np.maximum(left / prices[:, 1], 1.0), np.nan)


def logged_moves(
    tokens: FloatArray,
    expected: FloatArray,
    chosen: NDArray[np.int64],
    kinds: NDArray[np.int64],
    shape: tuple[int, int],
) -> FloatArray:
    """What the lengths of logged answers add to the logarithm of those expected, [m, t].

    As in ``fit_lengths``, a factor of each model and one of each model and kind of task, which
    count the expectation as some prompts. Without a known length, nothing is added.

    Args:
        tokens: Output tokens of the chosen models, [n], NaN = not known.
        expected: Those that the artifact expects, [n].
        chosen: Columns of the chosen models, [n].
        kinds: Kinds of task, [n].
        shape: The number of models and that of kinds, (m, t).
    """
    known = np.flatnonzero(~np.isnan(tokens))
    chosen, kinds = chosen[known], kinds[known]
    said, real = expected[known], tokens[known]

    def level(place: NDArray[np.int64], parts: int, prior: FloatArray) -> FloatArray:
        total = np.bincount(place, said, parts) + prior
        found = (np.bincount(place, real, parts) + prior) / np.maximum(total, 1e-9)
        return np.where(total > 0.0, np.maximum(found, 1e-9), 1.0)

    models, _ = shape
    counts = np.maximum(np.bincount(chosen, minlength=models), 1)
    unit = np.bincount(chosen, said, models) / counts
    by_model = level(chosen, models, LEVEL_PROMPTS * unit)
    said = said * by_model[chosen]
    place = chosen * shape[1] + kinds
    prior = np.repeat(TOPIC_PROMPTS * unit * by_model, shape[1])
    by_kind = level(place, models * shape[1], prior).reshape(shape)
    found: FloatArray = np.log(by_model)[:, None] + np.log(by_kind)
    return found
