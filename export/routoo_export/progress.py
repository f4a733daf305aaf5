"""Reporting the progress of long work, independent of the way in which it is shown."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Called with the work done since the last call, and the loss where there is one."""

    def __call__(self, done: int, loss: float | None = None) -> None: ...


Stages = Callable[[str, int], AbstractContextManager[Advance]]
"""Starts a stage of work from its name and its amount; yields the function that advances it."""


@contextmanager
def silent(_task: str, _total: int) -> Iterator[Advance]:
    """Start a stage whose progress is not shown."""
    yield nothing


def nothing(done: int, loss: float | None = None) -> None:
    """Show no progress."""
