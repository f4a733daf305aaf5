"""Edits that leave a prompt's task as it is, and how often they change the model that is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from routoo.predictor.model_table import ModelTable
from routoo.routing.pool import Pool
from routoo.selector.lp.frontier import price_for_mean_cost
from routoo.selector.policies.lp import decide
from routoo_export.errors import ExportError
from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.recogniser.edits import EDITS, edited
from routoo_export.training.own.prompt_reader import PromptReader

SHARES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where the mean costs lie between that of the cheapest choice and that of the best."""


@dataclass(frozen=True, slots=True)
class EditChanges:
    """Decisions of a pool on edited prompts against those on the prompts as they are.

    Attributes:
        prompts: Prompts.
        edits: Edits of each.
        changed: Share of the edited prompts that get another model, at each of SHARES.
        changed_task: Share of those that are recognised as another kind of task.
    """

    prompts: int
    edits: int
    changed: tuple[float, ...]
    changed_task: float

    @property
    def mean(self) -> float:
        """The mean of ``changed``."""
        return float(np.mean(self.changed))


def edit_changes(reader: PromptReader, pool: Pool, prompts: Sequence[str]) -> EditChanges:
    """Edit every prompt in each way, and decide at five prices that were set without the edits.

    Args:
        reader: Reads prompts as the artifact's graph does.
        pool: The pool; each of its models has a row in the artifact's table.
        prompts: The prompts.

    Raises:
        ExportError: a model of the pool has no row.
    """
    random = np.random.default_rng(0)
    rows = _pool_rows(reader.table, pool)
    plain, kinds = _predicted(reader, pool, rows, prompts)
    everyone = np.ones(plain.scores.shape, dtype=np.bool_)
    cheapest = float(plain.cost_usd.min(axis=1).mean())
    best = plain.scores.argmax(axis=1)
    dearest = float(plain.cost_usd[np.arange(len(best)), best].mean())
    prices = [
        price_for_mean_cost(
            plain.scores, plain.cost_usd, everyone, cheapest + share * (dearest - cheapest)
        )
        for share in SHARES
    ]
    before = [decide(plain.scores, plain.cost_usd, everyone, price) for price in prices]
    changed = np.zeros(len(prices))
    other_kind = 0.0
    for edit in EDITS:
        texts = [edited(prompt, random, (edit,)) for prompt in prompts]
        found, of_kind = _predicted(reader, pool, rows, texts)
        other_kind += float((of_kind != kinds).mean())
        for at, price in enumerate(prices):
            after = decide(found.scores, found.cost_usd, everyone, price)
            changed[at] += (after != before[at]).mean()
    shares = tuple((changed / len(EDITS)).tolist())
    return EditChanges(len(prompts), len(EDITS), shares, other_kind / len(EDITS))


def _pool_rows(table: ModelTable, pool: Pool) -> list[int]:
    rows = []
    for name in pool.predictor_names:
        at = table.row_of(name)
        if at is None:
            raise ExportError(f"{name}: the artifact has no row of this model of the pool")
        rows.append(at)
    return rows


def _predicted(
    reader: PromptReader, pool: Pool, rows: list[int], prompts: Sequence[str]
) -> tuple[PoolPredictions, FloatArray]:
    """Scores and costs [n, m], and the likeliest kinds [n]."""
    read = reader.encode(prompts)
    table = reader.table
    seen = reader.vectors(read, table.task_rows.astype(np.float64))
    both = np.concatenate([seen.tasks, seen.traits], axis=1).astype(np.float32)
    scores, tokens = (values[:, rows] for values in table.answers(both))
    cost_usd = pool.prices.costs_usd(read.input_tokens, tokens, None)
    return PoolPredictions(scores, cost_usd), seen.tasks.argmax(axis=1)
