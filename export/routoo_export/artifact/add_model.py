"""Publishing an artifact with one more model, if the other models' outputs do not change."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from routoo.predictor.artifact import DEFAULT_ROWS_STEP
from routoo_export.artifact.artifact import MANIFEST_FILE, MODEL_FILE, ExportReport, write_artifact
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.artifact.triton_repository import (
    MODEL_NAME,
    newest_version,
    renew_config,
    version_folder,
)
from routoo_export.backbones.tokens import length_batches, pad_ids
from routoo_export.errors import ExportError, ParityError
from routoo_export.graph.graph import INPUT_NAME
from routoo_export.graph.parity import open_session
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import VALIDATION_BUCKETS, in_buckets
from routoo_export.training.checkpoint import Checkpoint

BATCH_ROWS: Final = (1, 8, 64)
"""The batch sizes in which each prompt is compared."""
CHECKED_PROMPTS: Final = 2_000


def check_base(checkpoint: Checkpoint, repository: Path) -> None:
    """Refuse a repository whose newest version has other models than ``checkpoint``.

    Raises:
        ExportError: there is no version, or it holds other models.
    """
    newest = newest_version(repository)
    if not newest.is_dir():
        raise ExportError(
            f"{repository / MODEL_NAME}: no version to add a model to; run `routoo-export export`"
        )
    if _manifest(newest)["models"] != list(checkpoint.record.models):
        raise ExportError(
            f"{newest} holds other models than the checkpoint; run `routoo-export export` with the"
            " checkpoint first"
        )


def publish_newcomer(
    checkpoint: Checkpoint, stored: Outcomes, metrics: dict[str, Any], repository: Path
) -> ExportReport:
    """Write the next version folder and its config.pbtxt; older versions are not changed.

    Args:
        checkpoint: Its last model is the new one; the others are those of the newest version.
        stored: Outcomes as for ``write_artifact``. On CHECKED_PROMPTS spread over its prompts, the
            new graph must give the same outputs for the older models as the newest version, bit
            for bit.
        metrics: Metrics for the manifest.
        repository: The Triton model repository.

    Raises:
        ParityError: the new graph does not compute what torch does, or changes an older model.
        ExportError: the files cannot be written, or int8 has no training prompts to scale on.
    """
    newest, folder = newest_version(repository), version_folder(repository, "next")
    precision = _manifest(newest).get("precision", "fp32")
    if precision == "int8" and in_buckets(stored.buckets, VALIDATION_BUCKETS).all():
        raise ExportError(
            f"{newest} is int8, whose scales come from the training prompts; give --data"
        )
    with scratch_folder(folder) as build:
        report = write_artifact(checkpoint, stored, metrics, build, precision=precision)
        ids = checkpoint.backbone.encode(checked_prompts(stored))
        check_untouched(Served.of(newest), Served.of(build), ids)
        replace_folder(build, folder)
    renew_config(repository)
    return replace(report, folder=folder)


def checked_prompts(stored: Outcomes) -> list[str]:
    """At most CHECKED_PROMPTS of the prompts of ``stored``, evenly spaced."""
    count = len(stored.prompts)
    spaced = np.linspace(0, count - 1, min(count, CHECKED_PROMPTS)).astype(np.int64)
    return [stored.prompts[i] for i in spaced]


@dataclass(frozen=True, slots=True)
class Served:
    """The graph of a version folder, ready to run.

    Attributes:
        session: The session that runs it.
        rows_step: Rows are filled up to a multiple of this.
        pad_token_id: The token that pads prompts.
    """

    session: InferenceSession
    rows_step: int
    pad_token_id: int

    @classmethod
    def of(cls, folder: Path) -> "Served":
        manifest = _manifest(folder)
        session = open_session((folder / MODEL_FILE).read_bytes())
        step = manifest.get("rows_step", DEFAULT_ROWS_STEP)
        return cls(session, step, manifest["pad_token_id"])

    def outputs(self, ids: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float32]]:
        """Each output for ``ids`` by name, computed as the server computes it."""
        batch = pad_ids(ids, self.pad_token_id)
        rows = len(batch) + -len(batch) % self.rows_step
        names = [output.name for output in self.session.get_outputs()]
        found = self.session.run(names, {INPUT_NAME: np.resize(batch, (rows, batch.shape[1]))})
        return {name: values[: len(ids)] for name, values in zip(names, found, strict=True)}


def check_untouched(before: Served, after: Served, ids: Sequence[Sequence[int]]) -> None:
    """Compare every output of ``before`` with that of ``after`` on ``ids``, in several batch sizes.

    Raises:
        ParityError: an output of a model that both have differs in any bit.
    """
    for rows in BATCH_ROWS:
        for index in length_batches(ids, rows):
            batch = [ids[i] for i in index]
            new = after.outputs(batch)
            for name, was in before.outputs(batch).items():
                now = new[name][:, : was.shape[1]] if was.ndim > 1 else new[name]
                if not np.array_equal(now, was):
                    raise ParityError(
                        f"{name} of the older models would change by up to"
                        f" {np.abs(now - was).max():.3g}; run `routoo-export export` with the"
                        " checkpoint, then onboard again"
                    )


def _manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a version folder.

    Raises:
        ExportError: there is none.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: no usable manifest ({error}); export again") from error
    return manifest
