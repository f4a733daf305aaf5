"""`routoo-export export` and `repository`: checkpoint -> artifact in a Triton repository."""

import json
from dataclasses import asdict

from routoo_export.artifact import write_artifact
from routoo_export.checkpoint import load_checkpoint, read_metrics
from routoo_export.commands.common import (
    DEFAULT_CHECKPOINT,
    DEFAULT_REPOSITORY,
    AsJson,
    CheckpointFolder,
    Data,
    Repository,
    print_result,
    use_threads,
)
from routoo_export.errors import ExportError
from routoo_export.repository import version_folder, write_repository
from routoo_export.sources import read_training_outcomes


def export(
    data: Data,
    checkpoint: CheckpointFolder = DEFAULT_CHECKPOINT,
    repository: Repository = DEFAULT_REPOSITORY,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the ONNX artifact and its config.pbtxt; refuses what does not match the checkpoint."""
    use_threads(1)
    trained = load_checkpoint(checkpoint)
    metrics = read_metrics(checkpoint)
    outcomes = read_training_outcomes(data)
    report = write_artifact(trained, outcomes, metrics, version_folder(repository))
    write_repository(repository, len(trained.record.models))
    print_result({**asdict(report), "folder": str(report.folder)}, as_json=as_json)


def repository_config(
    repository: Repository = DEFAULT_REPOSITORY, *, as_json: AsJson = False
) -> None:
    """Rewrite config.pbtxt for the artifact that lies in the repository."""
    manifest = version_folder(repository) / "manifest.json"
    try:
        models = len(json.loads(manifest.read_text(encoding="utf-8"))["models"])
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"{manifest}: no usable manifest ({error}); export first") from error
    path = write_repository(repository, models)
    print_result({"config": str(path), "models": models}, as_json=as_json)
