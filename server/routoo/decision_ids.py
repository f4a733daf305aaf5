"""Names of decisions."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAG_BYTES = 4
_TAG_SIGNS = 2 * _TAG_BYTES


def decision_ids(prefix: str, tickets: Sequence[int]) -> list[str]:
    """One for each ticket: ``PREFIX-TAG-TICKET``.

    The tag is random, so that nobody can settle another's decision by counting on from its own.
    """
    tags = urandom(_TAG_BYTES * len(tickets)).hex()
    return [
        f"{prefix}-{tags[row * _TAG_SIGNS : (row + 1) * _TAG_SIGNS]}-{ticket:x}"
        for row, ticket in enumerate(tickets)
    ]
