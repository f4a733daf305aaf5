"""Training on a team's own outcomes, as one call."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from routoo.predictor.artifact import Artifact
from routoo.predictor.model_table import ModelTable
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.feature_prompts import read_features
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import FOLDS
from routoo_export.training.own.choice import choose_recipe
from routoo_export.training.own.fit import Features, FittedScores, RowRecipe, fit_scores
from routoo_export.training.own.lengths import (
    Lengths,
    artifact_rows,
    fit_lengths,
    tokens_of_costs,
)
from routoo_export.training.own.prompt_reader import PromptReader
from routoo_export.training.own.table import make_own_table
from routoo_export.training.own.topics import (
    Named,
    Standardised,
    TopicCandidate,
    domain_labels,
    lifted,
)

FloatArray = NDArray[np.float64]

FEWEST_MODELS: Final = 2
FEWEST_PROMPTS: Final = 20
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True)
class OwnPrompts:
    """A team's outcomes and what the graph tells of their prompts.

    Attributes:
        outcomes: The outcomes of n prompts.
        features: Features of the prompts.
        input_tokens: Their estimated lengths, [n].
        table: The artifact's table.
    """

    outcomes: Outcomes
    features: Features
    input_tokens: FloatArray
    table: ModelTable

    @classmethod
    def read(cls, outcomes: Outcomes, artifact: Artifact) -> "OwnPrompts":
        """Read the prompts by the artifact's graph, or take the features that a log has kept.

        Raises:
            OutcomeError: they cannot be trained on, or another graph has read their prompts.
            ExportError: the artifact's graph is not given rows of models.
        """
        require_outcomes(outcomes)
        reader = PromptReader(artifact)
        table = reader.table
        rows = table.task_rows.astype(np.float64)
        kept = read_features(outcomes.prompts, table.graph_sha256)
        if kept is not None:
            logits: FloatArray = kept.hidden @ lifted(rows, _constant(kept.hidden)).T
            kinds: FloatArray = softmax(logits, axis=1)
            features = Features(kept.hidden, kept.traits, kinds)
            return cls(outcomes, features, kept.input_tokens, table)
        read = reader.encode(outcomes.prompts)
        hidden = reader.hidden_units(read)
        seen = reader.vectors(read, lifted(rows, _constant(hidden)))
        features = Features(hidden, seen.traits, seen.tasks)
        return cls(outcomes, features, read.input_tokens, table)

    def rows(self, at: NDArray[np.int64]) -> "OwnPrompts":
        """The prompts ``at``."""
        return OwnPrompts(
            self.outcomes.rows(at), self.features.rows(at), self.input_tokens[at], self.table
        )

    def models(self, keep: NDArray[np.bool_]) -> "OwnPrompts":
        """The same prompts with the models of the mask ``keep`` [m]."""
        outcomes = self.outcomes
        kept = replace(
            outcomes,
            models=tuple(np.array(outcomes.models)[keep].tolist()),
            scores=outcomes.scores[:, keep],
            output_tokens=outcomes.output_tokens[:, keep],
            cost_usd=outcomes.cost_usd[:, keep],
            input_tokens=None,
            latency_ms=None,
        )
        return replace(self, outcomes=kept)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The likeliest kind of task of each prompt, [n]."""
        return tuple(self.table.tasks[at] for at in self.features.kinds.argmax(axis=1).tolist())


@dataclass(frozen=True, slots=True)
class OwnPredictor:
    """What was learnt of a team's models.

    Attributes:
        models: The m models.
        scores: Their scores.
        lengths: Their lengths.
        recipe: What cross-validation chose.
        labels: Topic of each prompt that was trained on; None = no domains were used.
    """

    models: tuple[str, ...]
    scores: FittedScores
    lengths: Lengths
    recipe: RowRecipe
    labels: tuple[str, ...] | None

    def tokens(self, features: Features) -> FloatArray:
        """Expected output tokens, [n, m]."""
        return self.lengths.predict(self.scores.topics.row_shares(features.hidden), features.traits)

    def packed(self, own: OwnPrompts) -> ModelTable:
        """The table of models for the graph; ``own`` are the prompts that were trained on."""
        asked = ~np.isnan(own.outcomes.scores)
        named = None if self.labels is None else Named.of(self.labels)
        return make_own_table(
            own.table, self.models, self.scores, self.lengths, own.features, asked, named
        )


