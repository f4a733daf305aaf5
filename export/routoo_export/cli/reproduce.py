"""``routoo-export reproduce``: testing the claims of the Routoo paper on published outcomes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from routoo_export.backbones.base import Backbone, Kind
from routoo_export.backbones.compute import Device, choose_compute
from routoo_export.backbones.config import DEFAULTS
from routoo_export.cli.common import AsJson, Data, Threads, print_result, progress_bar, use_threads
from routoo_export.errors import ExportError
from routoo_export.evaluation.reproduce import CaseResult, Material, read_material, reproduce
from routoo_export.training.checkpoint import load_checkpoint
from routoo_export.training.heads.rows import Rows, make_rows
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import Recipe, Workplace, train_backbone
from routoo_export.training.recipes import quick_recipe
from routoo_export.training.supervision.supervision import GradedSupervision

DEFAULT_RESULTS: Final = Path("docs/results")
PAGE_FILE: Final = "reproduction.md"
FIGURES_FILE: Final = "reproduction.json"

Backbones = Annotated[
    list[str] | None,
    typer.Option(metavar="|".join(DEFAULTS), help="Whose features to take, untuned; repeatable."),
]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        help="Also take the backbone, tuned or not, of this checkpoint; its row has the folder's "
        "name. Repeatable."
    ),
]


def reproduce_paper(  # noqa: PLR0913 - one parameter per option
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = DEFAULT_RESULTS,
    backbone: Backbones = None,
    checkpoint: Checkpoints = None,
    device: Annotated[Device, typer.Option(help="Where a transformer runs.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps a transformer's features.")
    ] = None,
    *,
    seed: Annotated[int, typer.Option(help="Same seed, same table.")] = TrainConfig().seed,
    quick: Annotated[bool, typer.Option(help="Much smaller, for trying things out.")] = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Judge the claims of the Routoo paper on pools of real outcomes."""
    use_threads(threads)
    heads = replace(TrainConfig().quick() if quick else TrainConfig(), seed=seed)
    recipes = {kind: Recipe(DEFAULTS[kind], heads) for kind in _kinds(backbone or ["static"])}
    if quick:
        recipes = {kind: quick_recipe(recipe) for kind, recipe in recipes.items()}
    material = read_material(data)
    workplace = Workplace(choose_compute(device), cache, stages=progress_bar)
    features = _features(material, recipes, checkpoint or [], workplace)
    epochs = len(features) * (heads.members + heads.shrink_groups) * heads.epochs
    with progress_bar("training", epochs) as advance:
        results = reproduce(material, features, heads, advance)
    _write(results, out)
    claims = {result.case.key: result.figures["claims"] for result in results}
    figures = {result.case.key: result.figures for result in results}
    print_result(figures if as_json else claims, as_json=as_json)


def _kinds(names: list[str]) -> list[Kind]:
    kinds = [kind for kind in DEFAULTS if kind in names]
    if unknown := set(names).difference(kinds):
        raise ExportError(f"--backbone {min(unknown)} is none of {', '.join(DEFAULTS)}")
    return kinds


def _features(
    material: Material,
    recipes: Mapping[Kind, Recipe],
    checkpoints: list[Path],
    workplace: Workplace,
) -> dict[str, Rows]:
    """Features of all prompts, by the name of the backbone; it trains on training prompts only."""
    outcomes, supervision = material.outcomes, GradedSupervision(material.outcomes)
    backbones: dict[str, Backbone] = {
        kind: train_backbone(supervision, material.train, recipe, workplace)
        for kind, recipe in recipes.items()
    }
    for folder in checkpoints:
        # Folder names are the rows' names, and rows of the same name would be merged.
        if folder.name in backbones:
            raise ExportError(
                f"--checkpoint {folder}: {folder.name} is in the table already; rename it"
            )
        backbones[folder.name] = load_checkpoint(folder).backbone
    seed = next(iter(recipes.values())).heads.seed
    return {
        name: make_rows(outcomes, one, seed, workplace.extract) for name, one in backbones.items()
    }


def _write(results: list[CaseResult], folder: Path) -> None:
    # matplotlib takes a second to import.
    from routoo_export.evaluation.report.reproduction import (  # noqa: PLC0415
        FIGURE_FILE,
        plot_reproduction,
        render_reproduction,
    )

    figures = {result.case.key: result.figures for result in results}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FIGURE_FILE).write_bytes(plot_reproduction(results))
        (folder / PAGE_FILE).write_text(render_reproduction(results), encoding="utf-8")
        text = json.dumps(figures, indent=1) + "\n"
        (folder / FIGURES_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{folder}: the results cannot be written ({error})") from error
