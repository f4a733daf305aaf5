"""The life of a table of what is learned from reports: its thread, its file, and its replicas.

Once in an interval a thread learns what waits. The table is written to a file, at most once in some
seconds, and exchanged with the other replicas; where one of the two fails, what was learned stays
in this process, is said once, and goes there later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from routoo.engine.corrections.encoding import Plain, SharingError
from routoo.interval_thread import IntervalThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from prometheus_client import Counter
    from structlog.typing import FilteringBoundLogger

    from routoo.engine.corrections.file import TableFile
    from routoo.engine.corrections.shared import SharedValue

MOST_WAITING = 10_000
"""Most reports that wait for the thread, and most answers that wait for Redis."""
# The table is forced to the disk this often at most.
_SAVE_INTERVAL_S = 5.0


class OfModels(Plain, Protocol):
    """A table that can be written, and is of models."""

    def only(self, keeps: Callable[[str], bool], /) -> Self:
        """Returns what is known of some models; itself where that is all."""


class Intervals(Protocol):
    """Settings that say how often.

    Attributes:
        interval_s: seconds between two steps.
        share_interval_s: least seconds between two exchanges with the other replicas.
    """

    @property
    def interval_s(self) -> float: ...

    @property
    def share_interval_s(self) -> float: ...


Known = TypeVar("Known", bound=OfModels)
Answers = TypeVar("Answers")
Rules = TypeVar("Rules")


class TableUpkeep(ABC, Generic[Known, Answers, Rules]):
    """Keeps a table up.

    ``step`` is the thread's work; with the thread started, nobody else may call it.

    Args:
        what: is learned, for the log.
        settings: how often.
        counts: counts answers and faults by the label ``result``.
        empty: makes the table where there is no file.
        log: is told of faults.
        file: keeps the table over a restart; None: nothing does.
        shared: the table of all replicas; None: there is none.
        clock_s: seconds on a clock that never goes back.

    Attributes:
        table: what is known now; a value that is never changed.
    """

    def __init__(
        self,
        what: str,
        settings: Intervals,
        counts: Counter,
        empty: Callable[[], Known],
        *,
        log: FilteringBoundLogger,
        file: TableFile[Known] | None,
        shared: SharedValue[Known, Answers, Rules] | None,
        clock_s: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.table = empty() if file is None else file.read()
        if file is not None and file.damaged:
            counts.labels("file_damaged").inc()
        self._what = what
        self._counts = counts
        self._log = log
        self._file = file
        self._shared = shared
        self._clock_s = clock_s
        self._models: frozenset[str] | None = None
        self._unsent: list[Answers] = []
        self._saved = self.table
        self._saved_s = self._shared_s = float("-inf")
        self._failing: set[str] = set()
        self._thread = IntervalThread(
            f"routoo-{what.replace(' ', '-')}",
            self.step,
            lambda: self.settings.interval_s,
            log,
            f"{what} could not be brought up to date",
        )

    @abstractmethod
    def step(self) -> None:
        """Learns the reports that wait, shares and keeps the table, and puts it in force."""

    def keep_models(self, models: Collection[str]) -> None:
        """Forgets, at the next step, all models but these; not those that replicas share."""
        self._models = frozenset(models)

    def start(self) -> None:
        """Learns in a thread until ``close``."""
        self._thread.start()

    def close(self) -> None:
        """Learns what waits, keeps the table, and ends the thread."""
        self._thread.close()
        self._saved_s = self._shared_s = float("-inf")
        self._thread.step()
        if self._shared is not None:
            self._shared.close()

    def _matched(self, table: Known, answers: Sequence[Answers], terms: Rules) -> Known:
        """Returns a table as all replicas have it; where it is not shared, that of the models.

        Args:
            table: of this replica, the answers in it.
            answers: those that are new in it.
            terms: how they were learned.
        """
        if self._shared is None:
            models, self._models = self._models, None
            return table if models is None else table.only(lambda model: model in models)
        self._unsent += answers
        self._counts.labels("dropped").inc(max(0, len(self._unsent) - MOST_WAITING))
        del self._unsent[MOST_WAITING:]
        now_s = self._clock_s()
        if now_s - self._shared_s < self.settings.share_interval_s:
            return table
        self._shared_s = now_s
        try:
            news = self._shared.exchange(table, self._unsent, terms)
        except SharingError as error:
            self._fault("redis_failed", str(error))
            return table
        self._unsent = []
        self._recovered("redis_failed")
        return table if news is None else news

    def _save(self) -> None:
        now_s = self._clock_s()
        if (
            self._file is None
            or self.table is self._saved
            or now_s - self._saved_s < _SAVE_INTERVAL_S
        ):
            return
        self._saved_s = now_s
        try:
            self._file.write(self.table)
        except OSError as error:
            self._fault("file_failed", error.strerror or str(error))
            return
        self._saved = self.table
        self._recovered("file_failed")

    def _fault(self, kind: str, reason: str) -> None:
        self._counts.labels(kind).inc()
        if kind not in self._failing:
            self._failing.add(kind)
            self._log.error(f"{self._what} stay in this process for now", cause=kind, detail=reason)

    def _recovered(self, kind: str) -> None:
        if kind in self._failing:
            self._failing.discard(kind)
            self._log.info(f"{self._what} are kept again", cause=kind)
