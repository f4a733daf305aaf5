"""Options, threads, progress and output that the commands share."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from threadpoolctl import threadpool_limits

from routoo.cli.output.render import Facts, show
from routoo_export.progress import Advance

Data = Annotated[
    Path, typer.Option(envvar="ROUTOO_DATA", help="Folder with the outcome parquet files.")
]
CheckpointFolder = Annotated[Path, typer.Option(help="Folder of the trained checkpoint.")]
Repository = Annotated[Path, typer.Option(help="Triton model repository to write into.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[
    int, typer.Option(min=1, max=1024, help="CPU threads; results may depend on it.")
]

DEFAULT_CHECKPOINT: Final = Path("artifacts/predictor")
DEFAULT_REPOSITORY: Final = Path("model_repository")
LOG_PERIOD_S: Final = 60.0


def use_threads(threads: int) -> None:
    """Set the threads of torch and of BLAS: sums in another order lead to another predictor."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print one JSON object, or the same figures, a line each."""
    if as_json:
        typer.echo(json.dumps(result))
        return
    show([Facts(_flat("", result))], sys.stdout)


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    """Flatten nested figures into rows; an estimate is one row "value ± se"."""
    if not isinstance(value, dict):
        return [(prefix, f"{value:.4g}" if isinstance(value, float) else str(value))]
    if value.keys() >= {"value", "se"} and None not in (value["value"], value["se"]):
        return [(prefix, f"{value['value']:.4f} ± {value['se']:.4f}")]
    return [
        row for key, inner in value.items() for row in _flat(f"{prefix}.{key}".strip("."), inner)
    ]


@contextmanager
def progress_bar(task: str, total: int) -> Iterator[Advance]:
    """Show work done, time left and the loss on stderr; yields the function that advances it.

    It is a bar while stderr is a terminal, and otherwise one line per minute.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(task, total)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
        transient=True,
    )
    with bar:
        handle = bar.add_task(task, total=total, loss="")

        def advance(done: int, loss: float | None = None) -> None:
            bar.update(handle, advance=done)
            if loss is not None:
                bar.update(handle, loss=f"loss {loss:.4f}")

        yield advance


class _Log:
    """Progress as lines, for a stderr that is not a terminal."""

    def __init__(self, task: str, total: int) -> None:
        self._task, self._total, self._done = task, total, 0
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, loss: float | None = None) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._last < LOG_PERIOD_S:
            return
        self._last = now
        left_s = (now - self._start) / max(self._done, 1) * (self._total - self._done)
        shown = "" if loss is None else f", loss {loss:.4f}"
        line = f"{self._task}: {self._done}/{self._total}, {left_s / 60:.0f} min left{shown}"
        typer.echo(line, err=True)
