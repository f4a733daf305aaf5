"""Rows of an artifact's table, corrected by logged decisions.

A log has the outcome of the chosen model alone, and mostly of the model that the rows in force
think best. Rows that are fitted anew to such a log know nothing of the others, and are worse than
those in force by far. So the rows in force stay, and scores are moved on the logit scale: by what
is common to all models, and common on each kind of task; by a level of each model; and by a
deviation of each model and kind of task. All are drawn to none. The common part matters most: a
log of prompts that are harder than expected would else lower the models that it asked, and let the
others win. They are fitted together by log-loss (Newton's method), which needs fewer outcomes than
squared loss (arXiv 2403.05385). How far the models' own parts may go is what predicts held-out
outcomes best, in five folds; it may be not at all.

An outcome's weight is its model's share of the decisions on the kind of task, over its propensity,
and truncated (``LogWeights``): 1 where the log chose as on any such prompt, more where it knew
something of the prompt that the kind of task does not tell.

Expected lengths are corrected by those that were reported, of each model and kind of task.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from routoo.predictor.model_table import ModelTable
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.splits import FOLDS
from routoo_export.training.own.fit import SCORES
from routoo_export.training.own.lengths import LOG_TOKENS, logged_moves
from routoo_export.training.own.train import OwnPrompts
from routoo_export.training.supervision.partial_feedback import LoggedOutcomes, LogWeights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REACHES: Final = ((0.0, 0.1, 0.3), (0.0, 0.1, 0.3))
"""Standard deviations that are tried, of models' levels and of their deviations by kind of task."""
COMMON: Final = 3.0
"""Standard deviation of what is common to all models, and of what is on each kind of task."""
STEPS: Final = 25
_SURE: Final = 1e-8


@dataclass(frozen=True, slots=True)
class LogFit:
    """A correction of m models.

    Attributes:
        models: The models, [m].
        moves: What is added to the logit of a score, by kind of task, [m, t].
        reach: Standard deviations of the models' levels and deviations that were chosen.
        log_loss: Held-out log-loss of an outcome, weighted.
        log_loss_before: That of the rows in force, moved by what is common to all models alone.
        decisions: Outcomes of each model, [m].
        weights: The weights.
        length_moves: What is added to the logarithm of a length, by kind of task, [m, t].
    """

    models: tuple[str, ...]
    moves: FloatArray
    reach: tuple[float, float]
    log_loss: float
    log_loss_before: float
    decisions: tuple[int, ...]
    weights: LogWeights
    length_moves: FloatArray

    def corrected(self, table: ModelTable) -> ModelTable:
        """The table with the rows of these models moved, and their outcomes as evidence."""
        score_mean, log_tokens = table.score_mean.copy(), table.log_tokens.copy()
        every = zip(self.models, self.moves, self.length_moves, strict=True)
        for model, moves, longer in every:
            row = table.row_of(model)
            assert row is not None  # noqa: S101 - ``fit_log`` has refused such a model
            moved = expit(logit(np.clip(score_mean[row], *SCORES).astype(np.float64)) + moves)
            score_mean[row] = np.clip(moved, *SCORES)
            log_tokens[row] = np.clip(log_tokens[row] + longer, *LOG_TOKENS)
        return replace(table, score_mean=score_mean, log_tokens=log_tokens)


def scores_in_force(own: OwnPrompts, models: tuple[str, ...]) -> FloatArray:
    """Scores [n, m] of the artifact's rows.

    Raises:
        OutcomeError: the artifact does not know a model.
    """
    rows = [own.table.row_of(model) for model in models]
    if None in rows:
        raise OutcomeError(
            f"the artifact does not know {models[rows.index(None)]!r}, so that a log cannot correct"
            " it; onboard it, or train on prompts that several models answered"
        )
    at = np.array(rows, np.int64)
    means = own.table.score_mean[at].astype(np.float64)
    found = own.features.kinds @ means.T
    found += own.features.traits @ own.table.weights[at].astype(np.float64).T
    return np.clip(found, *SCORES)


def _lengths_in_force(own: OwnPrompts, models: tuple[str, ...]) -> FloatArray:
    """Output tokens [n, m] of the artifact's rows, all of which it knows."""
    at = np.array([own.table.row_of(model) for model in models], np.int64)
    logs = own.features.kinds @ own.table.log_tokens[at].T.astype(np.float64)
    logs += own.features.traits @ own.table.token_weights[at].T.astype(np.float64)
    return np.exp(logs)


