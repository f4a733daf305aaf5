"""The structure of a JSON text: its brackets, commas and colons with their depths.

It is found as by the first stage of simdjson (Langdale and Lemire, "Parsing gigabytes of JSON per
second", VLDB Journal 2019), with arrays in the place of vector registers: backslashes tell the
quotes that end no text, quotes tell what is within a text, and the rest are signs of structure.
Nothing is built of the values, so that time and memory are linear in the length, whatever the text
holds, and its depth has no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLON, COMMA, BRACE, BRACKET = ord(":"), ord(","), ord("{"), ord("[")
# Bytes in one step, whose arrays fit in the caches; a step holds the interpreter for less than a
# millisecond.
_STEP: Final = 128 * 1024
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
# 1: it opens, -1: it closes.
_DEPTHS: Final = np.zeros(256, np.int8)
_DEPTHS[[BRACE, BRACKET]] = 1
_DEPTHS[list(b"}]")] = -1
_IS_SIGN: Final = np.zeros(256, np.bool_)
_IS_SIGN[list(b"{}[],:")] = True


@dataclass(frozen=True, slots=True)
class Structure:
    """The s signs of a JSON text that stand outside its strings, in their order.

    Attributes:
        at: int32 [s], their offsets in bytes.
        signs: uint8 [s], the signs themselves.
        depths: int32 [s], the number of containers that are open after each.
        whole: whether all strings and containers end, and the first container last.
    """

    at: NDArray[np.int32]
    signs: NDArray[np.uint8]
    depths: NDArray[np.int32]
    whole: bool


def structure_of(text: bytes) -> Structure:
    """Finds the structure of a text of any bytes; of one that is no JSON, some structure."""
    every = np.frombuffer(text, np.uint8)
    at: list[NDArray[np.int32]] = []
    signs: list[NDArray[np.uint8]] = []
    depths: list[NDArray[np.int32]] = []
    escaped = inside = False
    depth = 0
    for start in range(0, len(every), _STEP):
        part = every[start : start + _STEP]
        quotes = part == _QUOTE
        escaped = _take_escaped(part, quotes, before=escaped)
        within = np.bitwise_xor.accumulate(quotes.view(np.uint8))
        if inside:
            within ^= 1
        inside = bool(within[-1])
        found = np.flatnonzero(_IS_SIGN.take(part) & (within == 0))
        if found.size:
            kinds = part.take(found)
            levels = _DEPTHS.take(kinds).cumsum(dtype=np.int32)
            levels += depth
            depth = int(levels[-1])
            at.append((found + start).astype(np.int32))
            signs.append(kinds)
            depths.append(levels)
    if not at:
        none = np.zeros(0, np.int32)
        return Structure(none, none.astype(np.uint8), none, whole=False)
    levels = np.concatenate(depths)
    depths.clear()  # the arrays of a body that is all signs take nine times its size
    # Only the last sign closes the first container.
    whole = not inside and depth == 0 and bool((levels[:-1] > 0).all())
    return Structure(np.concatenate(at), np.concatenate(signs), levels, whole=whole)


def _take_escaped(part: NDArray[np.uint8], quotes: NDArray[np.bool_], *, before: bool) -> bool:
    """Takes away quotes that a backslash escapes, in place.

    Args:
        part: the bytes.
        quotes: bool, where the quotes are.
        before: whether the byte before the part escapes its first.

    Returns:
        Whether the last byte escapes the next one.
    """
    slashes = np.flatnonzero(part == _BACKSLASH)
    if before:
        if slashes.size and slashes[0] == 0:
            slashes = slashes[1:]  # it is escaped, and escapes nothing
        else:
            quotes[0] = False
    if not slashes.size:
        return False
    # Of a run of backslashes, every second one is escaped by the one before it.
    breaks = np.diff(slashes) != 1
    begins = slashes[np.concatenate(([True], breaks))]
    ends = slashes[np.concatenate((breaks, [True]))] + 1
    escaped = ends[(ends - begins) % 2 == 1]
    if escaped.size and escaped[-1] == len(part):
        quotes[escaped[:-1]] = False
        return True
    quotes[escaped] = False
    return False
