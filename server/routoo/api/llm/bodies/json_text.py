"""Values of JSON texts, even of ones that are cut within a character, and keys that stand twice."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

import orjson

from routoo.errors import InvalidRequestError

BOM = b"\xef\xbb\xbf"
"""The byte order mark that some clients put before UTF-8; it belongs to no JSON."""
TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string of a text that is known to be JSON. The quantifiers are possessive: they never
backtrack, so that the time is linear in the length for any bytes."""
_STRING = re.compile(TEXT, re.DOTALL)
_MOST_NAME_CHARS = 60
_HEX = rb"[0-9a-fA-F]{2}"
# An escape of a string, from its backslash on: half a pair of surrogates is the third kind.
_ESCAPE = re.compile(
    rb"\\(?:(u[dD][89abAB]"
    + _HEX
    + rb"\\u[dD][c-fC-F]"
    + _HEX
    + rb")|(u[dD][89a-fA-F]"
    + _HEX
    # Anything else that is escaped: a backslash, too, so that the next one begins an escape.
    + rb")|.)",
    re.DOTALL,
)


def read_json(body: bytes) -> Any:
    r"""Returns the value of a body.

    JSON's grammar allows half a surrogate pair, such as ``\ud83d``, which a client leaves that
    cuts a text within an emoji. It is read as U+FFFD; UTF-8 has no bytes for it.

    Args:
        body: bytes without a byte order mark.

    Raises:
        orjson.JSONDecodeError: the body is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = _ESCAPE.sub(lambda found: rb"\ufffd" if found[2] else found[0], body)
        if mended == body:
            raise
        return orjson.loads(mended)


def keys_in(value: Any) -> int:
    """Returns the number of keys of all objects in a value that was read."""
    keys = 0
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            keys += len(one)
            one = one.values()
        elif not isinstance(one, list):
            continue
        left += [inner for inner in one if isinstance(inner, (dict, list))]
    return keys


def colons_of(body: bytes) -> int:
    """Returns the number of keys that are written in a JSON text, at any depth."""
    return _STRING.sub(b"", body).count(b":")


def doubled(text: bytes) -> InvalidRequestError:
    """Makes the error for a JSON text in which an object has a key other than ``model`` twice.

    Args:
        text: the text; its size is bounded.
    """
    name = ""

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal name
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen and key != "model":
                name = name or key
            seen.add(key)

    # Too deep, or with a number too long for that parser: the key stays unnamed.
    with suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=look)
    return doubled_key(name)


def doubled_key(name: str) -> InvalidRequestError:
    """Makes the error for a key that an object has twice; empty: it is not known which."""
    told = f" {name[:_MOST_NAME_CHARS]!r}" if name else ""
    return InvalidRequestError(
        f"the key{told} stands twice in one object of the body; send it once, as readers differ in"
        " which of the two they take"
    )
