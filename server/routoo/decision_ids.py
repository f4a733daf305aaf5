"""Ids of decisions: unique across processes, and counted on across engines."""

from __future__ import annotations

from itertools import count
from os import urandom
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAG_BYTES = 4
_TAG_SIGNS = 2 * _TAG_BYTES


class DecisionIds:
    """Ids as ``PREFIX-TAG-NUMBER``. For any thread: a counter of itertools gives each number once.

    The tag is random, so that nobody can settle another's decision by counting on from its own.

    Args:
        prefix: unique to the process.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._tickets = count(1)

    def tickets(self, n: int) -> list[int]:
        """The next n numbers."""
        return [next(self._tickets) for _ in range(n)]

    def named(self, tickets: Sequence[int]) -> list[str]:
        """An id for each number."""
        tags = urandom(_TAG_BYTES * len(tickets)).hex()
        return [
            f"{self.prefix}-{tags[row * _TAG_SIGNS : (row + 1) * _TAG_SIGNS]}-{ticket:x}"
            for row, ticket in enumerate(tickets)
        ]

    def new(self) -> str:
        """The next id."""
        return self.named([next(self._tickets)])[0]
