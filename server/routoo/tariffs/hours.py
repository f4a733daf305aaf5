"""Hours of the week at which a model has another price, in UTC."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction

from routoo.tariffs.rates import exact

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY = 1440
MINUTES_A_WEEK = 7 * MINUTES_A_DAY
_FIRST_MINUTE = 3 * MINUTES_A_DAY  # 1970 began on a Thursday


@dataclass(frozen=True, slots=True)
class HourWindow:
    """A stretch of some days, in UTC, at which all prices per token or piece are multiplied.

    Attributes:
        start_minute: the first minute of the day, 0 to 1439.
        end_minute: the minute at which it ends, 0 to 1440; not above ``start_minute``: on the
            next day.
        multiplier: of the prices.
        days: the days on which it starts, Monday is 0.
    """

    start_minute: int
    end_minute: int
    multiplier: float
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Week:
    """The multipliers of a week as steps.

    Attributes:
        starts: the minutes of the week, Monday 00:00 UTC is 0, at which a multiplier begins to
            hold; the first is 0.
        multipliers: the multiplier from each of them to the next.
    """

    starts: tuple[int, ...] = (0,)
    multipliers: tuple[Fraction, ...] = (Fraction(1),)

    @classmethod
    def of(cls, windows: tuple[HourWindow, ...]) -> Week:
        """Lays windows out over a week; 1 between them.

        Raises:
            ValueError: two windows overlap; names the day and the time.
        """
        stretches: list[tuple[int, int, Fraction]] = []
        for window in windows:
            length = (window.end_minute - window.start_minute) % MINUTES_A_DAY or MINUTES_A_DAY
            for day in window.days:
                start = day * MINUTES_A_DAY + window.start_minute
                end = start + length
                multiplier = exact(window.multiplier)
                stretches.append((start, min(end, MINUTES_A_WEEK), multiplier))
                if end > MINUTES_A_WEEK:
                    stretches.append((0, end - MINUTES_A_WEEK, multiplier))
        starts: list[int] = []
        multipliers: list[Fraction] = []
        reached = 0
        for start, end, multiplier in sorted(stretches):
            if start < reached:
                day, minute = divmod(start, MINUTES_A_DAY)
                raise ValueError(
                    f"two windows overlap on {DAYS[day]} at {minute // 60:02}:{minute % 60:02}"
                )
            if start > reached:
                starts.append(reached)
                multipliers.append(Fraction(1))
            starts.append(start)
            multipliers.append(multiplier)
            reached = end
        if reached < MINUTES_A_WEEK:
            starts.append(reached)
            multipliers.append(Fraction(1))
        return cls(tuple(starts), tuple(multipliers))

    def at(self, at_s: int) -> Fraction:
        """Returns the multiplier at a time, in seconds since 1970."""
        return self.multipliers[bisect_right(self.starts, minute_of_week(at_s)) - 1]

    @property
    def is_even(self) -> bool:
        """Whether the prices are the same at all hours."""
        return set(self.multipliers) == {Fraction(1)}


def minute_of_week(at_s: int) -> int:
    """Returns the minute of the week, Monday 00:00 UTC is 0, of a time in seconds since 1970."""
    return (at_s // 60 + _FIRST_MINUTE) % MINUTES_A_WEEK
