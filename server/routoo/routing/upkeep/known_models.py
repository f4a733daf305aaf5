"""The models that a predictor knows, and what its figures for them rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from routoo.predictor.artifact import Artifact
    from routoo.predictor.model_table import ModelTable

_NEAREST = 3
_LEAST_ALIKE = 0.4


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """A model of a table, averaged over the kinds of task.

    Attributes:
        name: its canonical name.
        graded_prompts: graded prompts behind its scores.
        averages: published averages behind its scores, each counted for every kind of task that it
            tells of.
        score: mean of its scores, in [0, 1].
        score_std: root mean square of the standard deviations of its scores.
        output_tokens: mean of its expected output tokens, reasoning included.
    """

    name: str
    graded_prompts: float
    averages: int
    score: float
    score_std: float
    output_tokens: float

    @property
    def is_bare(self) -> bool:
        """Whether no grade and no average of the model itself is behind its scores."""
        return not self.graded_prompts and not self.averages


class KnownModels:
    """The models of a predictor.

    Args:
        names: their names.
        table: the table of models; None: the predictor has none, and names have no aliases.
    """

    def __init__(self, names: tuple[str, ...], table: ModelTable | None = None) -> None:
        self._names = names
        self._table = table

    @classmethod
    def of(cls, artifact: Artifact) -> KnownModels:
        """Returns the models of an artifact."""
        return cls(artifact.models, artifact.table)

    def canonical(self, name: str) -> str | None:
        """Returns the predictor's name of a model, by that name or an alias; None: not known."""
        if self._table is None:
            return name if name in self._names else None
        row = self._table.row_of(name)
        return None if row is None else self._table.names[row]

    def nearest(self, name: str) -> tuple[str, ...]:
        """Returns the predictor's names that are most like a name, at most three."""
        from difflib import get_close_matches  # noqa: PLC0415 - only doubts need it

        lower = {one.lower(): one for one in reversed(self._names)}
        found = get_close_matches(name.lower(), lower, n=_NEAREST, cutoff=_LEAST_ALIKE)
        return tuple(lower[one] for one in found)

    def evidence(self, name: str) -> ModelEvidence | None:
        """Returns what a model's figures rest on; None: not known, or there is no table."""
        row = None if self._table is None else self._table.row_of(name)
        return None if row is None else self._of_row(row)

    def search(self, text: str = "") -> tuple[ModelEvidence, ...]:
        """Returns the table's models that have a text in their name or an alias, in its order.

        Args:
            text: capital letters do not matter; empty: all models.
        """
        if self._table is None:
            return ()
        wanted = text.lower()
        found = {self._table.aliases[alias] for alias in self._table.aliases if wanted in alias}
        return tuple(
            self._of_row(row)
            for row, name in enumerate(self._table.names)
            if wanted in name.lower() or name in found
        )

    def _of_row(self, row: int) -> ModelEvidence:
        table = self._table
        assert table is not None  # noqa: S101 - the callers looked
        return ModelEvidence(
            name=table.names[row],
            graded_prompts=float(table.evidence[row].sum()),
            averages=int(table.benchmarks[row].sum()),
            score=float(table.score_mean[row].mean()),
            score_std=float(np.sqrt(table.score_var[row].mean())),
            output_tokens=float(np.exp(table.log_tokens[row].astype(np.float64)).mean()),
        )
