r"""Request bodies as they were read, by one rule for odd ones, whatever their size.

A body whose ``model`` is a route name is routed, or refused with a reason that its sender can act
on. It is never passed on as it came, where somebody might answer it unpaid:

- One that is not JSON (RFC 8259, in UTF-8, with or without a byte order mark) is refused: NaN and
  Infinity, numbers above 1e308, bytes that are no UTF-8, and anything after the object among that.
  Half a pair of surrogates that is escaped, such as ``\ud83d``, is JSON and is read.
- One that has a key twice in an object is refused: readers differ in which of the two they take,
  so that nobody could say what the request costs. ``model`` itself may stand twice: one route name
  is enough, and each is replaced, so that all readers see the same.
- Parts that are nested deep, or have thousands of values where no message, part or tool can be, are
  not read but counted: their text is input. One that has too many values elsewhere is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.api.llm.bodies.edits import changed
from routoo.api.llm.bodies.json_text import (
    BOM,
    TEXT,
    colons_of,
    doubled,
    keys_in,
    read_json,
)
from routoo.api.llm.bodies.large import read_large
from routoo.errors import UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

NO_FIELDS: Final[Mapping[str, bytes]] = MappingProxyType({})
SMALL_BYTES: Final = 16 * 1024
"""Bodies up to this size are built whole, which takes a few milliseconds at most."""
# The body is known to be JSON, so these need not reject anything. They are linear, as ``TEXT`` is.
_STRING = re.compile(TEXT, re.DOTALL)
_KEY = re.compile(rb"[{,\s]*+(" + TEXT + rb")\s*+:\s*+", re.DOTALL)
_SCALAR = re.compile(rb"[^,}\s]++")
_NEXT_BRACKETS = re.compile(
    rb'[^"{}\[\]]*+(?:' + TEXT + rb'[^"{}\[\]]*+)*+(?:([{\[]++)|([}\]]++))', re.DOTALL
)
_QUOTE, _BRACE, _BRACKET = b'"{['


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A JSON object whose ``model`` is a route name; no other key stands twice in an object.

    Attributes:
        data: the bytes.
        values: its members; those that no model reads may be missing where they are large.
        counted: the JSON texts of parts that were too deep or too numerous to be read, as UTF-8;
            in ``values`` a 0 stands for each. A model reads them.
        places: the offsets of values in ``data``, first byte and the one after the last, by the
            names of top-level keys; None: they are looked for when they are needed.
    """

    data: bytes
    values: dict[str, Any]
    counted: tuple[str, ...] = ()
    places: Mapping[str, Sequence[tuple[int, int]]] | None = None

    def has(self, name: str) -> bool:
        """Returns whether the object has a key, even if its value was not read."""
        return name in (self.values if self.places is None else self.places)

    def text_of(self, name: str) -> bytes:
        """Returns the bytes of the value of a top-level key that the object has."""
        start, end = next(iter(self._places(name)))
        return self.data[start:end]

    def rewritten(self, model: str | None, fields: Mapping[str, bytes] = NO_FIELDS) -> bytes:
        """Returns the bytes with what ``changes`` says."""
        return changed(self.data, self.changes(model, fields))

    def changes(
        self, model: str | None, fields: Mapping[str, bytes] = NO_FIELDS
    ) -> dict[tuple[int, int], bytes]:
        """Returns what has to change for another ``model``, by its place; no other byte does.

        A place is the offset of its first byte and of the one after its last, in their order; what
        is new stands at the end of the object.

        Args:
            model: the new value; None: the old one stays.
            fields: further top-level keys and their new values, as JSON. A key may be new; it is in
                ASCII, without characters that JSON escapes.
        """
        new = {} if model is None else {"model": orjson.dumps(model)}
        changes: dict[tuple[int, int], bytes] = {}
        end = self.data.rindex(b"}")
        added = b""
        for name, value in {**new, **fields}.items():
            if self.has(name):
                changes.update(((start, stop), value) for start, stop in self._places(name))
            else:
                added += b',"%s":%s' % (name.encode(), value)
        if added:
            changes[end, end] = added
        return dict(sorted(changes.items()))

    def has_once(self, name: str) -> bool:
        """Returns whether a top-level key stands once, so that all readers see the same value."""
        return len(list(self._places(name))) == 1

    def _places(self, name: str) -> Iterable[tuple[int, int]]:
        return places_of(self.data, name) if self.places is None else self.places[name]


def read_body(data: bytes, route_names: Collection[str]) -> RequestBody | None:
    """Reads a body; None: it is none that is to be routed.

    Args:
        data: the bytes.
        route_names: the values of ``model`` that are routed.

    Raises:
        UnreadableBodyError: it is not JSON, and may be one that is to be routed.
        InvalidRequestError: it is to be routed, and has a key twice or too many values.
    """
    if len(data) <= SMALL_BYTES:
        try:
            values = read_json(data.removeprefix(BOM))
        except orjson.JSONDecodeError:
            pass  # or it is nested so deep that it cannot be built
        else:
            return _read_small(data, values, route_names)
    try:
        found = read_large(data, route_names)
    except UnreadableBodyError as error:
        error.may_be_routed = may_name(data, route_names)
        raise
    return None if found is None else RequestBody(data, *found)


def _read_small(data: bytes, values: Any, route_names: Collection[str]) -> RequestBody | None:
    if not isinstance(values, dict):
        return None
    model = values.get("model")
    if not (isinstance(model, str) and model in route_names):
        # The last of several is the one that was read.
        if data.count(b'"model"') < 2 and b"\\u" not in data:
            return None
        models = [read_json(data[start:end]) for start, end in places_of(data, "model")]
        if not any(isinstance(one, str) and one in route_names for one in models):
            return None
    keys = keys_in(values)
    # Most bodies have no colon in a text.
    if data.count(b":") != keys and colons_of(data) != keys:
        # Those of several models but the last were dropped with all that they hold.
        *dropped, _ = (read_json(data[start:end]) for start, end in places_of(data, "model"))
        if colons_of(data) != keys + sum(1 + keys_in(one) for one in dropped):
            raise doubled(data)
    return RequestBody(data, values)


def may_name(data: bytes, route_names: Collection[str]) -> bool:
    """Returns whether bytes that are not JSON may have a route name for somebody who reads on.

    Args:
        data: the bytes.
        route_names: the values of ``model`` that are routed.
    """
    plain = data.replace(b"\0", b"")  # UTF-16 and UTF-32 of ASCII, which some servers read
    return b"\\u" in plain or any(name.encode() in plain for name in route_names)


def places_of(body: bytes, wanted: str) -> Iterator[tuple[int, int]]:
    """Yields the start and end offset, in bytes, of each value of a top-level key.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted, with or without a byte order
            mark.
        wanted: the key.
    """
    quoted = b'"%s"' % wanted.encode()
    at = len(BOM) if body.startswith(BOM) else 0
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
