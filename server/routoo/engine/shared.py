"""What engines that take turns share: the threads they work on, and the numbering of decisions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from os import urandom
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAG_BYTES = 4
_TAG_SIGNS = 2 * _TAG_BYTES

Result = TypeVar("Result")


class Shared:
    """Made once per service.

    Args:
        ids: where decision ids come from.

    Attributes:
        ids: likewise.
        predict: one thread: a predictor has one caller at a time, whichever engine asks it.
        solve: one thread for joint solutions, so that a large batch holds up no single request.
        books: for what may wait for the ledger and is no decision.
    """

    def __init__(self, ids: DecisionIds) -> None:
        self.ids = ids
        self.predict = ThreadPoolExecutor(1, "routoo-predict")
        self.solve = ThreadPoolExecutor(1, "routoo-solve")
        self.books = ThreadPoolExecutor(2, "routoo-books")

    def stop_work(self) -> None:
        """Drops what has not begun; what is at work goes on, ``books`` take more."""
        self.predict.shutdown(wait=False, cancel_futures=True)
        self.solve.shutdown(wait=False, cancel_futures=True)

    def close_books(self) -> None:
        """Waits for the last entry."""
        self.books.shutdown(wait=True)


class DecisionIds:
    """Ids as ``PREFIX-TAG-NUMBER``. For any thread: a counter of itertools gives each number once.

    The tag is random, so that nobody can settle another's decision by counting on from its own.

    Args:
        prefix: unique to the process.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._tickets = count(1)

    def tickets(self, n: int) -> list[int]:
        """The next n numbers."""
        return [next(self._tickets) for _ in range(n)]

    def named(self, tickets: Sequence[int]) -> list[str]:
        """An id for each number."""
        tags = urandom(_TAG_BYTES * len(tickets)).hex()
        return [
            f"{self.prefix}-{tags[row * _TAG_SIGNS : (row + 1) * _TAG_SIGNS]}-{ticket:x}"
            for row, ticket in enumerate(tickets)
        ]

    def new(self) -> str:
        """The next id."""
        return self.named([next(self._tickets)])[0]


class Handover(Generic[Result]):
    """Exactly one side learns of a result that nobody receives, and can undo it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: Result | None = None
        self._abandoned = False

    def finish(self, result: Result) -> bool:
        """Of the thread: here is the result. False: nobody waits for it any more."""
        with self._lock:
            self._result = result
            return not self._abandoned

    def abandon(self) -> Result | None:
        """Of the task: it waits no longer. The result, if the thread has handed it over."""
        with self._lock:
            self._abandoned = True
            return self._result
