"""What was decided while Redis was away, until Redis has it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.redis.store import RedisStore


@dataclass(frozen=True, slots=True)
class PendingBooking:
    """A decision: group (see ``Scopes``), nano-USD, time in microseconds, beside the budgets."""

    group: int
    amount: int
    time_us: int
    overdrawn: bool


class Pending:
    """Decisions to adopt, costs to settle and calls to take back. Its owner's lock is held.

    Everything is by decision id, and booking it twice books it once; so a part that may or may not
    have arrived is simply sent again.
    """

    def __init__(self, most: int) -> None:
        """Args: most: entries that are kept."""
        self._most = most
        self.bookings: dict[str, PendingBooking] = {}
        self.costs: dict[str, int] = {}
        self.doubts: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.bookings) + len(self.costs) + len(self.doubts)

    def has_room(self, n: int) -> bool:
        """Whether n more entries may be added."""
        return len(self) + n <= self._most

    def book(self, ids: Sequence[str], bookings: Sequence[PendingBooking]) -> None:
        """Adds decisions; a doubt about one of them is settled by that."""
        for decision_id in ids:
            self.doubts.pop(decision_id, None)
        self.bookings.update(zip(ids, bookings, strict=True))

    def doubt(self, ids: Sequence[str]) -> None:
        """Adds ids of a call whose answer got lost and that were not decided since."""
        self.doubts.update((key, None) for key in ids if key not in self.bookings)

    def deliver(self, store: RedisStore, part: PendingPart) -> None:
        """Sends a part to Redis; needs no lock. Raises StoreError: send it again."""
        if part.bookings:
            store.adopt(
                [
                    (key, entry.group, entry.amount, entry.time_us, entry.overdrawn)
                    for key, entry in part.bookings.items()
                ]
            )
        elif part.costs:
            store.settle(part.costs.items(), steady=True)
        else:
            store.cancel(list(part.doubts))

    def part(self, most: int) -> PendingPart:
        """The next entries to send: a decision comes before its cost."""
        if self.bookings:
            return PendingPart(dict(islice(self.bookings.items(), most)), {}, {})
        if self.costs:
            return PendingPart({}, dict(islice(self.costs.items(), most)), {})
        return PendingPart({}, {}, dict(islice(self.doubts.items(), most)))

    def delivered(self, part: PendingPart) -> None:
        """Forgets what has arrived, unless it has changed meanwhile."""
        for key, booking in part.bookings.items():
            if self.bookings.get(key) is booking:
                del self.bookings[key]
        for key in part.costs:
            self.costs.pop(key, None)
        for key in part.doubts:
            self.doubts.pop(key, None)


@dataclass(frozen=True, slots=True)
class PendingPart:
    """Entries of one kind, on their way."""

    bookings: dict[str, PendingBooking]
    costs: dict[str, int]
    doubts: dict[str, None]
