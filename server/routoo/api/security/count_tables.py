"""The tables of numbers that the workers of one service share, in a file that all of them map.

Each worker has a table of its own in the file, which it alone writes. So there is no lock, and a
worker that is frozen or killed at any point holds up no other one. A number takes eight bytes at a
multiple of eight, which processors write and read as a whole.

The file outlives its workers: one that is started again finds what was counted in its place. Only
when a worker's process has ended does another one, the supervisor, write into its table.
"""

from __future__ import annotations

import mmap
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

PLACES: Final = 10_000
"""Clients that each worker may count at a time."""
NUMBER_BYTES: Final = 8
_COLUMNS: Final = 4


class CountTables:
    """The numbers in the file, each column over the tables of all workers.

    Attributes:
        changes: int64 [workers], how often each worker's clients have changed.
        keys: uint64 [workers * PLACES], what stands for each client; 0: the place is free.
        running: int64, calls in progress.
        taken: float64, seconds that prompts took.
        idle: float64, idle seconds, see ``client_limits``.

    Args:
        path: the file; made with nothing counted if there is none.
        workers: the number of workers.
    """

    def __init__(self, path: Path, workers: int) -> None:
        size = NUMBER_BYTES * workers * (1 + _COLUMNS * PLACES)
        with path.open("ab+") as file:
            file.truncate(size)
            mapped = memoryview(mmap.mmap(file.fileno(), size))
        starts = [NUMBER_BYTES * workers * (1 + column * PLACES) for column in range(_COLUMNS + 1)]
        self.changes: Any = mapped[: starts[0]].cast("q")
        parts = [mapped[start:end] for start, end in pairwise(starts)]
        self.keys: Any = parts[0].cast("Q")
        self.running: Any = parts[1].cast("q")
        self.taken: Any = parts[2].cast("d")
        self.idle: Any = parts[3].cast("d")

    def end_calls(self, index: int) -> None:
        """Sets the calls in progress of a worker to 0."""
        none = memoryview(bytes(NUMBER_BYTES * PLACES)).cast("q")
        self.running[index * PLACES : (index + 1) * PLACES] = none


def end_calls(path: Path, index: int, workers: int) -> None:
    """Ends the calls that a worker had in progress when its process ended."""
    CountTables(path, workers).end_calls(index)