def fit_log(own: OwnPrompts, log: LoggedOutcomes) -> LogFit:
    """Fit the correction to a log.

    Args:
        own: The log's prompts.
        log: The decisions on the same prompts, in their order.

    Raises:
        OutcomeError: the artifact does not know a model.
    """
    models = log.outcomes.models
    every = np.arange(len(log.chosen))
    offsets = logit(scores_in_force(own, models)[every, log.chosen])
    kinds = own.features.kinds.argmax(axis=1).astype(np.int64)
    weights = _weights(log, kinds)
    folds = log.outcomes.buckets % FOLDS
    data = _LogData(
        log.chosen,
        kinds,
        offsets,
        log.scores,
        weights.values,
        (len(models), own.features.kinds.shape[1]),
    )
    losses = {
        reach: data.held_out(reach, folds)
        for reach in product(*REACHES)
        if reach[0] or not reach[1]
    }
    before = losses[0.0, 0.0]
    reach = min(losses, key=lambda one: losses[one])
    return LogFit(
        models=models,
        moves=data.fitted(reach),
        reach=reach,
        log_loss=losses[reach],
        log_loss_before=before,
        decisions=tuple(np.bincount(log.chosen, minlength=len(models)).tolist()),
        weights=weights,
        length_moves=logged_moves(
            log.outcomes.output_tokens[every, log.chosen],
            _lengths_in_force(own, models)[every, log.chosen],
            log.chosen,
            kinds,
            data.shape,
        ),
    )


@dataclass(frozen=True, slots=True)
class _LogData:
    """Outcomes [n] of chosen models, with what the rows in force say of them."""

    chosen: IntArray
    kinds: IntArray
    offsets: FloatArray
    scores: FloatArray
    weights: FloatArray
    shape: tuple[int, int]

    def rows(self, at: IntArray) -> "_LogData":
        return _LogData(
            self.chosen[at],
            self.kinds[at],
            self.offsets[at],
            self.scores[at],
            self.weights[at],
            self.shape,
        )

    def held_out(self, reach: tuple[float, float], folds: IntArray) -> float:
        """Weighted log-loss of an outcome by what is fitted to the other folds."""
        total = 0.0
        for fold in np.unique(folds).tolist():
            moves = self.rows(np.flatnonzero(folds != fold)).fitted(reach)
            out = self.rows(np.flatnonzero(folds == fold))
            likely = out.offsets + moves[out.chosen, out.kinds]
            # Of logits: no score is certain enough to be infinitely wrong.
            losses = np.logaddexp(0.0, likely) - out.scores * likely
            total += float(out.weights @ losses)
        return total / float(self.weights.sum())

    def fitted(self, reach: tuple[float, float]) -> FloatArray:
        """Moves [m, t]: posterior modes of the common parts, the levels and the deviations."""
        models, kinds = self.shape
        spread = np.concatenate(
            [
                np.full(1 + kinds, COMMON),
                np.full(models, reach[0]),
                np.full(models * kinds, reach[1]),
            ]
        )
        kept = np.flatnonzero(spread > 0.0)
        design = np.zeros((models * kinds, len(spread)))
        cells = np.arange(models * kinds)
        design[:, 0] = 1.0
        design[cells, 1 + cells % kinds] = 1.0
        design[cells, 1 + kinds + cells // kinds] = 1.0
        design[cells, 1 + kinds + models + cells] = 1.0
        design = design[:, kept]
        precision = np.diag(1.0 / np.square(spread[kept]))
        found = np.zeros(len(kept))

        def posterior(parts: FloatArray) -> float:
            likely = self.offsets + (design @ parts)[place]
            told = self.weights @ (self.scores * likely - np.logaddexp(0.0, likely))
            return float(told - 0.5 * parts @ precision @ parts)

        place = self.chosen * kinds + self.kinds
        for _ in range(STEPS):
            likely = expit(self.offsets + (design @ found)[place])
            slopes = np.bincount(place, self.weights * (self.scores - likely), minlength=len(cells))
            curves = np.bincount(
                place, self.weights * likely * (1.0 - likely), minlength=len(cells)
            )
            curve = (design.T * curves) @ design + precision
            step = np.linalg.solve(curve, design.T @ slopes - precision @ found)
            # Where outcomes are nearly certain, a whole step goes far beyond the best.
            before = posterior(found)
            while posterior(found + step) < before and np.abs(step).max() >= _SURE:
                step *= 0.5
            found += step
            if np.abs(step).max() < _SURE:
                break
        return (design @ found).reshape(models, kinds)


def _weights(log: LoggedOutcomes, kinds: IntArray) -> LogWeights:
    """Stabilised weights: the share of the same choice on the kind of task, over its propensity."""
    counts = np.zeros((int(kinds.max(initial=0)) + 1, len(log.outcomes.models)))
    np.add.at(counts, (kinds, log.chosen), 1.0)
    usual = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))[kinds, log.chosen]
    return LogWeights.of(log.propensities, usual=usual)
