"""Features of pairs of neighbouring bytes: each is a number of tokens that begin between the two.

Pairs of ASCII are classes (digits, kinds of punctuation, spaces); those of two letters, of a space
and a letter, and of a letter and a space have features of their own, as they tell frequent words
from others. A longer character counts where it begins, by its script and what stands before it,
and by its second byte: its block of 128 code points, or the letter itself where it has two bytes.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final

EDGE: Final = 0xFF
_TWO_BYTES, _THREE_BYTES, _FOUR_BYTES, _LAST = 0xC0, 0xE0, 0xF0, 0xF4
_PUNCTUATION: Final = (
    "\"'`", "([{<", ")]}>", ".!?", ",;:", "/\\", "_", "-", "=+*%^~&|", "#@$",
)  # fmt: skip
# Greatest first byte of each group of scripts.
_SCRIPTS: Final = (
    0xC2, 0xC3, 0xC5, 0xCB, 0xCD, 0xCF, 0xD1, 0xD3, 0xD5, 0xD7,
    0xDB, 0xDF, 0xE0, 0xE1, 0xE2, 0xE3, 0xE9, 0xED, 0xEF, 0xF4,
)  # fmt: skip
_BEFORE: Final = {"a": "letter", "A": "letter", "inner": "inner", " ": " ", "\n": "\n", "\t": "\n"}
_CLASSES: Final = {
    " ": " ",
    "\t": "\t",
    **dict.fromkeys(ascii_lowercase, "a"),
    **dict.fromkeys(ascii_uppercase, "A"),
    **dict.fromkeys(digits, "0"),
    **{sign: f"mark {at}" for at, members in enumerate(_PUNCTUATION) for sign in members},
}


def features_of(first: int, second: int) -> tuple[str, ...]:
    """Returns the features of a pair; none: no token begins there, or it is never part of UTF-8.

    Args:
        first: the first byte; 255 stands for the begin of a text.
        second: the byte after it; 255 stands for the end.
    """
    if second > _LAST or _LAST < first < EDGE:
        return ()
    if _TWO_BYTES <= first < EDGE:
        return _inside(first, second) if 0x80 <= second < _TWO_BYTES else ()
    if 0x80 <= first < _TWO_BYTES and 0x80 <= second < _TWO_BYTES:
        return ()
    if second >= _TWO_BYTES:
        script = next(at for at, last in enumerate(_SCRIPTS) if second <= last)
        return (f"begin {_BEFORE.get(_class(first), 'other')} {script}",)
    return _ascii(first, second)


def _ascii(first: int, second: int) -> tuple[str, ...]:
    one, other = _class(first), _class(second)
    letters = chr(first).lower() + chr(second).lower()
    if first == second and one.startswith("mark"):
        found: tuple[str, ...] = (f"same {first:02x}",)
    elif one in "aA" and other in "aA" and (one, other) != ("a", "A"):
        found = (f"letters {letters}", *((f"case {one}{other}",) if one == "A" else ()))
    elif one in " \n" and other in "aA":
        found = (f"word {letters[1]}", *(() if one + other == " a" else (f"word {one!r}{other}",)))
    elif one == "a" and other == " ":
        found = (f"end {letters[0]}",)
    else:
        found = (f"pair {one!r} {other!r}",)
    return found


def _inside(first: int, second: int) -> tuple[str, ...]:
    if first < _THREE_BYTES:
        return (f"letter {first:02x}{second:02x}",) if first > _TWO_BYTES + 2 else ()
    if first >= _FOUR_BYTES:
        return (f"block {first:02x}{second:02x}",)
    if 0xE4 <= first <= 0xE9:
        return ("block ideographs",)
    if 0xEB <= first <= 0xEC:
        return ("block hangul",)
    return (f"block {first:02x}{second & 0xFE:02x}",)


def _class(byte: int) -> str:
    sign = chr(byte)
    if byte in (EDGE, 10, 13):
        return "\n"
    if sign in _CLASSES:
        return _CLASSES[sign]
    return "inner" if 0x80 <= byte < _TWO_BYTES else "control"
