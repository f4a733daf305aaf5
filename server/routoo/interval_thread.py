"""A thread that does one piece of work again and again: at an interval, and whenever it is asked.

Prices, corrections, the journal and the like are kept up beside the requests in this way. A step
that fails is said in the log, and the next one comes all the same: whatever the thread keeps up
stays as it was until then.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger


class IntervalThread:
    """Does a step, waits, and does the next, until it is closed.

    With the thread started, nobody but it may take a step, unless the step says that it may be
    taken by several threads.

    Args:
        name: of the thread.
        step: the work.
        wait_s: returns the seconds until the next step, asked anew before each; None: it waits
            until ``wake``.
        log: is told of a step that raised an error.
        failure: what it is told then.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], object],
        wait_s: Callable[[], float | None],
        log: FilteringBoundLogger,
        failure: str,
    ) -> None:
        self._name = name
        self._step = step
        self._wait_s = wait_s
        self._log = log
        self._failure = failure
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins with a wait; the first step comes after it."""
        # A daemon: work that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Has the next step taken at once; for any thread, never waits."""
        self._wake.set()

    def close(self) -> None:
        """Takes no further step, and returns when the one under way has ended."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> None:
        """Takes a step; its error goes to the log, not to the caller."""
        try:
            self._step()
        except Exception:  # noqa: BLE001 - the thread, and the service, must live on
            self._log.exception(self._failure)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._wait_s())
            # Cleared before the step: who wakes the thread during it has another one taken.
            self._wake.clear()
            if self._closed:
                return
            self.step()
