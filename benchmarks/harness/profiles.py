"""Shapes of load, and the loops that make calls: by several callers, or at a given rate."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_IN_FLIGHT = 2048
"""The most calls in flight at a given rate; further calls are counted and not made."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a profile: ``factor`` times the base load for ``duration_s`` seconds."""

    duration_s: float
    factor: float


def steady(duration_s: float) -> list[Stage]:
    """Keeps the base load all the time."""
    return [Stage(duration_s, 1.0)]


def ramp(duration_s: float) -> list[Stage]:
    """Goes from an eighth of the base load to twice of it, in steps."""
    factors = (0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    return [Stage(duration_s / len(factors), factor) for factor in factors]


def burst(duration_s: float) -> list[Stage]:
    """Makes a quarter of the base load, and four times of it for a fifth of the time."""
    period_s = min(10.0, duration_s / 2)
    periods = max(1, round(duration_s / period_s))
    return [Stage(0.8 * period_s, 0.25), Stage(0.2 * period_s, 4.0)] * periods


PROFILES: dict[str, Callable[[float], list[Stage]]] = {
    "steady": steady,
    "ramp": ramp,
    "burst": burst,
    "soak": steady,
}


class Caller(Protocol):
    """Makes calls."""

    async def call(self, number: int) -> str:
        """Makes the ``number``-th call and returns its status; does not raise."""

    async def close(self) -> None:
        """Closes its connections."""


class Calls:
    """The results of the calls, in the order of their ends.

    Attributes:
        began_s: each call's start, in seconds since the load's; at a given rate, its due time.
        took_s: the time until each call's end, in seconds.
        status: each call's status, an index into ``names``.
        names: the statuses that were seen.
        unsent: the number of calls at a given rate that were not made: too many were in flight.
    """

    def __init__(self) -> None:
        self.began_s = array("d")
        self.took_s = array("d")
        self.status = array("B")
        self.names: list[str] = []
        self.unsent = 0

    def add(self, began_s: float, ended_s: float, status: str) -> None:
        """Adds a call."""
        if status not in self.names:
            self.names.append(status)
        self.began_s.append(began_s)
        self.took_s.append(ended_s - began_s)
        self.status.append(self.names.index(status))

    def by_status(self) -> dict[str, int]:
        """Returns the number of calls by status."""
        counts = np.bincount(np.asarray(self.status), minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    def latencies(self, from_s: float = 0.0, to_s: float = float("inf")) -> dict[str, float | None]:
        """Returns percentiles of the OK calls that ended in an interval, in milliseconds."""
        took_s = np.asarray(self.took_s)
        ended_s = np.asarray(self.began_s) + took_s
        is_ok = np.asarray([name == "OK" for name in self.names], dtype=bool)
        wanted = (ended_s >= from_s) & (ended_s < to_s)
        if self.names:
            wanted &= is_ok[np.asarray(self.status)]
        chosen_ms = took_s[wanted] * 1e3
        if not len(chosen_ms):
            return {"p50_ms": None, "p99_ms": None, "p99_9_ms": None, "worst_ms": None}
        p50, p99, p99_9 = np.percentile(chosen_ms, [50, 99, 99.9]).tolist()
        return {"p50_ms": p50, "p99_ms": p99, "p99_9_ms": p99_9, "worst_ms": chosen_ms.max().item()}


@dataclass(frozen=True, slots=True)
class Load:
    """The settings of a load.

    Attributes:
        stages: the profile.
        concurrency: callers of the base load; each waits for its reply before the next call.
        rate_per_s: calls per second of the base load, at random times, without waiting for
            answers; None: by callers instead.
        most_calls: the load ends after so many calls.
    """

    stages: Sequence[Stage]
    concurrency: int
    rate_per_s: float | None
    most_calls: int

    @property
    def duration_s(self) -> float:
        """The duration of all stages, in seconds."""
        return sum(stage.duration_s for stage in self.stages)

    def factor_at(self, at_s: float) -> float:
        """Returns the factor of the stage at a time; 0 after the last."""
        for stage in self.stages:
            at_s -= stage.duration_s
            if at_s < 0:
                return stage.factor
        return 0.0


async def make(load: Load, caller: Caller, calls: Calls, over: Callable[[], bool]) -> None:
    """Makes the load until its end or until ``over`` returns true; then waits for all calls."""
    if load.rate_per_s is None:
        await _by_callers(load, caller, calls, over)
    else:
        await _at_rate(load, load.rate_per_s, caller, calls, over)


async def _by_callers(load: Load, caller: Caller, calls: Calls, over: Callable[[], bool]) -> None:
    started_s = perf_counter()
    made = 0

    async def one(row: int) -> None:
        nonlocal made
        while (began_s := perf_counter() - started_s) < load.duration_s and not over():
            if row >= max(1, round(load.concurrency * load.factor_at(began_s))):
                await asyncio.sleep(0.02)  # this stage has fewer callers
                continue
            if made >= load.most_calls:
                return
            made += 1
            status = await caller.call(made)
            calls.add(began_s, perf_counter() - started_s, status)

    most = max(stage.factor for stage in load.stages)
    await asyncio.gather(*map(one, range(max(1, round(load.concurrency * most)))))


async def _at_rate(
    load: Load, rate_per_s: float, caller: Caller, calls: Calls, over: Callable[[], bool]
) -> None:
    rng = Random(1)  # noqa: S311 - times of calls
    started_s = perf_counter()
    in_flight: set[asyncio.Task[None]] = set()

    async def one(number: int, due_s: float) -> None:
        status = await caller.call(number)
        calls.add(due_s, perf_counter() - started_s, status)

    due_s, made = 0.0, 0
    while due_s < load.duration_s and made < load.most_calls and not over():
        wait_s = due_s - (perf_counter() - started_s)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif made % 64 == 0:
            await asyncio.sleep(0)  # the loop is late: replies need a turn, too
        if len(in_flight) < MOST_IN_FLIGHT:
            made += 1
            task = asyncio.create_task(one(made, due_s))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        else:
            calls.unsent += 1
        due_s += rng.expovariate(rate_per_s * load.factor_at(due_s))
    if in_flight:
        await asyncio.wait(in_flight)
