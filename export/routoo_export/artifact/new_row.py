"""The row of a new model in the table of an artifact, from whatever is known of the model.

The catalogue places the model by published averages, a similar model, release and size (see
``catalogue.placement``). Rows of the table that were fitted to graded prompts tell how the table
differs from the catalogue, and what models have in common on the prompts' traits. Graded prompts of
the new model, by a grader that models of the table may equate, then narrow both (see
``catalogue.graded``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.model_table import ModelTable
from routoo_export.artifact.likeness import with_row_of
from routoo_export.artifact.table_artifact import PromptVectors, token_columns
from routoo_export.catalogue.evidence import benchmark_rows
from routoo_export.catalogue.graded import (
    Gaussian,
    GradedPrompts,
    GraderBelief,
    ModelBelief,
    condition,
    judge_grader,
)
from routoo_export.catalogue.placement import Likeness, PlacedModel, place
from routoo_export.catalogue.reference import logistic_moments
from routoo_export.catalogue.table import Catalogue, nearest
from routoo_export.errors import CatalogueError
from routoo_export.outcomes.outcomes import Outcomes

Doubles = NDArray[np.float64]

MOST_PROMPTS: Final = 4_000
"""Prompts of one other model that equate the grader; more would hardly change its level."""
# Standard deviation of the log of a model's tokens on one kind of task, beside all kinds.
_TASK_LENGTH_SD: Final = 0.25
_LENGTH_NOISE_VAR: Final = 0.5
# Prompts for which the sum of the lengths counts as much as the mean of their logarithms.
_SMEARING_PROMPTS: Final = 10.0
# Fitted rows from which a spread can be told.
_FEWEST_FITTED: Final = 2
# Standard deviations, in logits, of a model from the fitted rows: on one kind of task beside the
# others, and on all kinds, of which the fitted rows say hardly anything.
_PROFILE_SD: Final = 0.3
_ABILITY_SD: Final = 1.5
_SMALLEST_SCORE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class GradedFile:
    """Graded prompts, and what the graph tells of them.

    Attributes:
        outcomes: The outcomes of all models of the file.
        column: The new model's column.
        vectors: Tasks and traits of the n prompts.
    """

    outcomes: Outcomes
    column: int
    vectors: PromptVectors

    def of(self, column: int, most: int | None = None) -> GradedPrompts:
        """The prompts on which a model has a score, at most so many, evenly spaced."""
        scores = self.outcomes.scores[:, column]
        rows = np.flatnonzero(np.isfinite(scores))
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        tasks, traits = self.vectors.tasks[rows], self.vectors.traits[rows]
        return GradedPrompts(tasks.astype(np.float64), traits.astype(np.float64), scores[rows])


@dataclass(frozen=True, slots=True)
class NewcomerEvidence:
    """All that is known of a new model.

    Attributes:
        graded: Its graded prompts.
        benchmarks: Published averages in percent by name.
        similar: A model of the table that it resembles.
        release: Year of its release with the month as a fraction.
        params_b: Its parameters in billions.
    """

    graded: GradedFile | None = None
    benchmarks: Mapping[str, float] = field(default_factory=dict)
    similar: Likeness | None = None
    release: float | None = None
    params_b: float | None = None


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row for the table.

    Attributes:
        name: The model's canonical name.
        figures: The row of each of the table's arrays by its name, float32 [t] or [r].
        graded_prompts: Graded prompts behind it.
        graded_lengths: Of these, with a length.
        equated_by: Models of the table that equated the grader.
    """

    name: str
    figures: dict[str, NDArray[np.float32]]
    graded_prompts: int
    graded_lengths: int
    equated_by: tuple[str, ...]


