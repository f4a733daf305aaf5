"""Outcomes in wide form: one row per prompt, one column per model and figure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.columns import (
    CHARS_PER_TOKEN,
    Codes,
    Columns,
    OutcomeGrid,
    first_rows,
    same,
)

SCORE: Final = "score:"
TRUE_COST: Final = "cost:"
ESTIMATED_COST: Final = "cost_est:"
INPUT_TOKENS: Final = "in_tokens:"
OUTPUT_TOKENS: Final = "out_tokens:"
RESPONSE_CHARS: Final = "resp_chars:"
LATENCY: Final = "latency_ms:"
ABSENT: Final = -1.0
"""The length of a response that was not recorded."""
FIGURES: Final = (
    SCORE,
    TRUE_COST,
    ESTIMATED_COST,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    RESPONSE_CHARS,
    LATENCY,
)
WIDE_COLUMNS: Final = ("prompt_id", "prompt", "question", "domain", "eval_name", "dup_group")


def read_wide(columns: Columns) -> OutcomeGrid:
    """Read the grid of a table with prompt_id, prompt and ``score:<model>``.

    Optional columns:

    - ``question``: the question alone, where ``prompt`` has demonstrations before it. It replaces
      the prompt, because all prompts with the same demonstrations would count as one question.
    - ``domain``, or else ``eval_name``; ``dup_group``.
    - ``cost:<model>``: USD as billed, or else ``cost_est:<model>``: USD computed from prices. If a
      file has a true cost, only true costs are read, so that the two kinds are not mixed.
    - ``latency_ms:<model>``, ``in_tokens:<model>``, and ``out_tokens:<model>``, or else
      ``resp_chars:<model>``: characters of the response, read as characters / 4 tokens. In these
      three -1 = not recorded.

    Raises:
        OutcomeError: a column is missing, a row does not fit, or none is left.
    """
    columns.require(("prompt_id", "prompt"))
    models = tuple(n.removeprefix(SCORE) for n in columns.names if n.startswith(SCORE))
    if not models:
        columns.require((f"{SCORE}<model>",))
    ids = columns.text("prompt_id")
    asked = columns.text("question" if "question" in columns.names else "prompt")
    domains = columns.optional_text("domain" if "domain" in columns.names else "eval_name")
    groups = columns.optional_text("dup_group")
    true_cost = any(name.startswith(TRUE_COST) for name in columns.names)

    def matrix(
        prefix: str, high: float = np.inf, absent: float | None = None
    ) -> NDArray[np.float64]:
        figures = [
            columns.numbers(f"{prefix}{model}", high, absent=absent, drops=False)
            for model in models
        ]
        return np.stack(figures, axis=1)

    def optional(prefix: str, absent: float | None = None) -> NDArray[np.float64] | None:
        found = any(f"{prefix}{model}" in columns.names for model in models)
        return matrix(prefix, absent=absent) if found else None

    scores = matrix(SCORE, 1.0)
    cost = matrix(TRUE_COST if true_cost else ESTIMATED_COST)
    tokens = np.stack([_output_tokens(columns, model) for model in models], axis=1)
    figures = [scores, cost, tokens]
    _check_duplicates(columns, ids, [asked, domains, groups], figures)
    kept = np.flatnonzero(columns.good)
    if not kept.size:
        raise OutcomeError(f"{columns.name}: no row fits")
    input_tokens, latency_ms = optional(INPUT_TOKENS, ABSENT), optional(LATENCY)
    kind = "true" if true_cost else "estimated"
    return OutcomeGrid(
        prompt_ids=tuple(str(v) for v in ids.at(kept)),
        prompts=tuple(str(v) for v in asked.at(kept)),
        models=models,
        scores=scores[kept],
        output_tokens=tokens[kept],
        cost_usd=cost[kept],
        input_tokens=None if input_tokens is None else input_tokens[kept],
        latency_ms=None if latency_ms is None else latency_ms[kept],
        domains=domains.at(kept),
        groups=groups.at(kept),
        cost_kind="none" if np.isnan(cost[kept]).all() else kind,
    )


def _output_tokens(columns: Columns, model: str) -> NDArray[np.float64]:
    if f"{OUTPUT_TOKENS}{model}" in columns.names:
        tokens = columns.numbers(f"{OUTPUT_TOKENS}{model}", absent=ABSENT, drops=False)
        return np.maximum(tokens, 1.0)
    chars = columns.numbers(f"{RESPONSE_CHARS}{model}", absent=ABSENT, drops=False)
    return np.maximum(chars / CHARS_PER_TOKEN, 1.0)


def _check_duplicates(
    columns: Columns, ids: Codes, texts: list[Codes], figures: list[NDArray[np.float64]]
) -> None:
    """Drop rows that repeat or contradict an earlier row of the same prompt_id."""
    good = np.flatnonzero(columns.good)
    first = np.arange(columns.rows)
    first[good] = good[first_rows(ids.codes[good])]
    repeats = first != np.arange(columns.rows)
    equal = np.ones(columns.rows, dtype=np.bool_)
    for text in texts:
        equal &= text.codes == text.codes[first]
    for figure in figures:
        equal &= same(figure, figure[first]).all(axis=1)
    contradicting = repeats & ~equal
    if columns.bad.skip:
        # The row that is contradicted is dropped too.
        contradicting = np.isin(first, first[contradicting])
    columns.drop(
        contradicting,
        "prompt_id occurs twice, with other values",
        lambda row: f" ({ids[row]!r}, {columns.where(int(first[row]))})",
    )
    identical = repeats & columns.good
    columns.bad.duplicates += int(identical.sum())
    columns.good &= ~identical
