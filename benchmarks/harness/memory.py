"""Resident memory of a process and its children, over time."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter
from typing import Self


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process and its descendants, in MB (10^6 bytes).

    0.0 when the process has ended.
    """
    total_kb = 0
    pids = [pid]
    while pids:
        one = pids.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            children = Path(f"/proc/{one}/task/{one}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pids += map(int, children.split())
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                total_kb += int(line.split()[1])
    return total_kb * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Returns the processor time of a process so far, in seconds, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


class MemoryWatch:
    """Samples memory every ``interval_s`` seconds in a thread; a context manager.

    Attributes:
        at_s: times of the samples, in seconds since the start.
        mb: resident memory at these times.
    """

    def __init__(self, pid: int, interval_s: float) -> None:
        self._pid = pid
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.at_s: list[float] = []
        self.mb: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        started_s = perf_counter()
        while not self._over.is_set():
            mb = resident_mb(self._pid)
            if mb:
                self.at_s.append(perf_counter() - started_s)
                self.mb.append(mb)
            self._over.wait(self._interval_s)

    def mean_mb(self, from_s: float, to_s: float) -> float | None:
        """Returns the mean of the samples in an interval; None: there are none."""
        seen = [mb for at_s, mb in zip(self.at_s, self.mb, strict=True) if from_s <= at_s < to_s]
        return sum(seen) / len(seen) if seen else None
