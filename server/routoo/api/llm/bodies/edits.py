"""Changes of a request's body: the bytes with them, and the edits that lead to other changes.

Envoy keeps the body that it has sent, and asks a fallback with that body edited. So the edits are
relative to the body with the first changes, and far shorter than a second body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    Changes = Mapping[tuple[int, int], bytes]  # by first byte and the one after the last, ascending


class Edit(NamedTuple):
    """One edit: at an offset, some bytes are cut out, and others are put in their place."""

    at: int
    cut: int
    put: bytes


def changed(data: bytes, changes: Changes) -> bytes:
    """Returns bytes with changes, which do not overlap."""
    parts: list[bytes] = []
    kept_to = 0
    for (start, stop), value in changes.items():
        parts += (data[kept_to:start], value)
        kept_to = stop
    parts.append(data[kept_to:])
    return b"".join(parts)


def edits_between(data: bytes, first: Changes, second: Changes) -> list[Edit]:
    """Returns the edits that turn ``data`` with the first changes into ``data`` with the second.

    Args:
        data: the bytes.
        first: changes that do not overlap each other, or those of ``second`` but at the same place.
        second: the other ones.
    """
    edits: list[Edit] = []
    grown = 0
    for start, stop in sorted({**first, **second}):
        there = data[start:stop]
        before, after = first.get((start, stop), there), second.get((start, stop), there)
        if before != after:
            edits.append(Edit(start + grown, len(before), after))
        grown += len(before) - (stop - start)
    return edits
