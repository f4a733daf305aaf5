"""Decisions whose cost may still be reported, oldest first, in a ring of bounded size."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    IndexArray = NDArray[np.intp]

# States of a decision: its cost is open, within the budget or as overdraft; its reservation has
# expired, within the budget or as overdraft; its cost was reported.
OPEN, OVERDRAWN, EXPIRED, EXPIRED_OVERDRAWN, REPORTED = range(5)
_FIRST_CAPACITY = 1024
_EXPIRED_AT_ONCE = 8192


class Decisions:
    """A ring of decisions, numbered in their order; number k lies at place ``k & (size - 1)``.

    Args:
        capacity: most decisions kept; rounded up to a power of 2.

    Attributes:
        capacity: most decisions kept.
        amounts: int64 [places], nano-USD booked for the decision.
        times: int64 [places], ns, time of the decision; never falls from one number to the next.
        groups: intp [places], see ``Scopes``.
        states: int8 [places], ``OPEN`` to ``REPORTED``.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = 1 << (capacity - 1).bit_length()
        size = min(self.capacity, _FIRST_CAPACITY)
        self.amounts = np.zeros(size, np.int64)
        self.times = np.zeros(size, np.int64)
        self.groups = np.zeros(size, np.intp)
        self.states = np.zeros(size, np.int8)
        self._ids: list[str] = [""] * size
        self._numbers: dict[str, int] = {}
        self._first = 0  # the oldest that is remembered
        self._next_due = 0  # the oldest that may be open
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    def place(self, decision_id: str) -> int | None:
        """Returns the place of a decision in the ring; None: not remembered."""
        number = self._numbers.get(decision_id)
        return None if number is None else number & (len(self._ids) - 1)

    def holds_any(self, ids: Sequence[str]) -> bool:
        """Returns whether one of the ids is remembered, or stands twice among them."""
        numbers = self._numbers
        return len(set(ids)) < len(ids) or not numbers.keys().isdisjoint(ids)

    def room_for(self, n: int) -> int:
        """Returns how many of the oldest have to be forgotten before n more fit."""
        return max(0, len(self) + n - self.capacity)

    def append(
        self,
        ids: Sequence[str],
        amounts: NDArray[np.int64],
        groups: IndexArray,
        times: NDArray[np.int64] | int,
        states: NDArray[np.int8] | int,
    ) -> None:
        """Adds n decisions; ``room_for(n)`` has to be 0."""
        n = len(ids)
        while len(self) + n > len(self._ids):
            self._grow()
        start = self._end & (len(self._ids) - 1)
        whole = start + n <= len(self._ids)
        places = slice(start, start + n) if whole else self._places(self._end, self._end + n)
        self.amounts[places] = amounts
        self.times[places] = times
        self.groups[places] = groups
        self.states[places] = states
        if isinstance(places, slice):
            self._ids[places] = ids
        else:
            split = len(self._ids) - start
            self._ids[start:] = ids[:split]
            self._ids[: n - split] = ids[split:]
        self._numbers.update(zip(ids, range(self._end, self._end + n), strict=True))
        self._end += n

    def due(self, horizon_ns: int, at_least: int = 0) -> IndexArray | None:
        """Takes the next decisions that are due to expire; each is taken once.

        Args:
            horizon_ns: those decided at this time or before are due.
            at_least: so many of the oldest remembered ones are due at any age.

        Returns:
            Places of those among them that are open; may be empty. None: no decision is due any
            more; else another call may find more.
        """
        forced = self._first + at_least
        if self._next_due >= self._end:
            return None
        first = self._next_due & (len(self._ids) - 1)
        if self.times[first] > horizon_ns and self._next_due >= forced:
            return None
        places = self._places(self._next_due, min(self._end, self._next_due + _EXPIRED_AT_ONCE))
        count = int(np.searchsorted(self.times[places], horizon_ns, side="right"))
        count = min(len(places), max(count, forced - self._next_due))
        self._next_due += count
        places = places[:count]
        return places[self.states[places] <= OVERDRAWN]

    def forget(self, horizon_ns: int, at_least: int = 0) -> None:
        """Forgets decisions that ``due`` has passed, oldest first.

        Args:
            horizon_ns: those decided at this time or before are forgotten.
            at_least: so many of the oldest remembered ones are forgotten at any age.
        """
        forced = self._first + at_least
        while self._first < self._next_due:
            first = self._first & (len(self._ids) - 1)
            if self.times[first] > horizon_ns and self._first >= forced:
                return
            until = min(self._next_due, self._first + _EXPIRED_AT_ONCE)
            places = self._places(self._first, until)
            count = int(np.searchsorted(self.times[places], horizon_ns, side="right"))
            count = min(len(places), max(count, forced - self._first))
            gone = [self._ids[place] for place in places[:count].tolist()]
            deque(map(self._numbers.pop, gone, repeat(None)), maxlen=0)
            self._first += count

    def remembered(self) -> tuple[list[str], IndexArray]:
        """Returns ids and places of all decisions that are remembered, oldest first."""
        places = self._places(self._first, self._end)
        return [self._ids[place] for place in places.tolist()], places

    def _places(self, start: int, end: int) -> IndexArray:
        return np.arange(start, end, dtype=np.intp) & (len(self._ids) - 1)

    def _grow(self) -> None:
        ids, places = self.remembered()
        size = 2 * len(self._ids)
        target = np.arange(self._first, self._end, dtype=np.intp) & (size - 1)
        for name in ("amounts", "times", "groups", "states"):
            old = getattr(self, name)
            new = np.zeros(size, old.dtype)
            new[target] = old[places]
            setattr(self, name, new)
        self._ids = [""] * size
        for place, decision_id in zip(target.tolist(), ids, strict=True):
            self._ids[place] = decision_id
