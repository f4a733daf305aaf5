"""What engines that take turns share: the threads they work on, and the numbering of decisions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from routoo.engine.open_decisions import DecisionIds


Result = TypeVar("Result")


class EngineThreads:
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
