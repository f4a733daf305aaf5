"""What a predictor is trained on: graded outcomes, quality gaps, logs, or battles."""

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


class Supervision(Protocol):
    """The prompts, and how heads are fitted on their features.

    graded: the means of the outcomes are those of the models, whatever the features.
    """

    @property
    def outcomes(self) -> Outcomes: ...

    @property
    def graded(self) -> bool: ...

    def epochs(self, config: TrainConfig) -> int:
        """How many epochs ``fit`` reports."""

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        """What a transformer is fine-tuned on, of the prompts of the mask ``keep`` [n]."""

    def fit(
        self,
        rows: Rows,
        train: Mask,
        validation: Mask,
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> Weights:
        """Fit on the ``train`` prompts of ``rows``, which are all prompts; calibrate on others."""


def _fit_epochs(config: TrainConfig) -> int:
    """The ensemble, and one member for each group of topics that is left out once."""
    return (config.members + config.shrink_groups) * config.epochs


@dataclass(frozen=True, slots=True)
class GradedSupervision:
    """Every known outcome counts alike."""

    outcomes: Outcomes
    graded: bool = True

    def epochs(self, config: TrainConfig) -> int:
        return _fit_epochs(config)

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        return TuningTask(self.outcomes.rows(keep), config)

    def fit(
        self,
        rows: Rows,
        train: Mask,
        validation: Mask,
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> Weights:
        return fit(rows.where(train), rows.where(validation), config, progress)


@dataclass(frozen=True, slots=True)
class QualityGapSupervision:
    """Hybrid LLM's labels of a small model against a large one, whose score is always 1."""

    gap: QualityGapLabels
    graded: bool = True

    @property
    def outcomes(self) -> Outcomes:
        return self.gap.outcomes

    def epochs(self, config: TrainConfig) -> int:
        return _fit_epochs(config)

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:
        return TuningTask(self.outcomes.rows(keep), config)

    def fit(
        self,
        rows: Rows,
        train: Mask,
        validation: Mask,
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> Weights:
        weights = fit(rows.where(train), rows.where(validation), config, progress)
        return pin_score(weights, column=1)


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

    def fit(
        self,
        rows: Rows,
        train: Mask,
        validation: Mask,
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> Weights:
        seen = train | validation
        known = logged_rows(rows.where(seen), self.log.where(seen), self.method, config, progress)
        return fit(known.where(train[seen]), known.where(validation[seen]), config, progress)


@dataclass(frozen=True, slots=True)
class PreferenceSupervision:
    """Preference battles (Bradley-Terry)."""

    battles: Battles
    graded: bool = False

    @property
    def outcomes(self) -> Outcomes:
        return self.battles.outcomes

    def epochs(self, config: TrainConfig) -> int:
        return config.members * config.epochs

    def tuning(self, keep: Mask, config: TrainConfig) -> TuningTask:  # noqa: ARG002 - the protocol's signature
        raise ExportError("battles train heads on features as they are; add --frozen")

    def fit(
        self,
        rows: Rows,
        train: Mask,
        validation: Mask,
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> Weights:
        return fit_battles(
            rows.where(train),
            self.battles.where(train),
            rows.where(validation),
            self.battles.where(validation),
            config,
            progress,
        )
