"""Sampling of decisions for the log, by a hash of their ids, so that reports can follow them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

# Constants of SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
# number generators").
_MIX = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT = np.uint64(31)


class Sampler:
    """Samples a share of the decisions, the same ones in every process.

    Args:
        ratio: the share of the decisions that is logged, in (0, 1].
    """

    def __init__(self, ratio: float) -> None:
        self._all = ratio >= 1.0
        self._below = np.uint64(min(int(ratio * 2.0**64), 2**64 - 1))

    def takes(self, prefix: str, tickets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Returns whether decisions are logged, bool [n].

        Args:
            prefix: of the decision ids, see ``routoo.engine.open_decisions.DecisionIds``.
            tickets: int64 [n], the numbers in the decision ids.
        """
        if self._all:
            return np.ones(len(tickets), np.bool_)
        mixed = tickets.astype(np.uint64) ^ _seed_of(prefix)
        for shift, factor in _MIX:
            mixed ^= mixed >> shift
            mixed *= factor
        mixed ^= mixed >> _LAST_SHIFT
        return mixed < self._below

    def takes_id(self, decision_id: str) -> bool:
        """Returns whether the decision with an id is logged; False: the id is not Routoo's."""
        prefix, _, rest = decision_id.partition("-")
        ticket = rest.rpartition("-")[2]
        try:
            tickets = np.array([int(ticket, 16)], np.int64)
        except (ValueError, OverflowError):
            return False
        return bool(self.takes(prefix, tickets)[0])


@lru_cache(maxsize=64)
def _seed_of(prefix: str) -> np.uint64:
    digest = blake2b(prefix.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
