"""The hours of the day, and the times that are usual of a model in each of them, by UTC."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

HOURS: Final = 24
_HOUR_S = 3600.0
# An hour with few reports is taken to be like the whole day; so many reports are assumed to say so.
_ASSUMED = 8.0
_MOST = 200.0  # no day's hour counts more, so that a busy day does not silence the days after
_KEPT = 0.5  # each day counts half as much as the next one
_CUT = math.log(8.0)


@dataclass(frozen=True, slots=True)
class Hours:
    """Means of logarithms by the hour of the day; a value that is never changed.

    The hour that runs is not among them until it is over: in it, the newest reports tell more.

    Attributes:
        hour: the hour that runs, counted since 1970; -1: none has begun.
        reports: the reports of the hour that runs.
        total: the sum of their logarithms.
        weights: [24], what is known of each hour of the day, in reports; empty: nothing.
        means: [24], the mean logarithms.
    """

    hour: int = -1
    reports: int = 0
    total: float = 0.0
    weights: tuple[float, ...] = ()
    means: tuple[float, ...] = ()

    def added(self, value: float, level: float) -> Hours:
        """Returns the hours with one more report in the one that runs.

        Args:
            value: a logarithm; it counts as at most a factor of 8 from ``level``.
            level: the median of the newest ones.
        """
        told = min(max(value, level - _CUT), level + _CUT)
        return Hours(self.hour, self.reports + 1, self.total + told, self.weights, self.means)

    def at(self, time_s: float) -> Hours:
        """Returns the hours with the one of a time running; the same, where it runs already."""
        hour = int(time_s // _HOUR_S)
        if hour == self.hour:
            return self
        if not self.reports:
            return replace(self, hour=hour)
        weights = list(self.weights or (0.0,) * HOURS)
        means = list(self.means or (0.0,) * HOURS)
        at, new = self.hour % HOURS, min(float(self.reports), _MOST)
        kept = _KEPT * weights[at]
        means[at] = (kept * means[at] + new * self.total / self.reports) / (kept + new)
        weights[at] = kept + new
        return Hours(hour, 0, 0.0, tuple(weights), tuple(means))

    def usual(self, hour: int | None = None) -> float | None:
        """Returns what is usual in an hour, by default the one that runs; None: not known."""
        whole = math.fsum(self.weights)
        if not whole:
            return None
        at = (self.hour if hour is None else hour) % HOURS
        mean = math.fsum(w * m for w, m in zip(self.weights, self.means, strict=True)) / whole
        return (self.weights[at] * self.means[at] + _ASSUMED * mean) / (self.weights[at] + _ASSUMED)

    def entered_at(self, level: float, before: Hours) -> float:
        """Returns what is to be expected at the begin of the hour that runs.

        It is the median of three expectations: what is usual in this hour, what was of late, and
        what was of late moved by what usually changes from the hour before. Any two of them outvote
        one that a day unlike the others has spoiled.

        Args:
            level: what was of late.
            before: the hours as they were until the hour before.
        """
        at = self.hour % HOURS
        then, now = before.usual(before.hour), self.usual()
        if then is None or now is None or not self.weights[at]:
            return level
        return sorted((now, level, level + now - then))[1]

    def plain(self) -> list[Any]:
        """Returns the hours as plain values, which ``read`` takes."""
        return [self.hour, self.reports, self.total, list(self.weights), list(self.means)]

    @classmethod
    def read(cls, values: Sequence[Any]) -> Self:
        """Makes hours of what ``plain`` returned.

        Raises:
            ValueError, TypeError: it is none.
        """
        hour, reports, total, weights, means = values
        if any(isinstance(one, bool) or not isinstance(one, int) for one in (hour, reports)):
            raise TypeError("an hour is no whole number")
        told = [float(total), *map(float, weights), *map(float, means)]
        if not all(map(math.isfinite, told)) or reports < 0 or any(one < 0 for one in weights):
            raise ValueError("the figures of hours have to be finite numbers")
        if len(weights) != len(means) or len(weights) not in (0, HOURS):
            raise ValueError("a day has 24 hours")
        return cls(
            hour, reports, float(total), tuple(map(float, weights)), tuple(map(float, means))
        )
