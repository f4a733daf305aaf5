"""Top-level keys of a JSON body, such as ``model``: their places, and new values for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from routoo.api.extproc.json_body import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The body is known to be JSON, so these need not reject anything. Their quantifiers are possessive:
# they never backtrack, so that the time is linear in the length for any bytes.
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING = re.compile(_TEXT, re.DOTALL)
_KEY = re.compile(rb"[{,\s]*+(" + _TEXT + rb")\s*+:\s*+", re.DOTALL)
_SCALAR = re.compile(rb"[^,}\s]++")
_NEXT_BRACKETS = re.compile(
    rb'[^"{}\[\]]*+(?:' + _TEXT + rb'[^"{}\[\]]*+)*+(?:([{\[]++)|([}\]]++))', re.DOTALL
)
_SPACE = b" \t\r\n"  # JSON's
_QUOTE, _BRACE, _BRACKET = b'"{['


def replace_model(body: bytes, model: str) -> bytes:
    """Returns the body with a new value for each top-level key ``model``.

    The key may occur twice, and readers differ in which one they use, so all are replaced.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        model: the new value.
    """
    return _replaced(body, "model", orjson.dumps(model))


def with_number(body: bytes, name: str, value: int) -> bytes:
    """Returns the body with a number as the value of a top-level key, which may be new.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        name: the key; ASCII without characters that JSON escapes.
        value: the number.
    """
    number = b"%d" % value
    found = _replaced(body, name, number)
    if next(spans(body, name), None) is not None:
        return found
    return _appended(body, name, number)


def with_fields(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """Returns an object with further fields; what it has already is never written over.

    An object among the fields is merged into the body's, unless one of its own fields differs
    there: then the body's stays as it is. A field that is null is not set. A key that stands twice
    is treated at each place. All other bytes stay as they are.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        fields: JSON values; the names are ASCII without characters that JSON escapes.
    """
    for name, value in fields.items():
        places = list(spans(body, name))
        if not places:
            body = _appended(body, name, orjson.dumps(value))
            continue
        parts: list[bytes] = []
        kept_to = 0
        for start, end in places:
            parts += (body[kept_to:start], _merged(body[start:end], value))
            kept_to = end
        body = b"".join((*parts, body[kept_to:]))
    return body


def _merged(there: bytes, value: Any) -> bytes:
    found = read_json(there)
    if found is None:
        return orjson.dumps(value)
    if isinstance(found, dict) and isinstance(value, dict) and _agree(found, value):
        return with_fields(there, value)
    return there


def _agree(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Returns whether no field of ``wanted`` has another value in ``found``."""
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            if not _agree(there, value):
                return False
        elif there is not None and there != value:
            return False
    return True


def _appended(body: bytes, name: str, value: bytes) -> bytes:
    end = body.rindex(b"}")
    comma = b"" if body[:end].rstrip(_SPACE).endswith(b"{") else b","
    return b'%s%s"%s":%s%s' % (body[:end], comma, name.encode(), value, body[end:])


def _replaced(body: bytes, name: str, value: bytes) -> bytes:
    parts: list[bytes] = []
    kept_to = 0
    for start, end in spans(body, name):
        parts += (body[kept_to:start], value)
        kept_to = end
    parts.append(body[kept_to:])
    return b"".join(parts)


def spans(body: bytes, wanted: str) -> Iterator[tuple[int, int]]:
    """Yields the start and end offset, in bytes, of each value of a top-level key.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        wanted: the key.
    """
    quoted = b'"%s"' % wanted.encode()
    at = 0
    while (key := _KEY.match(body, at)) is not None:
        start = key.end()
        at = _value_end(body, start)
        name = key[1]
        if name == quoted or (b"\\" in name and read_json(name) == wanted):
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
