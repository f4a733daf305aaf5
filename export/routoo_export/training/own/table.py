"""A team's rows as a table of models: what training on its own outcomes results in."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.model_table import ModelTable
from routoo_export.training.own.fit import SCORES, Features, FittedScores
from routoo_export.training.own.lengths import Lengths
from routoo_export.training.own.topics import Named, hidden_from_view, lifted

FloatArray = NDArray[np.float64]

KIND_PROMPTS: Final = 20.0
"""Prompts that a model's level counts as, in its score on a kind of task that callers may name."""


@dataclass(frozen=True, slots=True)
class ToldRows:
    """Rows that a caller has to name: topics as wholes, and kinds of task.

    Attributes:
        names: [q].
        rows: [q, u].
        scores: [q, m].
        variances: [q, m].
        mix: Shares of the graph's other rows in each, [q, rows].
    """

    names: tuple[str, ...]
    rows: FloatArray
    scores: FloatArray
    variances: FloatArray
    mix: FloatArray


def make_own_table(
    table: ModelTable,
    models: tuple[str, ...],
    fitted: FittedScores,
    lengths: Lengths,
    features: Features,
    asked: NDArray[np.bool_],
    named: Named | None = None,
) -> ModelTable:
    """Pack the fit for the graph.

    Args:
        table: The artifact's table.
        models: The team's models, [m].
        fitted: Scores.
        lengths: Lengths, by row of the graph.
        features: Of the n prompts that were fitted to.
        asked: Which model was asked what, [n, m].
        named: Topics of the prompts where the outcomes name them.
    """
    names, rows = fitted.topics.graph_rows()
    shares = fitted.topics.row_shares(features.hidden)
    told = _told_rows(table, fitted, features, shares, set(names), named)
    mass = np.maximum(shares.sum(axis=0), 1e-9)
    by_row = shares.T @ asked
    log_tokens = np.concatenate([lengths.log_tokens, told.mix @ lengths.log_tokens])
    reasoning = np.concatenate([lengths.reasoning_share, told.mix @ lengths.reasoning_share])
    evidence = np.concatenate([by_row, told.mix * mass @ (by_row / mass[:, None])])
    variances = np.concatenate([fitted.levels.variance + fitted.split.variances, told.variances])
    scores = np.concatenate([fitted.row_scores(), told.scores])

    def floats(values: FloatArray) -> NDArray[np.float32]:
        return np.ascontiguousarray(values, np.float32)

    rows_of = [table.row_of(name) for name in models]
    benchmarks = np.array([0.0 if at is None else table.benchmarks[at].sum() for at in rows_of])
    tasks = (*names, *told.names)
    return ModelTable(
        graph_sha256=table.graph_sha256,
        names=models,
        aliases=_aliases(table, models),
        tasks=tasks,
        traits=table.traits,
        task_rows=floats(lifted(np.concatenate([rows, told.rows]), fitted.topics.constant)),
        score_mean=floats(np.clip(scores, *SCORES).T),
        score_var=floats(np.clip(variances, 0.0, 1.0).T),
        weights=floats(fitted.trait_weights().T),
        weights_var=floats(fitted.trait_variances().T),
        log_tokens=floats(np.clip(log_tokens, 0.0, 15.9).T),
        token_weights=floats(lengths.token_weights),
        reasoning_share=floats(np.clip(reasoning, 0.0, 1.0).T),
        evidence=floats(evidence.T),
        benchmarks=floats(np.repeat(benchmarks[:, None], len(tasks), axis=1)),
    )


def _told_rows(
    table: ModelTable,
    fitted: FittedScores,
    features: Features,
    shares: FloatArray,
    taken: set[str],
    named: Named | None,
) -> ToldRows:
    topics, hidden = fitted.topics, features.hidden
    scores, variances = fitted.topic_scores(), fitted.topic_variances()
    # A topic that the graph has a row of by this name already needs no other.
    told = np.array([name not in taken for name in fitted.told_names])
    known = taken | set(fitted.told_names)
    kinds = np.array([name not in known for name in table.tasks])
    mass = features.kinds.sum(axis=0)[:, None]
    mean = fitted.levels.mean
    of_kind = (features.kinds.T @ fitted.predict(features) + KIND_PROMPTS * mean) / (
        mass + KIND_PROMPTS
    )
    kind_variance = np.square(of_kind - mean) + of_kind * (1.0 - of_kind) / (mass + KIND_PROMPTS)
    of_topic = topics.shares(hidden) if named is None else named.shares()
    mix = np.concatenate([of_topic.T[told] @ shares, features.kinds.T[kinds] @ shares])
    mix += 1e-9 * shares.mean(axis=0)
    mix /= mix.sum(axis=1, keepdims=True)
    # Its logit is a mean of those of recognised rows, which no prompt takes far from the largest.
    rows = hidden_from_view(mix @ topics.graph_rows()[1], topics.constant)
    return ToldRows(
        names=(
            *(name for name, own in zip(fitted.told_names, told.tolist(), strict=True) if own),
            *(name for name, own in zip(table.tasks, kinds.tolist(), strict=True) if own),
        ),
        rows=rows,
        scores=np.concatenate([scores[told], of_kind[kinds]]),
        variances=np.concatenate([variances[told], kind_variance[kinds]]),
        mix=mix,
    )


def _aliases(table: ModelTable, models: tuple[str, ...]) -> dict[str, str]:
    """The artifact's names of the team's models, where the team calls them otherwise."""
    found = {}
    for name in models:
        at = table.row_of(name)
        if at is not None and table.names[at] not in models:
            found[table.names[at]] = name
    return found
