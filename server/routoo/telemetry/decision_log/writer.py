"""Writes the decision log in a thread of its own, so that decisions never wait for the disk."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import CollectorRegistry

    from routoo.telemetry.decision_log.rotating_file import RotatingFile

_log = structlog.get_logger("routoo.decision_log")
_RETRY_S = 1.0
_GATHER_S = 0.01


class LogHead(Protocol):
    """A line that others refer to, such as a setup: it stands once in a file, before them."""

    @property
    def id(self) -> str:
        """Identifies the content."""
        ...

    def line(self) -> bytes:
        """Returns the line, with its end."""
        ...


class Item(Protocol):
    """An entry of the queue: what becomes one or more lines of the log."""

    @property
    def heads(self) -> Sequence[LogHead]:
        """The setup and the like that the lines refer to."""
        ...

    @property
    def decisions(self) -> int:
        """The number of decisions, which counts against the queue's bound."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Returns the lines, each with its end."""
        ...


class Writer:
    """A thread with a bounded queue; lines that cannot be written are counted and dropped.

    Args:
        file: the file to write to.
        max_waiting: the most decisions that may wait.
        clock_s: returns seconds, monotonic; after a failure, nothing is written for a second.
        registry: gets the metrics.
    """

    def __init__(
        self,
        file: RotatingFile,
        max_waiting: int,
        clock_s: Callable[[], float],
        registry: CollectorRegistry,
    ) -> None:
        self._file = file
        self._max_waiting = max_waiting
        self._clock_s = clock_s
        self._queue: deque[Item] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._open = True
        self._closing = threading.Event()
        self._known: set[str] = set()
        self._failed_s: float | None = None
        results = Counter(
            "routoo_decision_log_lines",
            "Decisions and reports for the log: written, dropped (too many waited), failed (the"
            " file could not be written).",
            ("result",),
            registry=registry,
        )
        self._written, self._dropped, self._failed = map(
            results.labels, ("written", "dropped", "failed")
        )
        self._up = Gauge(
            "routoo_decision_log_up", "1 while the log's file can be written.", registry=registry
        )
        self._up.set(1)
        # The thread is a daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="routoo-decision-log", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Queues an item, or drops it when too many wait; for any thread, never waits."""
        with self._changed:
            if self._open and self._waiting + item.decisions <= self._max_waiting:
                self._waiting += item.decisions
                self._queue.append(item)
                self._changed.notify()
                return
        self._dropped.inc(item.decisions)

    def close(self, grace_s: float) -> bool:
        """Writes what waits, for ``grace_s`` at most, and returns whether all of it was tried."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._closing.set()
        self._thread.join(grace_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and self._open:
                    self._changed.wait()
                if not self._queue:
                    break
                item = self._queue.popleft()
            try:
                self._write(item)
            except OSError as error:
                self._fail(item, error.strerror or type(error).__name__)
            except Exception as error:  # noqa: BLE001 - see below
                # The thread goes on: one decision that cannot be serialised must not end the log.
                _log.exception("decision log", error=type(error).__name__)
                self._failed.inc(item.decisions)
            finally:
                with self._changed:
                    self._waiting -= item.decisions
                    has_more = bool(self._queue)
            if not has_more:
                # Each waking takes the interpreter from those who decide: a few decisions share one.
                self._closing.wait(_GATHER_S)
        self._file.close()

    def _write(self, item: Item) -> None:
        failed_s = self._failed_s
        if failed_s is not None and self._clock_s() - failed_s < _RETRY_S:
            self._failed.inc(item.decisions)
            return
        if self._file.ready():
            self._known.clear()
        lines = b"".join(item.lines())
        new = [head for head in item.heads if head.id not in self._known]
        self._file.write(b"".join(head.line() for head in new) + lines)
        self._known.update(head.id for head in new)
        self._written.inc(item.decisions)
        if failed_s is not None:
            self._failed_s = None
            self._up.set(1)
            _log.info("decision log is written again")

    def _fail(self, item: Item, reason: str) -> None:
        self._failed.inc(item.decisions)
        if self._failed_s is None:
            self._up.set(0)
            _log.error("decision log cannot be written; decisions go on unlogged", detail=reason)
        self._failed_s = self._clock_s()
