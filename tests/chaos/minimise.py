"""Minimising a failing schedule by delta debugging.

The algorithm is ddmin of Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
input", IEEE Transactions on Software Engineering 28 (2002). A run of a real site is not repeatable
to the instruction, so a part counts as innocent only after several runs without a fault.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Fails = Callable[[tuple[int, ...]], Awaitable[bool]]


async def minimal(numbers: Sequence[int], fails: Fails, *, most_probes: int) -> tuple[int, ...]:
    """Returns a smallest part of a failing schedule that still fails.

    No event of it can be left out by itself, unless ``most_probes`` came to its end before.

    Args:
        numbers: the events of a schedule that is known to fail.
        fails: runs these events, and tells whether a promise was broken.
        most_probes: most calls of ``fails``.
    """
    kept = tuple(numbers)
    probes = 0
    if most_probes > 0 and kept:
        probes += 1
        if await fails(()):
            return ()
    parts = 2
    while len(kept) >= 2 and probes < most_probes:
        for candidate, parts_then in _candidates(kept, parts):
            if probes >= most_probes:
                return kept
            probes += 1
            if await fails(candidate):
                kept, parts = candidate, parts_then
                break
        else:
            if parts >= len(kept):
                return kept
            parts = min(len(kept), 2 * parts)
    return kept


def _candidates(kept: tuple[int, ...], parts: int) -> list[tuple[tuple[int, ...], int]]:
    """Returns the parts and their complements, each with the number of parts to go on with."""
    cuts = [round(len(kept) * at / parts) for at in range(parts + 1)]
    pieces = [kept[first:end] for first, end in pairwise(cuts)]
    found = [(piece, 2) for piece in pieces]
    if parts > 2:
        found += [
            (tuple(one for one in kept if one not in piece), max(2, parts - 1)) for piece in pieces
        ]
    return found
