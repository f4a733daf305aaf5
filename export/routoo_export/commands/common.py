"""What the commands share: options, threads, progress, output."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from threadpoolctl import threadpool_limits

Data = Annotated[
    Path, typer.Option(envvar="ROUTOO_DATA", help="Folder with the outcome parquet files.")
]
CheckpointFolder = Annotated[Path, typer.Option(help="Folder of the trained checkpoint.")]
Repository = Annotated[Path, typer.Option(help="Triton model repository to write into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; results may depend on it.")]

DEFAULT_CHECKPOINT: Final = Path("artifacts/predictor")
DEFAULT_REPOSITORY: Final = Path("model_repository")


def use_threads(threads: int) -> None:
    """Bounds torch's threads and BLAS's: sums in another order end in another predictor."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """One JSON object, or a table of the same figures."""
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
def progress_bar(task: str, total: int) -> Iterator[Callable[[int], None]]:
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
