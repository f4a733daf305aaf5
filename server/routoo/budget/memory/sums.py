"""Sums of money over a step, a period or a day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NS_A_DAY = 86_400 * 1_000_000_000
DAYS_KEPT = 400
"""So many days are kept by day, the present one among them."""


@dataclass(slots=True)
class PeriodSums:
    """Sums over a step or a period, or a change of such sums.

    Python's integers do not overflow.

    Attributes:
        reserved: nano-USD granted to decisions whose cost is not known yet.
        settled: nano-USD of known costs.
        overdraft: nano-USD spent beside the budget.
        granted: number of requests granted.
        reported: nano-USD of reported costs of requests granted.
        reported_reserved: nano-USD that were reserved for the same requests.
        expired: number of requests granted whose cost was not reported in time.
    """

    reserved: int = 0
    settled: int = 0
    overdraft: int = 0
    granted: int = 0
    reported: int = 0
    reported_reserved: int = 0
    expired: int = 0

    def add(self, other: PeriodSums, sign: int = 1) -> None:
        """Adds other sums; with ``sign`` -1, subtracts them."""
        self.reserved += sign * other.reserved
        self.settled += sign * other.settled
        self.overdraft += sign * other.overdraft
        self.granted += sign * other.granted
        self.reported += sign * other.reported
        self.reported_reserved += sign * other.reported_reserved
        self.expired += sign * other.expired


class DaySums:
    """The sums of the last days (UTC) by tenant, for those who ask what was spent.

    Money counts on the day of its decision. Budgets' limits do not depend on these sums.

    Attributes:
        sums: by tenant and day, in days since 1970.
    """

    __slots__ = ("_today", "sums")

    def __init__(self) -> None:
        self.sums: dict[tuple[str, int], PeriodSums] = {}
        self._today = 0

    def advance(self, now_ns: int) -> None:
        """Removes the days that are no longer kept."""
        today = now_ns // NS_A_DAY
        if today == self._today:
            return
        self._today = today
        for key in [key for key in self.sums if key[1] <= today - DAYS_KEPT]:
            del self.sums[key]

    def add(self, tenant: str, time_ns: int, sums: PeriodSums) -> None:
        """Adds sums to the day of a time, in ns since 1970, if it is kept."""
        key = (tenant, time_ns // NS_A_DAY)
        if key[1] <= self._today - DAYS_KEPT:
            return
        found = self.sums.get(key)
        if found is None:
            found = self.sums[key] = PeriodSums()
        found.add(sums)

    def dump(self) -> list[list[Any]]:
        """Returns all that ``load`` needs; what is reserved follows from the open decisions."""
        return [
            [
                tenant,
                day,
                # Texts, because readers of JSON may not accept numbers of this size.
                str(one.settled),
                str(one.overdraft),
                one.granted,
                str(one.reported),
                str(one.reported_reserved),
                one.expired,
            ]
            for (tenant, day), one in self.sums.items()
        ]

    def load(self, dumped: Iterable[Sequence[Any]]) -> None:
        """Takes over a dump; the sums have to be empty."""
        for tenant, day, settled, overdraft, granted, reported, reserved, expired in dumped:
            self.sums[tenant, int(day)] = PeriodSums(
                settled=int(settled),
                overdraft=int(overdraft),
                granted=int(granted),
                reported=int(reported),
                reported_reserved=int(reserved),
                expired=int(expired),
            )
