"""Kinds of supervision that a predictor is trained with: outcomes, quality gaps, logs, battles."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import ExportError
from routoo_export.network.network import Weights
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.training.finetune.finetune import TuningTask
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import Progress, TrainConfig, fit
from routoo_export.training.supervision.partial_feedback import (
    CROSS_FITS,
    LoggedOutcomes,
    LogMethod,
    LogWeights,
    logged_rows,
)
from routoo_export.training.supervision.preferences import Battles, fit_battles
from routoo_export.training.supervision.quality_gap import QualityGapLabels, pin_score

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HeadsTask:
    """The input of a fit of the heads: features, split and settings.

    Attributes:
        rows: All n prompts of the supervision, in its order, with their features.
        train: Mask [n] of the prompts to train on.
        validation: Mask [n] of the prompts to calibrate on.
        config: Settings of the training.
        progress: Called with the number of epochs just done.
    """

    rows: Rows
    train: Mask
    validation: Mask
    config: TrainConfig
    progress: Progress | None = None

    def fit(self) -> Weights:
        """Fit the heads on the outcomes of ``rows``."""
        train, validation = self.rows.where(self.train), self.rows.where(self.validation)
        return fit(train, validation, self.config, self.progress)


class Supervision(Protocol):
    """The prompts of a training, and the way in which heads are fitted on their features.

    Attributes:
        outcomes: The prompts, the models and their outcomes.
        graded: Whether the means of the outcomes are those of the models, whatever the features.
    """

    @property
    def outcomes(self) -> Outcomes: ...

    @property
    def graded(self) -> bool: ...

    def epochs(self, config: TrainConfig) -> int:
        """Count the epochs that ``fit`` reports."""

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        """The task on which a transformer is fine-tuned, from the prompts of the mask ``keep``."""

    def fit(self, task: HeadsTask) -> Weights:
        """Fit the heads on the training prompts of ``task``; calibrate on its validation ones."""


def _fit_epochs(config: TrainConfig) -> int:
    """Epochs of ``train.fit``: of the ensemble, and of one member per left-out group of topics."""
    return (config.members + config.shrink_groups) * config.epochs


@dataclass(frozen=True, slots=True)
class GradedSupervision:
    """Graded outcomes; every known outcome counts alike."""

    outcomes: Outcomes
    graded: bool = True

    def epochs(self, config: TrainConfig) -> int:
        return _fit_epochs(config)

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        return TuningTask(self.outcomes.rows(keep), config)

    def fit(self, task: HeadsTask) -> Weights:
        return task.fit()


@dataclass(frozen=True, slots=True)
class QualityGapSupervision:
    """Hybrid LLM's labels of a small model against a large one, whose score is always 1."""

    labels: QualityGapLabels
    graded: bool = True

    @property
    def outcomes(self) -> Outcomes:
        return self.labels.outcomes

    def epochs(self, config: TrainConfig) -> int:
        return _fit_epochs(config)

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        return TuningTask(self.outcomes.rows(keep), config)

    def fit(self, task: HeadsTask) -> Weights:
        return pin_score(task.fit(), column=1)


@dataclass(frozen=True, slots=True)
class PartialFeedbackSupervision:
    """Logged decisions, of which only the chosen model's outcome is known."""

    log: LoggedOutcomes
    method: LogMethod
    graded: bool = False

    @property
    def outcomes(self) -> Outcomes:
        return self.log.outcomes

    def epochs(self, config: TrainConfig) -> int:
        direct = CROSS_FITS * config.members if self.method == "doubly_robust" else 0
        return direct * config.epochs + _fit_epochs(config)

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        log = self.log.where(keep)
        weights = np.zeros(log.outcomes.scores.shape)
        found = np.ones(len(log.chosen))
        if self.method != "unweighted":
            found = LogWeights.of(log.propensities, self_normalised=True).values
        weights[np.arange(len(log.chosen)), log.chosen] = found
        return TuningTask(log.outcomes, config, weights)

    def fit(self, task: HeadsTask) -> Weights:
        seen = task.train | task.validation
        rows, log = task.rows.where(seen), self.log.where(seen)
        known = logged_rows(rows, log, self.method, task.config, task.progress)
        split = (task.train[seen], task.validation[seen])
        return HeadsTask(known, *split, task.config, task.progress).fit()


@dataclass(frozen=True, slots=True)
class PreferenceSupervision:
    """Preference battles, fitted by the Bradley-Terry model."""

    battles: Battles
    graded: bool = False

    @property
    def outcomes(self) -> Outcomes:
        return self.battles.outcomes

    def epochs(self, config: TrainConfig) -> int:
        return config.members * config.epochs

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:  # noqa: ARG002 - the protocol's signature
        raise ExportError("battles train heads on features as they are; add --frozen")

    def fit(self, task: HeadsTask) -> Weights:
        return fit_battles(
            task.rows.where(task.train),
            self.battles.where(task.train),
            task.rows.where(task.validation),
            self.battles.where(task.validation),
            task.config,
            task.progress,
        )
