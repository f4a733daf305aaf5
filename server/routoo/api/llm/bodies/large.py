"""Reading of large request bodies, in short steps and without building what is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson

from routoo.api.llm.bodies.json_text import (
    BOM,
    doubled,
    doubled_key,
    keys_in,
    read_json,
)
from routoo.api.llm.bodies.structure import BRACE, BRACKET, COLON, COMMA, structure_of
from routoo.errors import InvalidRequestError, UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.api.llm.bodies.structure import Structure

READ: Final = frozenset(
    {
        *("messages", "input", "instructions", "system", "prompt", "suffix", "tools", "functions"),
        *("response_format", "text", "prediction", "output_format", "output_config"),
        *("prompt_cache_key", "container", "extra_body", "cached_content", "cachedContent"),
    }
)
"""The keys of a body whose values are read, however large they are."""
MOST_SIGNS: Final = 400_000
"""Brackets, commas and colons of what is built: some 200,000 values."""
# A body, its messages, a message, its parts, a part, and what a part holds: below that nothing is
# told apart.
_ELEMENT, _COUNTED_FROM = 2, 6
_MOST_COUNTED_SIGNS: Final = 1000
_DEEPEST: Final = 64
_MOST_KEYS: Final = 10_000
# One call of the parser holds the interpreter for about a millisecond.
_STEP_BYTES: Final = 64 * 1024
_STEP_SIGNS: Final = 8192
_SPACE: Final = b" \t\r\n"
_END_BRACE: Final = ord("}")
_NOT_JSON: Final = "the body is not JSON in UTF-8"
_TOO_MANY: Final = (
    "the body has too many values; send fewer messages, parts and tools, at most some 200,000"
    " values in all"
)


class _Member(NamedTuple):
    """A member of the body: where its value is, in bytes and in signs, without the last."""

    start: int
    end: int
    first: int
    last: int


class LargeRead(NamedTuple):
    """A large body as it was read; ``RequestBody`` has the same."""

    values: dict[str, Any]
    counted: tuple[str, ...]
    places: Mapping[str, Sequence[tuple[int, int]]]


def read_large(data: bytes, route_names: Collection[str]) -> LargeRead | None:
    """Reads a body of any size; None: it is none that is to be routed.

    Raises:
        UnreadableBodyError: it is not JSON.
        InvalidRequestError: it is to be routed, and has a key twice or too many values.
    """
    structure = structure_of(data)
    if not len(structure.at):
        _parsed(data.removeprefix(BOM))  # a text or a number, if it is JSON
        return None
    body = _Large(data, structure)
    members = body.members()
    if members is None:
        return None
    models = [body.scalar(one) for name, one in members if name == "model"]
    if not any(isinstance(model, str) and model in route_names for model in models):
        return None
    places: dict[str, list[tuple[int, int]]] = {}
    for name, one in members:
        places.setdefault(name, []).append((one.start, one.end))
    for name, found in places.items():
        if len(found) > 1 and name != "model":
            raise doubled_key(name)
    body.check_size(members)
    values = {name: body.read(one) for name, one in members if body.is_needed(name, one)}
    return LargeRead(values, tuple(body.counted), places)


class _Large:
    """A body with its structure.

    Attributes:
        counted: the texts of the parts that were not built.
    """

    def __init__(self, data: bytes, structure: Structure) -> None:
        self._data = data
        self._at, self._signs, self._depths = structure.at, structure.signs, structure.depths
        self.counted: list[str] = []
        begin = len(BOM) if data.startswith(BOM) else 0
        if not structure.whole or (
            data[begin : int(self._at[0])].strip(_SPACE)
            or data[int(self._at[-1]) + 1 :].strip(_SPACE)
        ):
            raise UnreadableBodyError(_NOT_JSON)
        self._colons = np.flatnonzero(self._signs == COLON)
        self._opens, self._closes = self._counted_parts()

    def members(self) -> list[tuple[str, _Member]] | None:
        """Returns names and places of the members of the object; None: it is an array."""
        if self._signs[0] != BRACE:
            return None
        if self._signs[-1] != _END_BRACE:
            raise UnreadableBodyError(_NOT_JSON)
        top = np.flatnonzero(self._depths == 1)
        colons = top[self._signs[top] == COLON]
        commas = top[self._signs[top] == COMMA]
        if len(colons) > _MOST_KEYS:
            raise UnreadableBodyError(_TOO_MANY)
        ends = [*commas.tolist(), len(self._at) - 1]
        if len(colons) != len(ends):
            if len(colons) or len(commas) or self._between(0, len(self._at) - 1).strip(_SPACE):
                raise UnreadableBodyError(_NOT_JSON)
            return []
        found = []
        before = 0
        for colon, end in zip(colons.tolist(), ends, strict=True):
            if colon < before:
                raise UnreadableBodyError(_NOT_JSON)
            name = _parsed(self._between(before, colon))
            if not isinstance(name, str):
                raise UnreadableBodyError(_NOT_JSON)
            value = self._between(colon, end)
            start = int(self._at[colon]) + 1 + len(value) - len(value.lstrip(_SPACE))
            found.append((name, _Member(start, start + len(value.strip(_SPACE)), colon + 1, end)))
            before = end
        return found

    def scalar(self, member: _Member) -> Any:
        """Returns the value of a member that is no container; None: it is one."""
        if member.first < member.last:
            return None
        return _parsed(self._data[member.start : member.end])

    def is_needed(self, name: str, member: _Member) -> bool:
        """Returns whether a member is input, no container, or small."""
        signs = member.last - member.first
        is_small = signs <= _MOST_COUNTED_SIGNS and member.end - member.start <= _STEP_BYTES
        return name in READ or not signs or is_small

    def check_size(self, members: Sequence[tuple[str, _Member]]) -> None:
        """Refuses a body of which too much would be built.

        Raises:
            InvalidRequestError: it has too many values.
        """
        signs = 0
        for name, one in members:
            if name not in READ:
                continue
            signs += one.last - one.first - self._signs_counted(one.first, one.last)
            if name == "prompt" and b'"' not in self._data[one.start : one.end]:
                # Ids of tokens, which take little.
                signs -= int(np.count_nonzero(self._signs[one.first : one.last] == COMMA))
        if signs > MOST_SIGNS:
            raise InvalidRequestError(_TOO_MANY)

    def read(self, member: _Member) -> Any:
        """Returns the value of a member; a long array is read in steps.

        Raises:
            UnreadableBodyError: it is not JSON.
            InvalidRequestError: an object has a key twice.
        """
        start, end, first, last = member
        is_long = end - start > _STEP_BYTES or last - first > _STEP_SIGNS
        if not is_long or first == last or self._data[start] != ord("["):
            return self._built(self._data[start:end], start, first, last)
        if self._at[first] != start or self._at[last - 1] != end - 1:
            raise UnreadableBodyError(_NOT_JSON)
        values: list[Any] = []
        for step in self._steps(member):
            text = self._data[step.start : step.end]
            found = self._built(b"[%b]" % text, step.start - 1, step.first, step.last)
            if not found:  # nothing between two commas
                raise UnreadableBodyError(_NOT_JSON)
            values += found
        return values

    def _steps(self, array: _Member) -> Iterator[_Member]:
        """Yields the elements of an array, as many at once as the parser may take."""
        first, last = array.first, array.last
        inner = slice(first, last)
        commas = first + np.flatnonzero(
            (self._signs[inner] == COMMA) & (self._depths[inner] == _ELEMENT)
        )
        places = self._at[commas]
        start, sign, done = array.start + 1, first + 1, 0
        while done < len(commas):
            fits = min(
                int(places.searchsorted(start + _STEP_BYTES, "right")),
                int(commas.searchsorted(sign + _STEP_SIGNS, "right")),
            )
            done = max(fits, done + 1)  # one element may be longer than a step
            comma = int(commas[done - 1])
            end = int(self._at[comma])
            yield _Member(start, end, sign, comma)
            start, sign = end + 1, comma + 1
        yield _Member(start, array.end - 1, sign, last - 1)

    def _built(self, text: bytes, start: int, first: int, last: int) -> Any:
        """Parses a text with signs, in which a 0 takes the place of each part that is counted.

        Args:
            text: the text.
            start: the offset in the body of its first byte.
            first: the first of its signs.
            last: the one after its last sign.
        """
        colons = self._colons_in(first, last)
        parts: list[bytes] = []
        kept_to = 0
        for part in range(*self._opens.searchsorted([first, last]).tolist()):
            opens, closes = int(self._opens[part]), int(self._closes[part])
            begin, end = int(self._at[opens]) - start, int(self._at[closes]) + 1 - start
            self.counted.append(text[begin:end].decode("utf-8", "replace"))
            colons -= self._colons_in(opens, closes)
            parts += (text[kept_to:begin], b"0")
            kept_to = end
        if parts:
            text = b"".join((*parts, text[kept_to:]))
        value = _parsed(text)
        if colons and keys_in(value) != colons:
            raise doubled(text) if len(text) <= 2 * _STEP_BYTES else doubled_key("")
        return value

    def _counted_parts(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Returns the first and the last sign of each container that is counted, not built."""
        signs, depths = self._signs, self._depths
        opening = (signs == BRACE) | (signs == BRACKET)
        closing = ~opening & (signs != COMMA) & (signs != COLON)
        opens = np.flatnonzero(opening & (depths == _COUNTED_FROM))
        closes = np.flatnonzero(closing & (depths == _COUNTED_FROM - 1))
        many = closes - opens > _MOST_COUNTED_SIGNS
        if len(opens) and depths.max() > _DEEPEST:
            both = np.stack((opens, closes), axis=1).ravel()
            many |= np.maximum.reduceat(depths, both)[::2] > _DEEPEST
        return opens[many], closes[many]

    def _colons_in(self, first: int, last: int) -> int:
        begin, end = self._colons.searchsorted([first, last]).tolist()
        return int(end - begin)

    def _signs_counted(self, first: int, last: int) -> int:
        parts = slice(*self._opens.searchsorted([first, last]).tolist())
        return int((self._closes[parts] - self._opens[parts]).sum())

    def _between(self, first: int, last: int) -> bytes:
        """Returns the bytes between two signs."""
        return self._data[int(self._at[first]) + 1 : int(self._at[last])]


def _parsed(text: bytes) -> Any:
    try:
        return read_json(text)
    except orjson.JSONDecodeError:
        raise UnreadableBodyError(_NOT_JSON) from None
