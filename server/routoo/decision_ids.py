"""Ids of decisions: unique across processes, and counted on across engines."""

from __future__ import annotations

from itertools import count


class DecisionIds:
    """Ids as ``PREFIX-NUMBER``. For any thread: a counter of itertools gives each number once.

    Args:
        prefix: unique to the process.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._tickets = count(1)

    def tickets(self, n: int) -> list[int]:
        """The next n numbers."""
        return [next(self._tickets) for _ in range(n)]

    def named(self, ticket: int) -> str:
        """The id of a number."""
        return f"{self.prefix}-{ticket:x}"

    def new(self) -> str:
        """The next id."""
        return self.named(next(self._tickets))
