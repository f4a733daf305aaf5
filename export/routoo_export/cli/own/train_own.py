"""``routoo-export train`` without a backbone: rows of a team's own models, judged and written."""

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from routoo.errors import RoutooError
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.routing.pool import DEFAULT_POOL, Pool, load_pool
from routoo_export.artifact.own_artifact import write_own_artifact
from routoo_export.artifact.triton_repository import version_folder
from routoo_export.cli.common import print_result
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.own.judge import (
    ModelPrices,
    OwnFigures,
    cross_validate,
    judge,
    predict_held_out,
    true_costs,
)
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes
from routoo_export.training.own.train import OwnPredictor, OwnPrompts, train_own

OWN_REPOSITORY: Final = Path("artifacts/own")
UNSTATED: Final = "unstated"
_FIGURE_WIDTH: Final = 13
HEADINGS: Final = {
    "auc": "AUC over tasks",
    "auc_within": "AUC within tasks",
    "points": "points over best single",
    "full_cost_points": "points at its cost",
    "half_cost_points": "points at half its cost",
    "cost_share": "its quality at cost share",
    "ece": "ECE",
}


def train_on_own(
    files: list[Path],
    repository: Path,
    *,
    artifact: Path | None = None,
    prices: Path | None = None,
    test: list[Path] | None = None,
    judged: bool = True,
    as_json: bool = False,
) -> None:
    """Fit rows to the outcomes of ``files``, judge them, and write the next version.

    Raises:
        ExportError: a file does not fit, or the artifact has no table of models.
    """
    try:
        base = load_artifact(find_artifact(artifact))
    except RoutooError as error:
        raise ExportError(str(error)) from error
    outcomes = read_own(files)
    own = OwnPrompts.read(outcomes, base)
    listed = find_prices(prices, outcomes)
    figures: dict[str, OwnFigures] = {}
    if test:
        asked = OwnPrompts.read(same_models(read_own(test), outcomes.models), base)
        figures = judge(asked, predict_held_out(own, asked, listed), true_costs(asked, listed))
    elif judged:
        figures = judge(own, cross_validate(own, listed), true_costs(own, listed))
    trained = train_own(own, None if listed is None else listed.usd_per_million)
    folder = version_folder(repository, "next")
    metrics = {method: _plain(found) for method, found in figures.items()}
    version = write_own_artifact(folder, base, trained, own, metrics)
    notes = _notes(trained, outcomes)
    if as_json:
        written = {"folder": str(folder), "version": version}
        print_result({**written, "figures": metrics, "notes": notes}, as_json=True)
        return
    if figures:
        _print_figures(figures)
    for note in notes:
        typer.echo(note)
    typer.echo(f"wrote {folder}; serve it with predictor.artifact: {folder}")


def read_own(files: list[Path]) -> Outcomes:
    """Read and join outcome files; columns of all files together are the models."""
    return merge_outcomes([read_outcomes(path, name=path.stem, licence=UNSTATED) for path in files])


def same_models(outcomes: Outcomes, models: tuple[str, ...]) -> Outcomes:
    """The outcomes with the columns of ``models``; others are left out, missing ones are NaN.

    Raises:
        OutcomeError: none of the models is among them.
    """
    if not set(outcomes.models) & set(models):
        raise OutcomeError(
            f"--test has none of the models that are trained on, as {models[0]!r}; name them alike"
        )
    empty = Outcomes(
        (), (), models, *(np.zeros((0, len(models))),) * 3, (), (), np.zeros(0, np.int64), (), ()
    )
    joined = merge_outcomes([empty, outcomes])
    scores = np.ascontiguousarray(joined.scores[:, : len(models)])
    return Outcomes(
        joined.prompt_ids,
        joined.prompts,
        models,
        scores,
        joined.output_tokens[:, : len(models)],
        joined.cost_usd[:, : len(models)],
        joined.domains,
        joined.duplicate_groups,
        joined.buckets,
        joined.source_names,
        joined.sources,
    )


