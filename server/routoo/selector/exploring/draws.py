"""Numbers in [0, 1) that follow from a seed and a decision's id, in place of chance.

The same decision gets the same numbers in every process and in a replay. They are the outputs of
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") at the
state of the decision's number, from a start that the seed and the id's prefix set.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray

_GAMMA: Final = 0x9E3779B97F4A7C15
_FACTORS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS: Final = (30, 27, 31)
_WORD: Final = (1 << 64) - 1
_UNIT_BITS: Final = 11  # of 64 bits, a double keeps 53
_UNIT: Final = 2.0**-53


@lru_cache(maxsize=256)
def start_of(seed: int, use: str, prefix: str) -> int:
    """Returns the start of a sequence, in 64 bits.

    Args:
        seed: of the settings.
        use: what the numbers are for; each use has a sequence of its own.
        prefix: of the decision ids of one process.
    """
    digest = blake2b(f"{seed} {use} {prefix}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def draw(start: int, ticket: int) -> float:
    """Returns the number in [0, 1) of one decision.

    Args:
        start: of the sequence, see ``start_of``.
        ticket: the number in the decision's id.
    """
    mixed = (start + ticket * _GAMMA) & _WORD
    mixed = ((mixed ^ (mixed >> _SHIFTS[0])) * _FACTORS[0]) & _WORD
    mixed = ((mixed ^ (mixed >> _SHIFTS[1])) * _FACTORS[1]) & _WORD
    return ((mixed ^ (mixed >> _SHIFTS[2])) >> _UNIT_BITS) * _UNIT


def draws(start: int, tickets: NDArray[np.int64]) -> FloatArray:
    """Returns the numbers of n decisions, float64 [n]; see ``draw``."""
    mixed = np.uint64(start) + tickets.astype(np.uint64) * np.uint64(_GAMMA)
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(_SHIFTS[2])
    found: FloatArray = (mixed >> np.uint64(_UNIT_BITS)).astype(np.float64) * _UNIT
    return found
