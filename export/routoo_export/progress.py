"""How long work tells what it has done, without knowing who shows it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Called with how much has been done since the last call, and the loss where there is one."""

    def __call__(self, done: int, loss: float | None = None) -> None: ...


Stages = Callable[[str, int], AbstractContextManager[Advance]]
"""A stage of work: its name and how much there is to do -> the function that advances it."""


@contextmanager
def silent(_task: str, _total: int) -> Iterator[Advance]:
    """Shows nothing."""
    yield _ignore


def _ignore(done: int, loss: float | None = None) -> None:
    pass
