"""``routoo-export train`` on logged decisions: rows in force, corrected by reports."""

from pathlib import Path

import pyarrow.parquet as pq
import typer

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo_export.artifact.table_file import write_version
from routoo_export.artifact.triton_repository import version_folder
from routoo_export.cli.common import print_result
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.outcomes.outcomes import UNKNOWN_LICENCE, read_metadata
from routoo_export.training.own.logged import fit_log
from routoo_export.training.own.train import OwnPrompts
from routoo_export.training.supervision.partial_feedback import read_logged

PROPENSITY = "propensity"


def is_logged(files: list[Path]) -> bool:
    """Whether outcomes are logged decisions, which have propensities.

    Raises:
        OutcomeError: some files have them and others do not, or one cannot be read.
    """
    try:
        having = [PROPENSITY in pq.read_schema(path).names for path in files]
    except (OSError, ValueError) as error:
        raise OutcomeError(f"{files[0]}: cannot be read ({error})") from error
    if any(having) and len(files) > 1:
        raise OutcomeError(
            "logged decisions are trained on from one file, alone; convert all logs into one:"
            " routoo-export data convert LOG... --format decision-log"
        )
    return any(having)


def train_on_log(
    files: list[Path], repository: Path, *, artifact: Path | None = None, as_json: bool = False
) -> None:
    """Correct the rows of an artifact by a log, and write the next version.

    Raises:
        ExportError: the file does not fit, or the artifact has no table of models.
    """
    try:
        base = load_artifact(find_artifact(artifact))
    except RoutooError as error:
        raise ExportError(str(error)) from error
    (path,) = files
    said = read_metadata(path)
    name, licence = said.get("name", path.stem), said.get("licence", UNKNOWN_LICENCE)
    log = read_logged(path, name=name, licence=licence)
    own = OwnPrompts.read(log.outcomes, base)
    fitted = fit_log(own, log)
    folder = version_folder(repository, "next")
    write_version(base, fitted.corrected(own.table), folder)
    models = fitted.models
    told = {
        "folder": str(folder),
        "version": load_artifact(folder).version,
        "decisions": dict(zip(models, fitted.decisions, strict=True)),
        "log_loss": fitted.log_loss,
        "log_loss_common_part_alone": fitted.log_loss_before,
        "reach": {"models": fitted.reach[0], "models_by_task": fitted.reach[1]},
        "effective_decisions": fitted.weights.effective_sample_size,
    }
    print_result(told, as_json=as_json)
    if not as_json:
        typer.echo(f"wrote {folder}; serve it with predictor.artifact: {folder}")
