"""The backlog of decisions and costs that Redis has to get when it is back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.budget.redis.replies import Told
    from routoo.budget.redis.store import RedisStore


@dataclass(frozen=True, slots=True)
class PendingBooking:
    """A decision that was made without Redis.

    Attributes:
        group: see ``Scopes``.
        amount: nano-USD.
        time_us: time of the decision, microseconds since 1970 by Redis' clock.
        overdrawn: booked as overdraft.
    """

    group: int
    amount: int
    time_us: int
    overdrawn: bool


class Pending:
    """Decisions to adopt, costs to settle and calls to take back. The owner holds its lock.

    Entries are keyed by decision id, and an entry that is sent twice is booked once. So a part of
    which it is not known whether it arrived is sent again.

    Args:
        most: most entries that are kept.

    Attributes:
        bookings: decisions that Redis has to book, by id.
        costs: reported costs in nano-USD, by id.
        doubts: ids of calls whose answer got lost, which Redis has to cancel, and the nano-USD that
            each has taken from the leases in vain.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.bookings: dict[str, PendingBooking] = {}
        self.costs: dict[str, int] = {}
        self.doubts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.bookings) + len(self.costs) + len(self.doubts)

    def has_room(self, n: int) -> bool:
        """Returns whether n more entries may be added."""
        return len(self) + n <= self._most

    def book(self, ids: Sequence[str], bookings: Sequence[PendingBooking]) -> None:
        """Adds decisions, which removes any doubt about them."""
        for decision_id in ids:
            self.doubts.pop(decision_id, None)
        self.bookings.update(zip(ids, bookings, strict=True))

    def doubt(self, amounts: Mapping[str, int]) -> None:
        """Adds ids of a call whose answer got lost, but for those that were decided since."""
        self.doubts.update(
            (key, amount) for key, amount in amounts.items() if key not in self.bookings
        )

    def deliver(self, store: RedisStore, part: PendingPart, late_us: int) -> Told:
        """Sends a part to Redis; needs no lock.

        Args:
            store: Redis.
            part: what to send.
            late_us: microseconds by which Redis' clock was put forward meanwhile, at most. The
                decisions are booked so much later: nobody knows on which side of that they lie.

        Raises:
            StoreError: the part has to be sent again.
        """
        if part.bookings:
            return store.adopt(
                [
                    (key, entry.group, entry.amount, entry.time_us + late_us, entry.overdrawn)
                    for key, entry in part.bookings.items()
                ]
            )
        if part.costs:
            return store.settle(part.costs.items(), steady=True)[1]
        return store.cancel(list(part.doubts))

    def part(self, most: int) -> PendingPart:
        """Returns the next entries to send; decisions come before their costs."""
        if self.bookings:
            return PendingPart(dict(islice(self.bookings.items(), most)), {}, {})
        if self.costs:
            return PendingPart({}, dict(islice(self.costs.items(), most)), {})
        return PendingPart({}, {}, dict(islice(self.doubts.items(), most)))

    def delivered(self, part: PendingPart) -> None:
        """Removes entries that have arrived, but for decisions that have changed meanwhile."""
        for key, booking in part.bookings.items():
            if self.bookings.get(key) is booking:
                del self.bookings[key]
        for key in part.costs:
            self.costs.pop(key, None)
        for key in part.doubts:
            self.doubts.pop(key, None)


@dataclass(frozen=True, slots=True)
class PendingPart:
    """Entries that are being sent; one of the three is not empty.

    Attributes:
        bookings: decisions to book, by id.
        costs: costs to settle in nano-USD, by id.
        doubts: ids to cancel.
    """

    bookings: dict[str, PendingBooking]
    costs: dict[str, int]
    doubts: dict[str, int]
