"""`routoo-export`: outcomes -> checkpoint -> metrics -> artifact in a Triton repository."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from threadpoolctl import threadpool_limits

from routoo_export.artifact import write_artifact
from routoo_export.checkpoint import (
    METRICS_FILE,
    load_checkpoint,
    read_metrics,
    save_checkpoint,
)
from routoo_export.errors import ExportError
from routoo_export.evaluate import evaluate, evaluation_epochs
from routoo_export.pipeline import train_predictor
from routoo_export.repository import version_folder, write_repository
from routoo_export.sources import PROTOCOL, read_prices, read_training_outcomes
from routoo_export.train import TrainConfig

EXIT_BAD_INPUT: Final = 2

app = typer.Typer(
    help="Train, judge and export Routoo's performance predictor.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Path, typer.Option(envvar="ROUTOO_DATA", help="Folder with the outcome parquet files.")
]
Checkpoint = Annotated[Path, typer.Option(help="Folder of the trained checkpoint.")]
Repository = Annotated[Path, typer.Option(help="Triton model repository to write into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quick = Annotated[bool, typer.Option(help="A much smaller model, for trying things out.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; results may depend on it.")]

DEFAULT_CHECKPOINT: Final = Path("artifacts/predictor")
DEFAULT_REPOSITORY: Final = Path("model_repository")


@app.command()
def train(
    data: Data,
    out: Checkpoint = DEFAULT_CHECKPOINT,
    *,
    seed: Annotated[int, typer.Option(help="Same seed, same predictor.")] = TrainConfig().seed,
    judge: Annotated[bool, typer.Option(help="Evaluate afterwards, as export requires.")] = True,
    quick: Quick = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train and calibrate the predictor, then evaluate it."""
    _use_threads(threads)
    config = replace(TrainConfig().quick() if quick else TrainConfig(), seed=seed)
    outcomes = read_training_outcomes(data)
    with _progress("training", config.members * config.epochs) as advance:
        checkpoint = train_predictor(outcomes, config, advance)
    save_checkpoint(checkpoint, out)
    metrics = _judge(data, out) if judge else {}
    _print({"checkpoint": str(out), "config": asdict(config), "metrics": metrics}, as_json=as_json)


@app.command(name="evaluate")
def evaluate_command(
    data: Data,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    *,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Judge a checkpoint: cross-validation, domains left out, test split, baselines."""
    _use_threads(threads)
    _print(_judge(data, checkpoint), as_json=as_json)


@app.command()
def export(
    data: Data,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    repository: Repository = DEFAULT_REPOSITORY,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the ONNX artifact and its config.pbtxt; refuses what does not match the checkpoint."""
    _use_threads(1)
    trained = load_checkpoint(checkpoint)
    metrics = read_metrics(checkpoint)
    outcomes = read_training_outcomes(data)
    report = write_artifact(trained, outcomes, metrics, version_folder(repository))
    write_repository(repository, len(trained.record.models))
    _print({**asdict(report), "folder": str(report.folder)}, as_json=as_json)


@app.command(name="repository")
def repository_command(
    repository: Repository = DEFAULT_REPOSITORY, *, as_json: AsJson = False
) -> None:
    """Rewrite config.pbtxt for the artifact that lies in the repository."""
    manifest = version_folder(repository) / "manifest.json"
    try:
        models = len(json.loads(manifest.read_text(encoding="utf-8"))["models"])
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"{manifest}: no usable manifest ({error}); export first") from error
    path = write_repository(repository, models)
    _print({"config": str(path), "models": models}, as_json=as_json)


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    try:
        app()
    except ExportError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)


def _use_threads(threads: int) -> None:
    """Bounds torch's threads and BLAS's: sums in another order end in another predictor."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _judge(data: Path, folder: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(folder)
    outcomes = read_training_outcomes(data)
    prices = read_prices(data, outcomes.models)
    with _progress("evaluating", evaluation_epochs(checkpoint.record.config)) as advance:
        metrics = evaluate(checkpoint, outcomes, prices, PROTOCOL, advance)
    text = json.dumps(metrics, indent=2) + "\n"
    (folder / METRICS_FILE).write_text(text, encoding="utf-8")
    return metrics


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    table = Table(show_header=False)
    for name, value in _flat("", result):
        table.add_row(name, value)
    Console().print(table)


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    """Nested figures as rows; an estimate is one row "value +- se"."""
    if not isinstance(value, dict):
        return [(prefix, f"{value:.4g}" if isinstance(value, float) else str(value))]
    if value.keys() == {"value", "se"} and None not in value.values():
        return [(prefix, f"{value['value']:.4f} ± {value['se']:.4f}")]
    return [
        row for key, inner in value.items() for row in _flat(f"{prefix}.{key}".strip("."), inner)
    ]


@contextmanager
def _progress(task: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while it is a terminal; yields the function that advances it."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        handle = bar.add_task(task, total=total)
        yield lambda epochs: bar.advance(handle, epochs)
