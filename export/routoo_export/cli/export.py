"""``routoo-export export``: writing a checkpoint as an artifact into a Triton repository."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from routoo_export.artifact.artifact import write_artifact
from routoo_export.artifact.triton_repository import FIRST_VERSION, renew_config, version_folder
from routoo_export.cli.common import (
    DEFAULT_CHECKPOINT,
    DEFAULT_REPOSITORY,
    AsJson,
    CheckpointFolder,
    Repository,
    print_result,
    use_threads,
)
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.graph.precision import Precision
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes
from routoo_export.outcomes.sources import read_training_outcomes
from routoo_export.training.checkpoint import load_checkpoint, read_metrics

NEXT = "next"
UNSTATED = "unstated"
BYTES_PER_MB = 1_000_000

StoredData = Annotated[
    Path | None,
    typer.Option(envvar="ROUTOO_DATA", help="Folder with the standard outcome sources."),
]
OwnOutcomes = Annotated[
    list[Path] | None,
    typer.Option(help="The outcomes trained on, instead of the standard sources; repeatable."),
]
Unjudged = Annotated[
    bool, typer.Option("--unjudged", help="Without metrics, where none can be had: logs, battles.")
]
Version = Annotated[
    str, typer.Option(help="Version to write, a number or 'next'. One that exists is replaced.")
]
MaxMegabytes = Annotated[
    float | None, typer.Option("--max-mb", min=0.0, help="Refuse a larger artifact (10^6 bytes).")
]
AtPrecision = Annotated[
    Precision, typer.Option(help="fp32; fp16 for GPUs; int8 for CPUs with VNNI.")
]


def export(  # noqa: PLR0913 - one parameter per option
    data: StoredData = None,
    checkpoint: CheckpointFolder = DEFAULT_CHECKPOINT,
    repository: Repository = DEFAULT_REPOSITORY,
    outcomes: OwnOutcomes = None,
    *,
    unjudged: Unjudged = False,
    precision: AtPrecision = "fp32",
    version: Version = NEXT,
    max_mb: MaxMegabytes = None,
    as_json: AsJson = False,
) -> None:
    """Write the ONNX artifact and its config.pbtxt; refuses what does not match the checkpoint."""
    folder = version_folder(repository, parse_version(version))
    use_threads(1)
    trained = load_checkpoint(checkpoint)
    metrics = {} if unjudged else read_metrics(checkpoint)
    most_bytes = None if max_mb is None else int(max_mb * BYTES_PER_MB)
    report = write_artifact(
        trained,
        _stored_prompts(data, outcomes),
        metrics,
        folder,
        precision=precision,
        most_bytes=most_bytes,
    )
    renew_config(repository)
    print_result({**asdict(report), "folder": str(report.folder)}, as_json=as_json)


def _stored_prompts(data: Path | None, outcomes: list[Path] | None) -> Outcomes:
    if outcomes:
        return merge_outcomes(
            [read_outcomes(path, name=path.stem, licence=UNSTATED) for path in outcomes]
        )
    if data is None:
        raise OutcomeError("no prompts to check on; give --outcomes FILE, or --data (ROUTOO_DATA)")
    return read_training_outcomes(data)


def parse_version(text: str) -> int | Literal["next"]:
    """Parse the number of a version, from 1 on, or "next".

    Raises:
        ExportError: the text is neither.
    """
    if text == NEXT:
        return cast('Literal["next"]', NEXT)
    if not (text.isascii() and text.isdigit() and int(text) >= FIRST_VERSION):
        raise ExportError(f"--version {text}: give a number from {FIRST_VERSION} on, or next")
    return int(text)
