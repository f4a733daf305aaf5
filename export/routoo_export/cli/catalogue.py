"""``routoo-export catalogue``: building the table of models, judging it, placing a new model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from routoo_export.catalogue.build import build_catalogue
from routoo_export.catalogue.evaluate import evaluate_catalogue, summarise
from routoo_export.catalogue.measurements import gather, read_evidence
from routoo_export.catalogue.placement import Likeness, place
from routoo_export.catalogue.table import read_catalogue, write_catalogue
from routoo_export.cli.common import AsJson, Data, print_result
from routoo_export.errors import CatalogueError

catalogue_app = typer.Typer(
    help="Estimate what each model can do, and place new ones.", no_args_is_help=True
)

CatalogueFile = Annotated[Path, typer.Option("--catalogue", help="Catalogue, an npz file.")]


@catalogue_app.command()
def build(
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .npz.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Build the catalogue from all sources that may ship."""
    catalogue = build_catalogue(data)
    write_catalogue(out, catalogue)
    figures = {
        "models": len(catalogue.names),
        "tasks": len(catalogue.tasks),
        "tests": len(catalogue.test_name),
    }
    print_result(figures, as_json=as_json)


@catalogue_app.command()
def evaluate(data: Data, *, as_json: AsJson = False) -> None:
    """Leave out each source in turn, and predict its scores from all others."""
    evidence = read_evidence(data, shipping=False)
    results = evaluate_catalogue(gather(evidence.tests, evidence.facts))
    figures: dict[str, Any] = {one.source: asdict(one) for one in results}
    print_result({**figures, "summary": asdict(summarise(results))}, as_json=as_json)


@catalogue_app.command(name="place")
def place_model(  # noqa: PLR0913 - one parameter per option
    name: Annotated[str, typer.Argument(help="Name of the new model, provider/name@effort.")],
    catalogue: CatalogueFile,
    *,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="livebench.Mathematics=78.3; may be repeated.")
    ] = None,
    graded: Annotated[
        list[str] | None, typer.Option(help="code_generate=0.8/25, mean score / prompts; repeat.")
    ] = None,
    similar: Annotated[str | None, typer.Option(help="A model of the catalogue.")] = None,
    distance: Annotated[float, typer.Option(help="From it; 0.25 = other effort level.")] = 0.5,
    release: Annotated[float | None, typer.Option(help="Year, as 2026.5.")] = None,
    params_b: Annotated[float | None, typer.Option(help="Parameters in billions.")] = None,
    force: Annotated[bool, typer.Option(help="Take evidence that contradicts itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Place a new model by graded prompts, published averages or a similar model."""
    table = read_catalogue(catalogue)
    placed = place(
        table,
        name,
        graded={task: _graded(text) for task, text in map(named_value, graded or [])},
        benchmarks={test: number_of(text) for test, text in map(named_value, benchmark or [])},
        similar=None if similar is None else Likeness(similar, distance),
        release=release,
        params_b=params_b,
        force=force,
    )
    std = placed.score_var**0.5
    figures = {
        task: {"value": float(placed.score_mean[at]), "se": float(std[at])}
        for at, task in enumerate(table.tasks)
    }
    print_result(figures, as_json=as_json)


def named_value(text: str) -> tuple[str, str]:
    name, found, value = text.rpartition("=")
    if not found:
        raise CatalogueError(f"{text}: give NAME=VALUE")
    return name, value


def _graded(text: str) -> tuple[float, int]:
    mean, _, prompts = text.partition("/")
    if not prompts.isdigit():
        raise CatalogueError(f"{text}: give the mean score and the number of prompts, as 0.8/25")
    return number_of(mean), int(prompts)


def number_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CatalogueError(f"{text!r} is not a number") from None
