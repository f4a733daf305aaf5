"""Persistence of a memory ledger's books in a journal: replay, append, force to disk, rewrite."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from routoo.budget.machine_start import MachineStart
from routoo.budget.memory.journal import encode
from routoo.errors import ConfigError
from routoo.interval_thread import IntervalThread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo.budget.machine_start import StartKeeper
    from routoo.budget.memory.books import Books
    from routoo.budget.memory.journal import Fsync, Journal

_log = structlog.get_logger(__name__)
_VERSION = 1
# The journal is rewritten when it has this size and four times its size after the last rewrite,
# because a rewrite takes time in proportion to the decisions that are remembered.
_REWRITE_BYTES = 16 * 1024 * 1024
_REWRITE_FACTOR = 4
TEND_INTERVAL_S = 1.0


class Journaling:
    """Writes every change of the books to a journal.

    ``booked`` and ``settled`` are called with the ledger's lock held, in the order of the events.
    A thread forces the file to disk at an interval (fsync ``interval``), rewrites it when it has
    grown, and after a failed append, or when somebody has deleted or cut it, rewrites it as soon as
    the disk works: the books in memory are always complete.

    Args:
        journal: the file; closed with this.
        fsync: when the file is forced to disk.
        tend_interval_s: interval of the thread.
        clock: the clock of the books, which goes on over a restart; None: it does not.
    """

    def __init__(
        self,
        journal: Journal,
        fsync: Fsync,
        tend_interval_s: float = TEND_INTERVAL_S,
        clock: StartKeeper | None = None,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._fsync = fsync
        self._appended = 0  # records
        self._on_disk = 0
        self._syncing = threading.Lock()
        self._rewritten_bytes = 0
        self._since_dump: list[bytes] | None = None
        self._thread = IntervalThread(
            "routoo-journal",
            self.tend,
            lambda: tend_interval_s,
            _log,
            "the journal could not be looked after",
        )

    @property
    def failed(self) -> bool:
        """Returns whether the file lacks records of the books in memory."""
        return self._journal.failed

    def restore(self, books: Books, lock: threading.Lock) -> None:
        """Replays the file into empty books, and starts the thread.

        Args:
            books: empty books.
            lock: guards them.

        Raises:
            ConfigError: the file is damaged or was written by another version.
        """
        self._books, self._lock = books, lock
        start: MachineStart | None = None
        try:
            for record in self._journal.replay():
                apply(record, books)
                if record["k"] == "clock":
                    start = MachineStart(record["boot"], int(record["start"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            self._journal.close()
            raise of_another_version(self._journal.path, error) from None
        except ConfigError:
            self._journal.close()
            raise
        if self._clock is not None:
            self._clock.go_on_from(start, books.now_ns)
            if self._clock.start != start:
                self._append(self._clock_record(self._clock))
        self._thread.start()

    def follow(self, books: Books) -> None:
        """Goes on with other books of the same content. The caller holds the lock."""
        self._books = books

    def booked(
        self,
        time_ns: int,
        ids: Sequence[str],
        tenants: Sequence[str],
        amounts: NDArray[np.int64],
        *,
        overdrawn: bool,
    ) -> None:
        """Appends granted or overdrawn decisions.

        Args:
            time_ns: time of the decisions.
            ids: [n].
            tenants: [n].
            amounts: int64 [n], nano-USD.
            overdrawn: they were booked as overdraft.
        """
        one = tenants[0] if len(set(tenants)) == 1 else tenants
        kind = "overdraw" if overdrawn else "reserve"
        self._append({"k": kind, "t": time_ns, "i": ids, "n": one, "a": amounts})

    def settled(self, time_ns: int, decision_id: str, cost: int) -> None:
        """Appends a reported cost that was booked, in nano-USD."""
        self._append({"k": "settle", "t": time_ns, "i": decision_id, "c": cost})

    def sync(self) -> None:
        """With fsync ``always``, returns when everything appended before is on the disk."""
        if self._fsync == "always":
            self._sync()

    def tend(self) -> None:
        """Forces the file to disk and rewrites it, where due; called by the thread."""
        if self._fsync == "interval":
            self._sync()
        self._journal.look()
        grown = max(_REWRITE_BYTES, _REWRITE_FACTOR * self._rewritten_bytes)
        if self._journal.failed or self._journal.size > grown:
            self.rewrite()

    def rewrite(self) -> bool:
        """Writes the books to a new file, and replaces the journal with it.

        The lock is held while the books are copied and during the switch, not while they are
        written.

        Returns:
            False: the disk is full or broken, and nothing has changed.
        """
        with self._lock:
            dump = self._books.dump()
            time_ns = self._books.now_ns
            self._since_dump = []
        try:
            snapshot = encode({"k": "snapshot", "v": _VERSION, "t": time_ns, **dump})
            clock = [] if self._clock is None else [encode(self._clock_record(self._clock))]
            replacement = self._journal.replace([snapshot, *clock])
            with self._lock:
                meanwhile, self._since_dump = self._since_dump, []
            replacement.add(meanwhile)
            with self._lock:  # the few records that came since
                replacement.add(self._since_dump)
                self._journal.switch(replacement)
        except OSError as error:
            _log.warning("the journal cannot be rewritten", error=error.strerror)
            return False
        finally:
            with self._lock:
                self._since_dump = None
        self._rewritten_bytes = len(snapshot)
        return True

    def close(self) -> None:
        """Writes what is not yet written, and closes the file."""
        self._thread.close()
        self._journal.look()
        if self._journal.failed:
            self.rewrite()
        self._journal.sync()
        self._journal.close()

    def _sync(self) -> None:
        wanted = self._appended
        with self._syncing:
            if self._on_disk >= wanted:  # another thread has forced these records to disk, too
                return
            appended = self._appended
            self._journal.sync()
            self._on_disk = appended

    def _clock_record(self, clock: StartKeeper) -> dict[str, Any]:
        # Texts, because readers of JSON may not accept numbers of this size.
        start = str(clock.start.since_1970_ns)
        return {"k": "clock", "t": self._books.now_ns, "boot": clock.start.boot_id, "start": start}

    def _append(self, record: dict[str, Any]) -> None:
        data = encode(record)
        if self._since_dump is not None:
            self._since_dump.append(data)
        self._journal.append(data)
        self._appended += 1


def apply(record: dict[str, Any], books: Books, *, corrects_expired: bool = False) -> None:
    """Books what a record of the journal says.

    Args:
        record: the record.
        books: the books that all earlier records were applied to.
        corrects_expired: as ``Books.load`` takes it.

    Raises:
        KeyError, TypeError, ValueError, IndexError: another version has written it.
    """
    books.advance(max(record["t"], books.now_ns))
    kind = record["k"]
    if kind == "settle":
        books.settle(record["i"], record["c"])
    elif kind == "snapshot":
        if record["v"] != _VERSION:
            raise ValueError(f"version {record['v']}")
        books.load(record, corrects_expired=corrects_expired)
    elif kind in ("reserve", "overdraw"):
        ids = record["i"]
        books.book(
            ids,
            books.scopes.groups(tenants_of(record)),
            np.array(record["a"], np.int64),
            overdrawn=kind == "overdraw",
        )
    elif kind != "clock":
        raise ValueError(f"record {kind}")


def tenants_of(record: dict[str, Any]) -> Sequence[str]:
    """Returns the tenants of a record of decisions, one for each."""
    names: str | list[str] = record["n"]
    return [names] * len(record["i"]) if isinstance(names, str) else names


def of_another_version(path: Path, error: Exception) -> ConfigError:
    """Returns the error for a journal with a record that cannot be applied."""
    return ConfigError(
        f"ledger.journal: {path} was written by another version of routoo ({error!r}); move it away"
        " to start with nothing spent"
    )
