"""Reading of request bodies as JSON, also of text that is cut within a character."""

from __future__ import annotations

import re
from typing import Any

import orjson

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
