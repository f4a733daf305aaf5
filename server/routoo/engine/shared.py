"""The threads and the decision ids that successive engines of one service share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from routoo.engine.open_decisions import DecisionIds


Result = TypeVar("Result")


class EngineThreads:
    """The worker threads and the decision ids of every engine of a service; made once per service.

    Args:
        ids: makes decision ids.

    Attributes:
        ids: makes decision ids.
        predict: one thread, so that a predictor has one caller at a time, of whichever engine.
        solve: one thread for joint solutions, so that a large batch holds up no single request.
        books: two threads for calls that may wait for the ledger and are no decisions.
    """

    def __init__(self, ids: DecisionIds) -> None:
        self.ids = ids
        self.predict = ThreadPoolExecutor(1, "routoo-predict")
        self.solve = ThreadPoolExecutor(1, "routoo-solve")
        self.books = ThreadPoolExecutor(2, "routoo-books")

    def stop_work(self) -> None:
        """Drops predictions and solutions that have not begun; ``books`` still accepts work."""
        self.predict.shutdown(wait=False, cancel_futures=True)
        self.solve.shutdown(wait=False, cancel_futures=True)

    def close_books(self) -> None:
        """Waits until ``books`` has finished its work, and closes it."""
        self.books.shutdown(wait=True)


class Handover(Generic[Result]):
    """Hands a result from a thread to a task, which may stop waiting at any time.

    When the task does not receive the result, exactly one of the two sides learns of it and can
    undo the work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: Result | None = None
        self._abandoned = False

    def finish(self, result: Result) -> bool:
        """Stores the result; called by the thread. False: the task no longer waits for it."""
        with self._lock:
            self._result = result
            return not self._abandoned

    def abandon(self) -> Result | None:
        """Stops waiting; called by the task. Returns the result, if the thread has stored it."""
        with self._lock:
            self._abandoned = True
            return self._result
