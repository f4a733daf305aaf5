"""Hands a thread's result over to a task that may have stopped waiting for it."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Result = TypeVar("Result")


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
