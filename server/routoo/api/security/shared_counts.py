"""Counts of clients that the workers of one service share."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.api.security.count_tables import NUMBER_BYTES, PLACES, CountTables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NEVER_S: Final = float("-inf")


@dataclass(slots=True, eq=False)
class Place:
    """The place of a client in a worker's table.

    Attributes:
        key: stands for the client, in every worker's table.
        at: the place, counted over the tables of all workers.
        others: the places of the same client in the tables of the other workers, ascending.
        changes: the state of all tables for which ``others`` holds.
    """

    key: int
    at: int
    others: Sequence[int] = ()
    changes: bytes = field(default=b"", repr=False)


class SharedCounts:
    """Numbers of one worker, and those of the others. To be used on one event loop.

    Args:
        path: the file of the tables of these workers.
        index: the number of this worker, from 0.
        workers: the number of workers.
    """

    def __init__(self, path: Path, index: int, workers: int) -> None:
        tables = CountTables(path, workers)
        self._changes, self._keys = tables.changes, tables.keys
        self._running, self._taken, self._idle = tables.running, tables.taken, tables.idle
        # For searches alone: reading one number is faster without it.
        self._searched = np.frombuffer(tables.keys, np.uint64)
        self._index = index
        self._own = range(index * PLACES, (index + 1) * PLACES)
        tables.end_calls(index)
        self._free = [at for at in reversed(self._own) if not self._keys[at]]

    @property
    def is_first(self) -> bool:
        """Returns whether this is the first of the workers."""
        return self._index == 0

    @staticmethod
    def key_of(name: str) -> int:
        """Returns what stands for a client in the tables: 64 bits, not 0."""
        return int.from_bytes(blake2b(name.encode(), digest_size=NUMBER_BYTES).digest()) or 1

    def all_keys(self) -> list[int]:
        """Returns what stands for the clients of all workers."""
        found: list[int] = np.unique(self._searched[self._searched != 0]).tolist()
        return found

    def left_here(self) -> list[Place]:
        """Returns the places that the process has left that was this worker before."""
        return [Place(self._keys[at], at) for at in self._own if self._keys[at]]

    def left_at(self, place: Place) -> tuple[float, float]:
        """Returns the seconds taken and the idle seconds at one of these places."""
        return self._taken[place.at], self._idle[place.at]

    def take_place(self, key: int) -> Place | None:
        """Gives a client a place; None: all places are taken."""
        if not self._free:
            return None
        at = self._free.pop()
        self._running[at], self._taken[at], self._idle[at] = 0, 0.0, _NEVER_S
        self._keys[at] = key
        self._changes[self._index] += 1
        return Place(key, at)

    def give_back(self, place: Place) -> None:
        """Forgets a client."""
        self._keys[place.at] = 0
        self._changes[self._index] += 1
        self._free.append(place.at)

    def show(self, place: Place, running: int, taken_s: float, idle_s: float) -> None:
        """Shows the other workers what this one has counted of a client."""
        at = place.at
        self._running[at], self._taken[at], self._idle[at] = running, taken_s, idle_s

    def others_running(self, place: Place) -> int:
        """Returns the client's calls in progress in the other workers."""
        self._find(place)
        return sum(self._running[at] for at in place.others)

    def running_after(self, place: Place) -> int:
        """Returns the client's calls in progress in the workers after this one."""
        self._find(place)
        return sum(self._running[at] for at in place.others if at > place.at)

    def others_taken(self, place: Place) -> tuple[float, float]:
        """Returns the seconds that the other workers' prompts took, and their most idle seconds."""
        self._find(place)
        taken_s, idle_s = 0.0, _NEVER_S
        for at in place.others:
            taken_s += self._taken[at]
            idle_s = max(idle_s, self._idle[at])
        return taken_s, idle_s

    def _find(self, place: Place) -> None:
        """Finds the client in the other tables, if one of them has other clients than before."""
        changes = self._changes.tobytes()
        if changes == place.changes:
            return
        place.changes = changes
        found: list[int] = np.flatnonzero(self._searched == np.uint64(place.key)).tolist()
        place.others = [at for at in found if at != place.at]
