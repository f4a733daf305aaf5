"""The table of models: one row a model, apart from the graph, so that models come and go.

A prompt is a vector: the probabilities of the t kinds of task, its r traits, and the traits'
squares. A model answers it with three vectors, whose products with the prompt's are its score (the
mixture of its mean scores on the tasks, and a residual), the logarithm of its output tokens, and
the variance of the score. ``rows`` packs them for the graph, which needs no change when a model, a
task or an estimate does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from routoo.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Figures = NDArray[np.float32]

TABLE = "models.npz"
QUESTIONS = 3
"""Products of a model's vectors with a prompt's: see the module."""


@dataclass(frozen=True, slots=True)
class ModelTable:
    """Rows of M models, for a graph with t tasks, r traits and h hidden units; float32.

    Attributes:
        graph_sha256: checksum of the graph that the rows belong to.
        names: the models' canonical names, ``provider/name`` or ``provider/name@arm``, [M].
        aliases: other names, and the models that they mean.
        tasks: the kinds of task, [t].
        traits: names of the prompt's traits, [r].
        task_rows: [t, h], by which the graph recognises each task.
        score_mean: [M, t], posterior mean of the score on a prompt of the task, in (0, 1).
        score_var: [M, t], its posterior variance.
        weights: [M, r], weights of the traits in the residual of the score.
        weights_var: [M, r], their variances.
        log_tokens: [M, t], logarithm of the output tokens expected, reasoning included.
        token_weights: [M, r], weights of the traits in that logarithm.
        reasoning_share: [M, t], share of the output tokens that is reasoning, in [0, 1).
        evidence: [M, t], graded prompts behind the estimate.
        benchmarks: [M, t], published averages behind it.
    """

    graph_sha256: str
    names: tuple[str, ...]
    aliases: dict[str, str]
    tasks: tuple[str, ...]
    traits: tuple[str, ...]
    task_rows: Figures
    score_mean: Figures
    score_var: Figures
    weights: Figures
    weights_var: Figures
    log_tokens: Figures
    token_weights: Figures
    reasoning_share: Figures
    evidence: Figures
    benchmarks: Figures
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        index = {name: row for row, name in enumerate(self.names)}
        object.__setattr__(self, "index", index)

    def digest(self, at: Sequence[int] | NDArray[np.intp]) -> str:
        """Returns 12 hex digits that identify all that is known of m models.

        Neither their order nor other models' rows count.
        """
        found = hashlib.sha256("\0".join((*self.tasks, "", *self.traits)).encode())
        found.update(np.ascontiguousarray(self.task_rows).tobytes())
        for row in sorted(set(np.asarray(at).tolist()), key=self.names.__getitem__):
            found.update(self.names[row].encode())
            for name in (*_BY_TASK, *_BY_TRAIT):
                found.update(np.ascontiguousarray(getattr(self, name)[row]).tobytes())
        return found.hexdigest()[:12]

    def row_of(self, name: str) -> int | None:
        """Returns the row of a model, by its name or an alias, in any case; None: there is none."""
        for one in (name, name.lower()):
            row = self.index.get(self.aliases.get(one, one))
            if row is not None:
                return row
        return None

    def rows(self, at: Sequence[int] | NDArray[np.intp]) -> Figures:
        """Packs the rows of m models for the graph, float32 [3 * m, t + 2 * r].

        The first m rows are the models' vectors for the score, the next m those for the logarithm
        of the output tokens, the last m those for the variance of the score.
        """
        m, t, r = len(at), len(self.tasks), len(self.traits)
        packed = np.zeros((QUESTIONS, m, t + 2 * r), np.float32)
        tasks, traits, squares = slice(t), slice(t, t + r), slice(t + r, None)
        packed[0, :, tasks] = self.score_mean[at]
        packed[0, :, traits] = self.weights[at]
        packed[1, :, tasks] = self.log_tokens[at]
        packed[1, :, traits] = self.token_weights[at]
        packed[2, :, tasks] = self.score_var[at]
        packed[2, :, squares] = self.weights_var[at]
        return packed.reshape(QUESTIONS * m, -1)

    def answers(
        self, prompts: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns what the graph answers to prompts, as scores and output tokens.

        Args:
            prompts: [n, t + r], probabilities of the tasks and traits.

        Returns:
            Scores in [0, 1] and expected output tokens, float64 [n, M] each.

        Raises:
            ValueError: the prompts' vectors are of another length.
        """
        both = prompts.astype(np.float64)
        scores = both @ np.concatenate([self.score_mean, self.weights], axis=1).T
        log_tokens = both @ np.concatenate([self.log_tokens, self.token_weights], axis=1).T
        return np.clip(scores, 0.0, 1.0), np.exp(log_tokens)

    def save(self, path: Path) -> None:
        """Writes the table."""
        with path.open("wb") as file:
            np.savez_compressed(file, **self._values())

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in {"aliases", "index"}
        }
        values["alias_names"] = np.array(sorted(self.aliases), dtype=np.str_)
        values["alias_models"] = np.array(
            [self.aliases[name] for name in sorted(self.aliases)], dtype=np.str_
        )
        for name in ("names", "tasks", "traits", "graph_sha256"):
            values[name] = np.array(values[name], dtype=np.str_)
        return values

    @classmethod
    def load(cls, path: Path, graph_sha256: str) -> ModelTable:
        """Reads a table and checks it.

        Args:
            path: the file.
            graph_sha256: checksum of the graph that it has to belong to.

        Raises:
            ArtifactError: the file is no table, belongs to another graph, or has a figure that
                cannot be.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays.files}
            aliases = dict(
                zip(
                    values.pop("alias_names").tolist(),
                    values.pop("alias_models").tolist(),
                    strict=True,
                )
            )
            for name in ("names", "tasks", "traits"):
                values[name] = tuple(values[name].tolist())
            values["graph_sha256"] = str(values["graph_sha256"])
            table = cls(aliases=aliases, **values)
        except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile) as error:
            raise ArtifactError(f"{path}: not a table of models: {error}") from None
        if table.graph_sha256 != graph_sha256:
            raise ArtifactError(
                f"{path}: belongs to the graph {table.graph_sha256[:12]}..., this one is"
                f" {graph_sha256[:12]}...; take the table of this predictor"
            )
        table._check(path)
        return table

    def _check(self, path: Path) -> None:
        m, t, r = len(self.names), len(self.tasks), len(self.traits)
        for names, kind in ((self.names, "model"), (self.tasks, "task"), (self.traits, "trait")):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ArtifactError(f"{path}: {kind} {twice!r} stands twice")
        lost = next((model for model in self.aliases.values() if model not in self.index), None)
        if lost is not None:
            raise ArtifactError(f"{path}: an alias means {lost!r}, which has no row")
        shapes = {"task_rows": (t, self.task_rows.shape[-1])}
        shapes |= dict.fromkeys(_BY_TASK, (m, t))
        shapes |= dict.fromkeys(_BY_TRAIT, (m, r))
        for name, shape in shapes.items():
            figures = getattr(self, name)
            if figures.shape != shape or figures.dtype != np.float32:
                raise ArtifactError(
                    f"{path}: {name} is {figures.dtype} {figures.shape}, expected float32 {shape}"
                )
            low, high = _BOUNDS.get(name, (-np.inf, np.inf))
            wrong = ~(np.isfinite(figures) & (figures >= low) & (figures <= high))
            if wrong.any():
                row = int(np.argwhere(wrong)[0][0])
                of = self.tasks[row] if name == "task_rows" else self.names[row]
                raise ArtifactError(
                    f"{path}: {name} of {of!r} is not a number from {low:g} to {high:g};"
                    " estimate the table again"
                )


_BY_TASK = (
    "score_mean",
    "score_var",
    "log_tokens",
    "reasoning_share",
    "evidence",
    "benchmarks",
)
_BY_TRAIT = ("weights", "weights_var", "token_weights")
_BOUNDS = {
    "score_mean": (1e-6, 1.0 - 1e-6),
    "score_var": (0.0, 1.0),
    "weights_var": (0.0, np.inf),
    "log_tokens": (0.0, 16.0),
    "reasoning_share": (0.0, 1.0),
    "evidence": (0.0, np.inf),
    "benchmarks": (0.0, np.inf),
}