def new_row(
    table: ModelTable, catalogue: Catalogue, name: str, evidence: NewcomerEvidence, *, force: bool
) -> NewRow:
    """Find the row of a new model.

    Args:
        table: The table of the artifact.
        catalogue: The catalogue of the artifact.
        name: The model's name, ``provider/name`` or ``provider/name@effort``.
        evidence: What is known of it.
        force: Take evidence that contradicts itself.

    Raises:
        CatalogueError: a name is not known, a number is out of range, or the evidence contradicts
            itself.
    """
    file = evidence.graded
    graded = None if file is None else file.of(file.column)
    grader, equated_by = _grader(table, name, file)
    similar = evidence.similar
    known = catalogue
    if similar is not None:
        level = _shift(table, catalogue, _fitted(table, name))
        known = with_row_of(table, catalogue, similar.name, level.mean)
    placed = _placed(known, name, evidence, graded, grader, force=force)
    model = _before(table, catalogue, placed)
    if graded is not None:
        model, _ = condition(model, grader, graded)
    log_tokens, reasoning_share = token_columns(placed.log_tokens, placed.log_reasoning_tokens)
    token_weights = _token_weights(table, similar)
    lengths = 0
    if file is not None:
        spread = float(np.mean(placed.log_tokens_std**2))
        log_tokens, lengths = _lengths(file, log_tokens, token_weights, spread)
    score_mean, score_var = logistic_moments(
        model.logits.mean, np.maximum(np.diag(model.logits.covariance), 0.0)
    )
    counts = np.zeros(len(table.tasks)) if graded is None else graded.tasks.sum(axis=0)
    averages = [
        row.design[: len(table.tasks)] > 0.0
        for row in benchmark_rows(catalogue, evidence.benchmarks)
    ]
    figures = {
        "score_mean": np.clip(score_mean, _SMALLEST_SCORE, 1.0 - _SMALLEST_SCORE),
        "score_var": score_var,
        "weights": model.weights.mean,
        "weights_var": np.maximum(np.diag(model.weights.covariance), 0.0),
        "log_tokens": np.clip(log_tokens, 0.0, 16.0),
        "token_weights": token_weights,
        "reasoning_share": reasoning_share,
        "evidence": counts,
        "benchmarks": np.sum([np.zeros(len(table.tasks)), *averages], axis=0),
    }
    return NewRow(
        name=name,
        figures={one: values.astype(np.float32) for one, values in figures.items()},
        graded_prompts=0 if graded is None else len(graded.scores),
        graded_lengths=lengths,
        equated_by=equated_by,
    )


def free_name(table: ModelTable, name: str, *, replace: bool) -> str:
    """The canonical name under which a model comes into the table.

    Args:
        table: The table.
        name: The name that is asked for.
        replace: Take the place of the model that has this name or alias.

    Raises:
        CatalogueError: the name is taken and may not be replaced, or is no name.
    """
    if not name or name != "".join(name.split()):
        raise CatalogueError(f"{name!r} is no name of a model; write provider/name")
    row = table.row_of(name)
    if row is None:
        return name
    taken = table.names[row]
    if not replace:
        means = "" if taken == name else f" (it means {taken})"
        raise CatalogueError(f"the table has {name!r} already{means}; take --replace to renew it")
    return taken


def like_model(table: ModelTable, name: str) -> str:
    """The table's name of a similar model, which may be given by an alias.

    Raises:
        CatalogueError: the table has no such model.
    """
    row = table.row_of(name)
    if row is None:
        raise CatalogueError(f"no model {name!r}{nearest(name, (*table.names, *table.aliases))}")
    return table.names[row]


def _grader(
    table: ModelTable, name: str, file: GradedFile | None
) -> tuple[GraderBelief, tuple[str, ...]]:
    """The belief about the grader, and the models that it comes from."""
    exact = GraderBelief.exact(len(table.tasks), len(table.traits))
    if file is None:
        return exact, ()
    others = {}
    for column, model in enumerate(file.outcomes.models):
        row = table.row_of(model)
        scored = np.isfinite(file.outcomes.scores[:, column]).any()
        if row is not None and table.names[row] != name and column != file.column and scored:
            others[table.names[row]] = _of_row(table, row), file.of(column, MOST_PROMPTS)
    return judge_grader(others.values()) or exact, tuple(others)


def _placed(
    catalogue: Catalogue,
    name: str,
    evidence: NewcomerEvidence,
    graded: GradedPrompts | None,
    grader: GraderBelief,
    *,
    force: bool,
) -> PlacedModel:
    """The model by everything but its graded prompts, which may not contradict the rest."""
    known: dict[str, Any] = {
        "benchmarks": evidence.benchmarks,
        "similar": evidence.similar,
        "release": evidence.release,
        "params_b": evidence.params_b,
    }
    if graded is not None and not force and (evidence.benchmarks or evidence.similar):
        # Each kind is held against the rest alone: how hard a user's prompts of one kind are beside
        # those of another is not known.
        for task, mean in _equated(catalogue, graded, grader).items():
            place(catalogue, name, graded={task: mean}, **known)
    return place(catalogue, name, by_name=graded is not None, force=force, **known)


def _equated(
    catalogue: Catalogue, graded: GradedPrompts, grader: GraderBelief
) -> dict[str, tuple[float, float]]:
    """Mean scores without the grader's level; its uncertainty leaves fewer prompts."""
    found = {}
    for task, (mean, prompts) in graded.means(catalogue.tasks).items():
        at = catalogue.tasks.index(task)
        share = (mean * prompts + 0.5) / (prompts + 1.0)
        spread = share * (1.0 - share)
        level = float(grader.level.mean[at])
        equated = 1.0 / (1.0 + np.exp(level - np.log(share / (1.0 - share))))
        left = 1.0 / (1.0 / prompts + spread * float(grader.level.covariance[at, at]))
        found[task] = float(equated), max(left, 1.0)
    return found


