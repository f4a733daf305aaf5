"""``routoo-export onboard``: a row for a new model in an artifact's table of models."""

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from routoo.predictor.artifact import Artifact, find_artifact, load_artifact
from routoo.predictor.model_table import ModelTable
from routoo_export.artifact.new_row import (
    GradedFile,
    NewcomerEvidence,
    NewRow,
    free_name,
    like_model,
    new_row,
)
from routoo_export.artifact.recognise import model_table, recognise
from routoo_export.artifact.table_file import (
    artifact_catalogue,
    with_row,
    write_in_place,
    write_next_version,
)
from routoo_export.catalogue.placement import Likeness
from routoo_export.cli.catalogue import named_value, number_of
from routoo_export.cli.common import AsJson, print_result
from routoo_export.errors import CatalogueError, OutcomeError
from routoo_export.outcomes.outcomes import read_outcomes

OLDEST: Final = 2018.0
NEWEST: Final = 2100.0
MONTHS: Final = 12

NewName = Annotated[str, typer.Argument(help="Name of the new model, provider/name@effort.")]
ArtifactFolder = Annotated[
    Path | None,
    typer.Option("--artifact", help="Version folder, or folder of versions. Default: the shipped."),
]
Graded = Annotated[
    Path | None,
    typer.Option(
        help="Parquet file with graded prompts of the model; other models of the table in it"
        " equate the grader."
    ),
]
Column = Annotated[
    str | None, typer.Option(help="The model's name in --outcomes, where it has another.")
]
Benchmark = Annotated[
    list[str] | None, typer.Option(help="Published average, livebench.Mathematics=78.3; repeat.")
]
Like = Annotated[str | None, typer.Option(help="A model of the table that it resembles.")]
Distance = Annotated[float, typer.Option(help="From it; 0.25 = another effort level.")]
Release = Annotated[str | None, typer.Option(help="Of the model, as 2026-05 or 2026.4.")]
ParamsB = Annotated[float | None, typer.Option(help="Parameters in billions.")]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Change models.npz itself, not a copy of the folder.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Renew the row of a model that is there.")]
Force = Annotated[bool, typer.Option("--force", help="Take evidence that contradicts itself.")]


def onboard(  # noqa: PLR0913 - one parameter per option
    name: NewName,
    artifact: ArtifactFolder = None,
    *,
    outcomes: Graded = None,
    column: Column = None,
    benchmark: Benchmark = None,
    like: Like = None,
    distance: Distance = 0.3,
    release: Release = None,
    params_b: ParamsB = None,
    in_place: InPlace = False,
    replace: Replace = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Add a model to a predictor by what is known of it; no other model's row changes."""
    loaded = load_artifact(find_artifact(artifact))
    table, catalogue = model_table(loaded), artifact_catalogue(loaded)
    taken = free_name(table, name, replace=replace)
    evidence = NewcomerEvidence(
        graded=None if outcomes is None else _graded(outcomes, column or name, loaded),
        benchmarks=_benchmarks(benchmark or []),
        similar=None if like is None else Likeness(like_model(table, like), distance),
        release=None if release is None else _year(release),
        params_b=_size(params_b),
    )
    row = new_row(table, catalogue, taken, evidence, force=force)
    grown = with_row(table, row)
    folder = write_in_place(loaded, grown) if in_place else write_next_version(loaded, grown)
    version = load_artifact(folder).version
    print_result(
        {**_report(row, grown), "folder": str(folder), "version": version}, as_json=as_json
    )


def _graded(path: Path, name: str, artifact: Artifact) -> GradedFile:
    """Read the graded prompts and recognise them.

    Raises:
        OutcomeError: the file has no scores of the model.
    """
    outcomes = read_outcomes(path)
    if name not in outcomes.models:
        named = ", ".join(outcomes.models)
        raise OutcomeError(f"{path}: no outcomes of {name!r}; name one by --column: {named}")
    column = outcomes.models.index(name)
    if not np.isfinite(outcomes.scores[:, column]).any():
        raise OutcomeError(f"{path}: no score of {name!r}; grade at least one prompt")
    return GradedFile(outcomes, column, recognise(artifact, outcomes.prompts))


def _benchmarks(texts: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for test, text in map(named_value, texts):
        if test in found:
            raise CatalogueError(f"{test} is given twice; give it once")
        found[test] = number_of(text)
    return found


def _year(text: str) -> float:
    year, dash, month = text.partition("-")
    value = number_of(year)
    if dash:
        value += (number_of(month) - 0.5) / MONTHS
    if not OLDEST <= value <= NEWEST or (dash and not 1.0 <= number_of(month) <= MONTHS):
        raise CatalogueError(f"--release {text}: write a month as 2026-05, or a year as 2026.4")
    return value


def _size(params_b: float | None) -> float | None:
    if params_b is not None and not 0.0 < params_b < np.inf:
        raise CatalogueError(f"--params-b {params_b}: give the parameters in billions, above 0")
    return params_b


def _report(row: NewRow, table: ModelTable) -> dict[str, Any]:
    at = table.index[row.name]
    means = table.score_mean.mean(axis=1)
    return {
        "model": row.name,
        "graded_prompts": row.graded_prompts,
        "graded_lengths": row.graded_lengths,
        "equated_by": list(row.equated_by),
        "score": float(means[at]),
        "score_std": float(np.sqrt(table.score_var[at].mean())),
        "rank": int((means > means[at]).sum()) + 1,
        "models": len(means),
        "output_tokens": float(np.exp(table.log_tokens[at]).mean()),
        "tasks": {
            task: {
                "value": float(table.score_mean[at, place]),
                "se": float(np.sqrt(table.score_var[at, place])),
            }
            for place, task in enumerate(table.tasks)
        },
    }
