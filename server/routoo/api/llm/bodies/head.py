"""The beginning of a body that is too long to be read, completed to a JSON text.

A value that is cut off keeps what is there of a string, and is left out where it is a number or a
key without a value; then all containers that are open are closed. Whether the rest is what it
seems, nobody knows: keys that follow may be any.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from routoo.api.llm.bodies.json_text import TEXT
from routoo.api.llm.bodies.structure import BRACE, BRACKET, COLON, COMMA, structure_of

if TYPE_CHECKING:
    from routoo.api.llm.bodies.structure import Structure

_DEEPEST: Final = 64
_STRING = re.compile(TEXT, re.DOTALL)
_SPACE: Final = b" \t\r\n"
# An escape that is cut off: a backslash that none stands before, and up to three of four digits.
_CUT_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")
# What may stand before the data of an image in its part.
_BEFORE_BYTES: Final = 300
_IMAGE_BYTES: Final = 64
_CLOSING: Final = {BRACE: b"}", BRACKET: b"]"}


class CompletedHead(NamedTuple):
    """A JSON text that begins as a body does.

    Attributes:
        text: the text.
        common_bytes: so many of its first bytes are those of the body, and no value among them is
            cut off.
        in_image: whether the body was cut within the data of an image.
    """

    text: bytes
    common_bytes: int
    in_image: bool


def completed(head: bytes) -> CompletedHead | None:
    """Completes the beginning of a JSON object; None: it is none, or nested too deep.

    Args:
        head: at least the first bytes of a body.
    """
    structure = structure_of(head)
    depths = structure.depths
    if not len(depths) or structure.signs[0] != BRACE or depths.min() < 1:
        return None
    deepest = int(depths[-1])
    if deepest > _DEEPEST:
        return None
    opens = _still_open(structure, deepest)
    last, sign = int(structure.at[-1]), int(structure.signs[-1])
    tail = head[last + 1 :].lstrip(_SPACE)
    closing = b"".join(_CLOSING[one] for one in reversed(opens))
    if sign in (COLON, COMMA, BRACE, BRACKET):
        is_value = sign == COLON or opens[-1] == BRACKET
        if is_value and tail.startswith(b'"'):
            if _STRING.match(tail) is not None:
                return CompletedHead(head + closing, len(head), in_image=False)
            kept = _whole_characters(head)
            start = len(head) - len(tail)
            return CompletedHead(b'%b"%b' % (kept, closing), start, _is_image(head, start))
        keep = last + 1
        if sign == COLON:  # the key goes, too
            keep = int(structure.at[-2]) + 1
        # A comma before what is left out.
        kept = head[:keep].rstrip(_SPACE).removesuffix(b",")
        return CompletedHead(kept + closing, len(kept), in_image=False)
    return CompletedHead(head[: last + 1] + closing, last + 1, in_image=False)


def _still_open(structure: Structure, deepest: int) -> list[int]:
    """Returns the signs of the containers that are open at the end, the outermost first."""
    opening = (structure.signs == BRACE) | (structure.signs == BRACKET)
    at = np.flatnonzero(opening & (structure.depths <= deepest))
    depths = structure.depths[at]
    # The last one of a depth that is opened is the one that is open.
    last = (at[np.flatnonzero(depths == depth)[-1]] for depth in range(1, deepest + 1))
    return [int(structure.signs[one]) for one in last]


def _whole_characters(head: bytes) -> bytes:
    """Returns the bytes without an escape or a character that is cut off at their end."""
    cut = _CUT_ESCAPE.search(head, max(0, len(head) - _BEFORE_BYTES))
    if cut is not None:
        return head[: cut.start(1)]
    for back in range(1, min(4, len(head)) + 1):
        byte = head[-back]
        if byte < 0x80:
            return head
        if byte >= 0xC0:  # the first of a character's bytes
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return head if length <= back else head[:-back]
    return head


def _is_image(head: bytes, start: int) -> bool:
    """Returns whether a string is the data of an image, by its beginning or what stands before."""
    if head[start + 1 : start + 1 + _IMAGE_BYTES].startswith(b"data:image/"):
        return True
    before = head[max(0, start - _BEFORE_BYTES) : start]
    return b'"image/' in before and before.rstrip(b" \t\r\n:").endswith(b'"data"')