def _before(table: ModelTable, catalogue: Catalogue, placed: PlacedModel) -> ModelBelief:
    """The model before its graded prompts, on the scale of the table."""
    r = len(table.traits)
    logits = Gaussian(placed.logit_mean, placed.logit_cov)
    fitted = _fitted(table, placed.name)
    if not len(fitted):
        return ModelBelief(logits, Gaussian(np.zeros(r), np.zeros((r, r))))
    weights = table.weights[fitted].astype(np.float64)
    shared = Gaussian(weights.mean(axis=0), np.cov(weights, rowvar=False))
    shift = _shift(table, catalogue, fitted)
    own = Gaussian(logits.mean + shift.mean, logits.covariance + shift.covariance)
    profiles = _logit(table.score_mean[fitted])
    t = len(table.tasks)
    wide = _PROFILE_SD**2 * np.eye(t) + _ABILITY_SD**2 * np.ones((t, t))
    alike = Gaussian(profiles.mean(axis=0), np.cov(profiles, rowvar=False) + wide)
    return ModelBelief(_product(own, alike), shared)


def _fitted(table: ModelTable, name: str) -> NDArray[np.intp]:
    """Rows that were fitted to graded prompts, those of a model left out; none if they are few."""
    fitted = np.flatnonzero(table.weights.any(axis=1))
    fitted = fitted[[table.names[row] != name for row in fitted]]
    return fitted if len(fitted) >= _FEWEST_FITTED else fitted[:0]


def _shift(table: ModelTable, catalogue: Catalogue, fitted: NDArray[np.intp]) -> Gaussian:
    """How far fitted rows lie above the catalogue, in logits."""
    t = len(table.tasks)
    both = [row for row in fitted if table.names[row] in catalogue.names]
    if not both:
        return GraderBelief.unknown(t, 0).level
    places = [catalogue.row(table.names[row]) for row in both]
    apart = _logit(table.score_mean[both]) - _logit(catalogue.score_mean[places])
    spread = np.cov(apart, rowvar=False) if len(both) > 1 else np.zeros((t, t))
    return Gaussian(apart.mean(axis=0), (spread + _PROFILE_SD**2 * np.eye(t)) / len(both))


def _product(one: Gaussian, other: Gaussian) -> Gaussian:
    """What two independent beliefs about the same numbers say together."""
    gain = np.linalg.solve(one.covariance + other.covariance, one.covariance).T
    mean = one.mean + gain @ (other.mean - one.mean)
    return Gaussian(mean, one.covariance - gain @ one.covariance)


def _of_row(table: ModelTable, row: int) -> ModelBelief:
    mean, variance = table.score_mean[row].astype(np.float64), table.score_var[row]
    return ModelBelief(
        Gaussian(_logit(mean), np.diag(variance / (mean * (1.0 - mean)) ** 2)),
        Gaussian(table.weights[row].astype(np.float64), np.diag(table.weights_var[row])),
    )


def _token_weights(table: ModelTable, similar: Likeness | None) -> Doubles:
    row = None if similar is None else table.row_of(similar.name)
    found = np.median(table.token_weights, axis=0) if row is None else table.token_weights[row]
    return np.asarray(found, np.float64)


def _lengths(
    file: GradedFile, log_tokens: Doubles, token_weights: Doubles, spread: float
) -> tuple[Doubles, int]:
    """The log of the tokens by kind, [t], after the graded answers, and the number of lengths.

    Bayesian linear regression of what is left of the logarithm, on the kinds' probabilities.
    """
    tokens = file.outcomes.output_tokens[:, file.column]
    rows = np.flatnonzero(np.isfinite(tokens) & (tokens > 0.0))
    if not len(rows):
        return log_tokens, 0
    tasks = file.vectors.tasks[rows].astype(np.float64)
    of_traits = file.vectors.traits[rows] @ token_weights
    left = np.log(tokens[rows]) - tasks @ log_tokens - of_traits
    t = len(log_tokens)
    prior = spread * np.ones((t, t)) + _TASK_LENGTH_SD**2 * np.eye(t)
    precision = np.linalg.inv(prior) + tasks.T @ tasks / _LENGTH_NOISE_VAR
    found = log_tokens + np.linalg.solve(precision, tasks.T @ left / _LENGTH_NOISE_VAR)
    expected = np.exp(tasks @ found + of_traits).sum()
    share = len(rows) / (len(rows) + _SMEARING_PROMPTS)
    return found + share * np.log(tokens[rows].sum() / expected), len(rows)


def _logit(chances: NDArray[Any]) -> Doubles:
    wide = np.asarray(chances, np.float64)
    return np.log(wide / (1.0 - wide))
