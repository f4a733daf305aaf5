"""The threads and the decision ids that successive engines of one service share."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from routoo.engine.batcher import OneThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.engine.open_decisions import DecisionIds


Result = TypeVar("Result")


# Two threads that both run Python take turns, and each waits this long for its turn. A call takes
# some ten turns of the loop, so that Python's own five milliseconds would add fifty to it.
_TURN_S: Final = 0.0002


class _Turns:
    """The time after which threads take turns, which is one for the process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._long_calls = 0
        self._usual_s = 0.0

    def begin(self) -> None:
        with self._lock:
            if not self._long_calls:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual_s, _TURN_S))
            self._long_calls += 1

    def end(self) -> None:
        with self._lock:
            self._long_calls -= 1
            if not self._long_calls:
                sys.setswitchinterval(self._usual_s)


_TURNS: Final = _Turns()


def in_short_turns(call: Callable[..., Result], *arguments: object) -> Result:
    """Returns the result of a long call in a thread; meanwhile, threads take turns more often."""
    _TURNS.begin()
    try:
        return call(*arguments)
    finally:
        _TURNS.end()


class EngineThreads:
    """The worker threads and the decision ids of every engine of a service; made once per service.

    Args:
        ids: makes decision ids.

    Attributes:
        ids: makes decision ids.
        predict: one thread, so that a predictor has one caller at a time, of whichever engine. The
            event loop may call the predictor itself while this thread is idle.
        solve: one thread for joint solutions, so that a large batch holds up no single request.
        books: two threads for calls that may wait for the ledger and are no decisions.
    """

    def __init__(self, ids: DecisionIds) -> None:
        self.ids = ids
        self.predict = OneThread("routoo-predict")
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
