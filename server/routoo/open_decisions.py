"""Decisions that may still be reported or escalated, bounded in number and in age."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from routoo.decision import Decision


@dataclass(slots=True)
class _Entry:
    decision: Decision
    made_s: float
    reported: bool = False


class OpenDecisions:
    """Keeps decisions for a while, the oldest go first. Thread-safe. Holds no prompts.

    Args:
        max_count: most decisions kept.
        max_age_s: how long one is kept.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self, max_count: int, max_age_s: float, clock_s: Callable[[], float] = monotonic
    ) -> None:
        self._max_count = max_count
        self._max_age_s = max_age_s
        self._clock_s = clock_s
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, decisions: Iterable[Decision]) -> None:
        """Keeps decisions, oldest first, and lets go of what is too old or too much."""
        now_s = self._clock_s()
        with self._lock:
            for decision in decisions:
                self._entries[decision.decision_id] = _Entry(decision, now_s)
            while len(self._entries) > self._max_count:
                self._entries.popitem(last=False)
            while self._entries:
                oldest = next(iter(self._entries.values()))
                if not self._is_old(oldest, now_s):
                    break
                self._entries.popitem(last=False)

    def get(self, decision_id: str) -> Decision | None:
        """The decision; None when it is unknown or too old."""
        with self._lock:
            entry = self._entry(decision_id)
            return None if entry is None else entry.decision

    def report(self, decision_id: str) -> bool:
        """Marks a decision as reported; false when it is unknown, too old, or was marked before."""
        with self._lock:
            entry = self._entry(decision_id)
            if entry is None or entry.reported:
                return False
            entry.reported = True
            return True

    def discard(self, decision_ids: Iterable[str]) -> None:
        """Forgets decisions that nobody received."""
        with self._lock:
            for decision_id in decision_ids:
                self._entries.pop(decision_id, None)

    def _entry(self, decision_id: str) -> _Entry | None:
        entry = self._entries.get(decision_id)
        return None if entry is None or self._is_old(entry, self._clock_s()) else entry

    def _is_old(self, entry: _Entry, now_s: float) -> bool:
        return now_s - entry.made_s > self._max_age_s
