"""Numbers as text for people: money, time, shares; with their units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.v1.info_pb2 import PriceHours

_MAX_DECIMALS = 10
_LARGEST_PRICE = 1e9
_MIDNIGHT = ("00:00", "24:00")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NEXT_DAY = dict(zip(_DAYS, (*_DAYS[1:], _DAYS[0]), strict=True))


def usd(amount_usd: float) -> str:
    """Formats US dollars, three significant digits, at least cents: ``$0.000417``, ``$12.35``."""
    return usd_column([amount_usd], significant=3)[0]


def usd_column(amounts_usd: Sequence[float], *, significant: int = 2) -> list[str]:
    """Formats US dollars, all with the same number of decimals, as a column for the eye.

    The smallest amount above zero keeps ``significant`` digits.
    """
    smallest = min((amount for amount in amounts_usd if amount > 0), default=1.0)
    decimals = significant - 1 - math.floor(math.log10(smallest))
    decimals = min(max(decimals, 2), _MAX_DECIMALS)
    return [f"${amount:,.{decimals}f}" for amount in amounts_usd]


def seconds(duration_ms: float) -> str:
    """Formats milliseconds as seconds: ``2.41 s``."""
    return f"{duration_ms / 1000:,.2f} s"


def durations(durations_ns: Sequence[int]) -> list[str]:
    """Formats nanoseconds in the first one's unit, and names it there: ``0.61 ms``, ``0.20``."""
    first_ns, *others_ns = durations_ns
    unit, unit_ns = ("ms", 1e6) if first_ns < 1e9 else ("s", 1e9)
    return [f"{first_ns / unit_ns:.2f} {unit}", *(f"{ns / unit_ns:.2f}" for ns in others_ns)]


def price(score_per_usd: float) -> str:
    """Formats a shadow price, without the unit: ``12.25``, ``13,570``."""
    is_readable = 1000 <= score_per_usd < _LARGEST_PRICE
    return f"{score_per_usd:,.0f}" if is_readable else f"{score_per_usd:,.4g}"


def score(value: float) -> str:
    """Formats a score or utility, to the 1e-4 at which decisions are made."""
    return f"{value:.4f}"


def percent(share: float) -> str:
    """Formats a share in [0, 1]: ``12.5 %``."""
    return f"{share * 100:.1f} %"


def evidence(graded_prompts: float, averages: float) -> str:
    """Says in words what a model's scores rest on: ``400 prompts, 30 averages``."""
    if not round(graded_prompts):
        return f"{averages:,.0f} published averages" if round(averages) else "none of its own"
    return f"{graded_prompts:,.0f} prompts, {averages:,.0f} averages"


def count(number: int, noun: str) -> str:
    """Formats a number with its noun: ``1 prompt``, ``10,000 prompts``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def stretches(hours: Sequence[PriceHours]) -> list[str]:
    """Names stretches of the day with other prices, each once: ``16:30 to 00:30 x 0.25``.

    Two that meet at midnight, on the same days or on one and the next, are one stretch. Those that
    differ in their days alone are named once: the days are not told here.
    """
    ends = [one.end for one in hours]
    joined = set()
    for at, evening in enumerate(hours):
        followed = (set(evening.days), {_NEXT_DAY.get(day, day) for day in evening.days})
        for other, night in enumerate(hours):
            if (
                evening.end in _MIDNIGHT
                and evening.start not in _MIDNIGHT
                and night.start in _MIDNIGHT
                and night.end not in _MIDNIGHT
                and night.multiplier == evening.multiplier
                and set(night.days) in followed
            ):
                ends[at] = night.end
                joined.add(other)
    found = (
        f"{one.start} to {ends[at]} x {one.multiplier:g}"
        for at, one in enumerate(hours)
        if at not in joined
    )
    return list(dict.fromkeys(found))
