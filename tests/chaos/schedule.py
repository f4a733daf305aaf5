"""Schedules of faults, drawn from a seed: the same seed gives the same schedule."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FIRST_S = 1.0
"""Faults begin once some requests have been answered."""
_MEAN_GAP_S = 1.6
_CALM_SHARE = 0.15
"""The last part of a run begins no fault, so that requests show whether the site has recovered."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fault: it begins, lasts, and is taken back.

    Attributes:
        number: its place in the whole schedule, kept when others are left out.
        at_s: its begin, seconds after the load has begun.
        lasts_s: time until it is taken back, in seconds.
        fault: its name in the table of faults.
        target: the process, connection or tenant that it hits; empty: there is one only.
        argument: its size, whose meaning depends on the fault.
    """

    number: int
    at_s: float
    lasts_s: float
    fault: str
    target: str = ""
    argument: float = 0.0

    def __str__(self) -> str:
        size = f" {self.argument:g}" if self.argument else ""
        target = f" {self.target}" if self.target else ""
        return (
            f"{self.number}: {self.fault}{target}{size}, {self.at_s:.2f} s + {self.lasts_s:.2f} s"
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """The terms by which events of one fault are drawn.

    Attributes:
        weight: how often it is drawn, relative to the others.
        targets: what it may hit; one is drawn.
        lasts_s: shortest and longest duration, in seconds.
        argument: draws its size.
    """

    weight: float
    targets: Sequence[str]
    lasts_s: tuple[float, float]
    argument: Callable[[Random], float] = lambda _: 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The faults of one run.

    Attributes:
        seed: the seed that they were drawn from.
        seconds: duration of the load, in seconds.
        events: the faults, by begin.
    """

    seed: int
    seconds: float
    events: tuple[Event, ...]

    def only(self, numbers: set[int]) -> Schedule:
        """Returns the schedule without all events but these.

        Raises:
            ValueError: a number that the schedule does not have.
        """
        missing = numbers - {event.number for event in self.events}
        if missing:
            raise ValueError(f"no event {min(missing)}; the last one is {len(self.events) - 1}")
        kept = tuple(event for event in self.events if event.number in numbers)
        return Schedule(self.seed, self.seconds, kept)


def draw(seed: int, seconds: float, kinds: Mapping[str, Kind]) -> Schedule:
    """Draws a schedule: exponential gaps between faults that may overlap.

    Args:
        seed: of the random generator.
        seconds: duration of the load.
        kinds: the faults to draw from, by name.
    """
    chance = Random(f"faults {seed}")  # noqa: S311 - the same faults in every run of a seed
    names = sorted(kinds)
    weights = [kinds[name].weight for name in names]
    events: list[Event] = []
    last_s = seconds * (1 - _CALM_SHARE)
    at_s = _FIRST_S + chance.expovariate(1 / _MEAN_GAP_S)
    while at_s < last_s:
        (name,) = chance.choices(names, weights)
        kind = kinds[name]
        lasts_s = min(chance.uniform(*kind.lasts_s), last_s - at_s)
        target = chance.choice(kind.targets)
        events.append(Event(len(events), at_s, lasts_s, name, target, kind.argument(chance)))
        at_s += chance.expovariate(1 / _MEAN_GAP_S)
    return Schedule(seed, seconds, tuple(events))


Moment = tuple[float, bool, Event]
"""Seconds after the begin of the load; whether the event begins, or is taken back; the event."""


def moments(schedule: Schedule) -> list[Moment]:
    """Returns begins and ends in the order of time; at one time, ends come first."""
    found = [(event.at_s, True, event) for event in schedule.events]
    found += [(event.at_s + event.lasts_s, False, event) for event in schedule.events]
    return sorted(found, key=lambda one: (one[0], one[1], one[2].number))
