"""Reading the files and the objective that a user names into the supervision of a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.outcomes import (
    UNKNOWN_LICENCE,
    Outcomes,
    merge_outcomes,
    read_metadata,
    read_outcomes,
)
from routoo_export.outcomes.sources import read_training_outcomes
from routoo_export.training.heads.objectives import Objective
from routoo_export.training.supervision.partial_feedback import LogMethod, read_logged
from routoo_export.training.supervision.preferences import read_battles
from routoo_export.training.supervision.quality_gap import quality_gap_outcomes, read_samples
from routoo_export.training.supervision.supervision import (
    GradedSupervision,
    PartialFeedbackSupervision,
    PreferenceSupervision,
    QualityGapSupervision,
    Supervision,
)

Goal = Literal["log-loss", "squared", "quality-gap", "bradley-terry"]
LogChoice = Literal["inverse-propensity", "doubly-robust", "unweighted"]


@dataclass(frozen=True, slots=True)
class SupervisionFiles:
    """The objective of a training and the files to train on.

    Attributes:
        goal: The objective.
        data: Folder with the standard sources.
        outcomes: Files of outcomes, which replace the standard sources.
        log_method: How outcomes are weighted that are logged decisions with propensities; None =
            the outcomes are no log.
        small: Hybrid LLM's small model (see ``quality_gap``).
        large: Hybrid LLM's large model.
        relaxation: Hybrid LLM's relaxation t; None = chosen as in its paper.
        samples: File with several scores per prompt and model.
    """

    goal: Goal = "log-loss"
    data: Path | None = None
    outcomes: tuple[Path, ...] = ()
    log_method: LogChoice | None = None
    small: str | None = None
    large: str | None = None
    relaxation: float | None = None
    samples: Path | None = None

    @property
    def objective(self) -> Objective:
        """The loss of an outcome."""
        return "squared" if self.goal == "squared" else "log_loss"


def read_supervision(files: SupervisionFiles) -> Supervision:
    """Read the supervision that ``files`` name.

    Raises:
        OutcomeError: options do not go together, or a file cannot be read or does not fit.
    """
    pair = (files.small, files.large)
    if files.goal != "quality-gap" and (pair != (None, None) or files.samples is not None):
        raise OutcomeError("--small, --large and --samples need --objective quality-gap")
    if files.goal == "bradley-terry":
        if files.log_method is not None:
            raise OutcomeError("--log-method does not go with --objective bradley-terry")
        path, name, licence = _only_file(files)
        return PreferenceSupervision(read_battles(path, name=name, licence=licence))
    if files.log_method is not None:
        if files.goal == "quality-gap":
            raise OutcomeError("--log-method does not go with --objective quality-gap")
        path, name, licence = _only_file(files)
        log = read_logged(path, name=name, licence=licence)
        return PartialFeedbackSupervision(
            log, cast("LogMethod", files.log_method.replace("-", "_"))
        )
    outcomes = read_graded(files.data, files.outcomes)
    if files.goal != "quality-gap":
        return GradedSupervision(outcomes)
    if files.small is None or files.large is None:
        raise OutcomeError("--objective quality-gap needs --small MODEL and --large MODEL")
    samples = None if files.samples is None else read_samples(files.samples, outcomes)
    labels = quality_gap_outcomes(
        outcomes, files.small, files.large, samples=samples, relaxation=files.relaxation
    )
    return QualityGapSupervision(labels)


def read_graded(data: Path | None, files: tuple[Path, ...]) -> Outcomes:
    """Read the outcomes in ``files``, or without files the standard sources in ``data``.

    Raises:
        OutcomeError: neither is named, or a file cannot be read or does not fit.
    """
    if files:
        return merge_outcomes([read_outcomes(path) for path in files])
    if data is None:
        raise OutcomeError("nothing to learn from; give --outcomes FILE, or --data (ROUTOO_DATA)")
    return read_training_outcomes(data)


def _only_file(files: SupervisionFiles) -> tuple[Path, str, str]:
    """The file, the name of its source and its licence."""
    if len(files.outcomes) != 1:
        raise OutcomeError("logs and battles come in one file; give exactly one --outcomes")
    path = files.outcomes[0]
    said = read_metadata(path)
    return path, said.get("name", path.stem), said.get("licence", UNKNOWN_LICENCE)
