"""The top-level key ``model`` of a JSON body: its places, and a new value for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from routoo.api.extproc.json_body import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

# The body is known to be JSON, so these need not reject anything. Their quantifiers are possessive:
# they never backtrack, so that the time is linear in the length for any bytes.
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING = re.compile(_TEXT, re.DOTALL)
_KEY = re.compile(rb"[{,\s]*+(" + _TEXT + rb")\s*+:\s*+", re.DOTALL)
_SCALAR = re.compile(rb"[^,}\s]++")
_NEXT_BRACKETS = re.compile(
    rb'[^"{}\[\]]*+(?:' + _TEXT + rb'[^"{}\[\]]*+)*+(?:([{\[]++)|([}\]]++))', re.DOTALL
)
_QUOTE, _BRACE, _BRACKET = b'"{['


def replace_model(body: bytes, model: str) -> bytes:
    """Returns the body with a new value for each top-level key ``model``.

    The key may occur twice, and readers differ in which one they use, so all are replaced.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        model: the new value.
    """
    value = orjson.dumps(model)
    parts: list[bytes] = []
    kept_to = 0
    for start, end in model_spans(body):
        parts += (body[kept_to:start], value)
        kept_to = end
    parts.append(body[kept_to:])
    return b"".join(parts)


def model_spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Yields the start and end offset, in bytes, of each value of a top-level key ``model``.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
    """
    at = 0
    while (key := _KEY.match(body, at)) is not None:
        start = key.end()
        at = _value_end(body, start)
        name = key[1]
        if name == b'"model"' or (b"\\" in name and read_json(name) == "model"):
            yield start, at


def _value_end(body: bytes, start: int) -> int:
    first = body[start]
    if first == _QUOTE:
        found = _STRING.match(body, start)
    elif first in (_BRACE, _BRACKET):
        return _nested_end(body, start)
    else:
        found = _SCALAR.match(body, start)
    assert found is not None  # noqa: S101 - the body is JSON
    return found.end()


def _nested_end(body: bytes, start: int) -> int:
    """Returns the end of an object or array.

    Each step consumes one run of brackets and everything before it.
    """
    depth = 0
    while True:
        found = _NEXT_BRACKETS.match(body, start)
        assert found is not None  # noqa: S101 - the body is JSON
        if found[1] is not None:
            depth += len(found[1])
        elif len(found[2]) < depth:
            depth -= len(found[2])
        else:
            return found.start(2) + depth
        start = found.end()
