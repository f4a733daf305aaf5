"""The parts in which a large batch is predicted, and in which its decisions are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routoo.routing.decision import Decision
    from routoo.routing.request import PromptRequest

# So many decisions of a batch keep their figures in memory together.
_KEPT_TOGETHER: Final = 1024
MOST_CHARS: Final = 1_000_000
"""Characters of prompts that are predicted at once, which takes some ten milliseconds."""


def parts_of(
    requests: Sequence[PromptRequest], most_prompts: int
) -> Iterator[Sequence[PromptRequest]]:
    """Yields all requests, in parts of so many prompts or, where these are long, of fewer."""
    start = chars = 0
    for row, request in enumerate(requests):
        size = len(request.text)
        if row > start and (row - start == most_prompts or chars + size > MOST_CHARS):
            yield requests[start:row]
            start, chars = row, 0
        chars += size
    if start < len(requests):
        yield requests[start:]


def kept_parts(decisions: Sequence[Decision]) -> Iterator[Sequence[Decision]]:
    """Yields the decisions of a batch, in its order, as decisions of parts of it.

    A decision that stays open keeps the figures of its part in memory, and not those of the whole
    batch, of which most decisions may be closed.
    """
    if len(decisions) <= _KEPT_TOGETHER:
        yield decisions
        return
    for start in range(0, len(decisions), _KEPT_TOGETHER):
        within = decisions[start : start + _KEPT_TOGETHER]
        part = within[0].batch.rows(start, start + len(within))
        yield [replace(one, batch=part, row=row) for row, one in enumerate(within)]
