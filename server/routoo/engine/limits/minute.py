"""The use of limits in the last minute, summed over short slots of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SLOTS: Final = 240
"""Slots in a minute: what was used counts up to a quarter of a second longer than a minute."""
SLOT_S: Final = 60.0 / SLOTS


class LastMinute:
    """What was added within a sliding minute. Not thread-safe.

    Whatever lies within any minute is kept until its end: the slot that a minute begins in counts
    whole. Sums of whole numbers are exact in float64.

    Attributes:
        slot: the number of the present slot.

    Args:
        rows: K.
        now_s: seconds on a clock that never goes back.
    """

    def __init__(self, rows: int, now_s: float) -> None:
        self.slot = int(now_s / SLOT_S)
        self._slots = np.zeros((SLOTS + 1, rows))

    def advance(self, now_s: float) -> Floats | None:
        """Moves on to the present; returns what is forgotten by it, float64 [K], None: nothing."""
        slot = int(now_s / SLOT_S)
        steps = slot - self.slot
        if steps <= 0:
            return None
        gone = np.arange(self.slot + 1, self.slot + 1 + min(steps, SLOTS + 1)) % (SLOTS + 1)
        self.slot = slot
        forgotten: Floats = self._slots[gone].sum(axis=0)
        self._slots[gone] = 0.0
        return forgotten

    def add(self, slot: int, amounts: Floats) -> bool:
        """Adds amounts, float64 [K], to a slot; False: the slot is forgotten, they do not count."""
        if self.slot - slot > SLOTS:
            return False
        self._slots[slot % (SLOTS + 1)] += amounts
        return True

    @property
    def used(self) -> Floats:
        """The sums, float64 [K]."""
        used: Floats = self._slots.sum(axis=0)
        return used

    def returning(self, within_s: float) -> Floats:
        """Returns what will be forgotten within so many seconds, float64 [K]."""
        slots = min(SLOTS + 1, int(within_s / SLOT_S))
        oldest = np.arange(self.slot + 1, self.slot + 1 + slots) % (SLOTS + 1)
        returned: Floats = self._slots[oldest].sum(axis=0)
        return returned

    def wait_s(self, row: int, amount: float) -> float:
        """Returns after how many seconds so much of a row is forgotten; at most a minute."""
        oldest = np.arange(self.slot + 1, self.slot + 2 + SLOTS) % (SLOTS + 1)
        returned = self._slots[oldest, row].cumsum()
        slots = int(np.searchsorted(returned, amount - 0.5)) + 1
        return min(slots, SLOTS + 1) * SLOT_S

    def taken_from(self, other: LastMinute, rows: NDArray[np.intp]) -> None:
        """Takes over rows of another one, int [K]: its row for each of these; -1: none."""
        known = rows >= 0
        self.slot = other.slot
        self._slots[:, known] = other._slots[:, rows[known]]
