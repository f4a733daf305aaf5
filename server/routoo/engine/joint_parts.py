"""The parts in which a large batch is predicted, so that single requests run in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routoo.routing.request import PromptRequest

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
