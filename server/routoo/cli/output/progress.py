"""Progress of a command that works in steps: a bar per step on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TextIO, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

_Item = TypeVar("_Item")


class Phases:
    """Shows phases of work, a context manager: one runs at a time, finished ones stay visible.

    Args:
        terminal: the stream to draw on; None: nothing is drawn.
    """

    def __init__(self, terminal: TextIO | None) -> None:
        self._progress = None if terminal is None else _progress(terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            if error is None:
                self._progress.console.print()

    def start(self, text: str, total: int | None = None) -> None:
        """Begins a phase of ``total`` items; None: the bar only shows that work goes on."""
        if self._progress is not None:
            self._task = self._progress.add_task(text, total=total)

    def finish(self, text: str) -> None:
        """Ends the phase; ``text`` says what was done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=text, total=1, completed=1)

    def track(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Passes the items on and counts them as the phase's progress."""
        if self._progress is None or self._task is None:
            yield from items
        else:
            # Without ``total``, track would replace the task's own by a guess.
            total = self._progress.tasks[self._task].total
            yield from self._progress.track(items, total=total, task_id=self._task)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on a terminal that one piece of work goes on, and takes it away when it is done."""
    if not sys.stderr.isatty():
        yield
        return
    with _progress(sys.stderr, transient=True) as progress:
        progress.add_task(text, total=None)
        yield


def _progress(terminal: TextIO, *, transient: bool = False) -> Progress:
    from rich.console import Console  # noqa: PLC0415 - slow; a pipe needs no rich
    from rich.progress import (  # noqa: PLC0415 - slow; a pipe needs no rich
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        SpinnerColumn(finished_text="✓"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(file=terminal),
        transient=transient,
    )