def find_prices(path: Path | None, outcomes: Outcomes) -> ModelPrices | None:
    """Prices of the outcomes' models: of a file, or else of the shipped pool if it has all.

    Args:
        path: CSV with the columns model, usd_per_1M_input and usd_per_1M_output; or a pool file.
        outcomes: The outcomes.

    Raises:
        OutcomeError: the file cannot be read, or lacks a model.
    """
    if path is not None and path.suffix == ".csv":
        return ModelPrices(_listed(path, outcomes.models))
    try:
        pool = load_pool(DEFAULT_POOL if path is None else path)
    except RoutooError as error:
        raise OutcomeError(str(error)) from error
    known = _of_pool(pool)
    missing = [name for name in outcomes.models if name not in known]
    if not missing:
        return ModelPrices(np.array([known[name] for name in outcomes.models]))
    if path is None:
        return None
    raise OutcomeError(f"{path}: has no price of {missing[0]!r}; add it")


def _of_pool(pool: Pool) -> dict[str, tuple[float, float]]:
    return {
        name: (model.usd_per_1m_input_tokens, model.usd_per_1m_output_tokens)
        for model in pool.models
        for name in (model.name, model.predictor_name)
        if name
    }


def _listed(path: Path, models: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = {row["model"]: row for row in csv.DictReader(lines)}
        found = [
            (float(rows[name]["usd_per_1M_input"]), float(rows[name]["usd_per_1M_output"]))
            for name in models
        ]
    except (OSError, ValueError) as error:
        raise OutcomeError(f"{path}: not a list of prices ({error})") from error
    except KeyError as error:
        raise OutcomeError(
            f"{path}: has no {error}; it needs columns model, usd_per_1M_input, usd_per_1M_output"
            " and a row for each model"
        ) from error
    prices = np.array(found, dtype=np.float64)
    if not (np.isfinite(prices) & (prices >= 0.0)).all():
        raise OutcomeError(f"{path}: a price is not a number of USD, 0 or more; correct it")
    return prices


def _notes(trained: OwnPredictor, outcomes: Outcomes) -> list[str]:
    notes = []
    assumed = [trained.models[at] for at in trained.lengths.assumed.tolist()]
    if assumed:
        named = "all models" if len(assumed) == len(trained.models) else ", ".join(assumed)
        notes.append(
            f"no lengths of {named}: output tokens are the artifact's by task; record out_tokens"
            " for better costs"
        )
    if np.isnan(outcomes.cost_usd).any(axis=1).all():
        notes.append("no prompt has the cost of every model; record cost_usd, or give --prices")
    return notes


def _plain(figures: OwnFigures) -> dict[str, Any]:
    return {
        name: {"value": found["value"], "se": found["se"]}
        for name, found in asdict(figures).items()
        if found is not None and np.isfinite([found["value"], found["se"]]).all()
    }


def _print_figures(figures: dict[str, OwnFigures]) -> None:
    shown = [
        one.name
        for one in fields(OwnFigures)
        if any(getattr(found, one.name) is not None for found in figures.values())
    ]
    # A name that is cut tells nothing: a file may be as wide as it has to be, and in a terminal
    # that is too narrow there are several tables, one under the other.
    console = Console()
    longest = max(map(len, figures))
    room = max((console.width - longest) // (_FIGURE_WIDTH + 2), 1)
    if not console.is_terminal:
        room = len(shown)
    console.width = max(console.width, longest + (_FIGURE_WIDTH + 2) * min(room, len(shown)))
    for start in range(0, len(shown), room):
        part = shown[start : start + room]
        table = Table(box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        for name in part:
            table.add_column(HEADINGS[name], justify="right", min_width=_FIGURE_WIDTH)
        for method, found in figures.items():
            table.add_row(method, *(_shown(name, getattr(found, name)) for name in part))
        console.print(table)


def _shown(name: str, estimate: Estimate | None) -> str:
    if estimate is None or not np.isfinite(estimate.value):
        return "-"
    decimals = 2 if name.endswith("points") or name == "cost_share" else 3
    return f"{estimate.value:.{decimals}f} ± {estimate.se:.{decimals}f}"