def train_own(
    own: OwnPrompts, prices: FloatArray | None = None, *, prior: bool = True
) -> OwnPredictor:
    """Fit topics, scores and lengths, all in closed form but the topics' rows.

    Args:
        own: Prompts and outcomes.
        prices: USD per million input and output tokens of each model, [m, 2]; with them, costs
            stand for lengths that are missing.
        prior: Whether scores are drawn to the artifact's.
    """
    outcomes, features = own.outcomes, own.features
    constant = Standardised.of(features.hidden)
    rows = artifact_rows(own.table, outcomes.models)
    kinds = TopicCandidate.of_kinds(
        own.table.tasks,
        own.table.task_rows.astype(np.float64),
        features.kinds,
        constant.constant,
    )
    labels = domain_labels(outcomes.domains, own.kinds)
    named = None if labels is None else Named.of(labels)
    candidates = [kinds]
    if named is not None:
        candidates.append(TopicCandidate.of_domains(named, features.hidden))
    recipe = choose_recipe(
        outcomes.scores,
        features,
        outcomes.buckets % FOLDS,
        candidates,
        _prior(own.table, rows) if prior else np.zeros((len(rows), len(own.table.tasks))),
        named,
    )
    scores, recipe = fit_scores(outcomes.scores, features, recipe, named)
    tokens = outcomes.output_tokens
    if prices is not None:
        from_costs = tokens_of_costs(outcomes.cost_usd, own.input_tokens, prices)
        tokens = np.where(np.isnan(tokens), from_costs, tokens)
    lengths = fit_lengths(
        tokens,
        own.table,
        rows,
        features.kinds,
        scores.topics.row_shares(features.hidden),
        features.traits,
    )
    return OwnPredictor(outcomes.models, scores, lengths, recipe, labels)


def _constant(hidden: FloatArray) -> int:
    return Standardised.of(hidden).constant


def _prior(table: ModelTable, rows: Sequence[int | None]) -> FloatArray:
    """The artifact's scores [m, t]; a model that it does not know has the mean of the others."""
    known = [at for at in rows if at is not None]
    if len(known) < FEWEST_MODELS:
        return np.zeros((len(rows), len(table.tasks)))
    mean = table.score_mean[known].mean(axis=0)
    return np.stack([mean if at is None else table.score_mean[at] for at in rows]).astype(
        np.float64
    )


def require_outcomes(outcomes: Outcomes) -> None:
    """Refuse outcomes that say nothing on which model to take.

    Raises:
        OutcomeError: fewer than two models with scores, too few prompts, or equal scores only.
    """
    known = ~np.isnan(outcomes.scores)
    scored = [outcomes.models[at] for at in np.flatnonzero(known.any(axis=0)).tolist()]
    if not scored:
        raise OutcomeError("the outcomes have no score; give each answer one, from 0 to 1")
    if len(scored) < FEWEST_MODELS:
        raise OutcomeError(
            f"the outcomes are of one model only ({scored[0]}); training needs at least"
            f" {FEWEST_MODELS}: add another model's outcomes"
        )
    silent = sorted(set(outcomes.models) - set(scored))
    if silent:
        raise OutcomeError(f"model {silent[0]!r} has no score; bring some, or leave the model out")
    prompts = int(known.any(axis=1).sum())
    if prompts < FEWEST_PROMPTS:
        raise OutcomeError(
            f"{prompts} prompts have a score; training needs at least {FEWEST_PROMPTS}"
        )
    figures = outcomes.scores[known]
    if figures.max() - figures.min() < _SAME:
        raise OutcomeError(
            f"all scores are {figures[0]:g}, so no model is better than another; grade the answers"
        )
