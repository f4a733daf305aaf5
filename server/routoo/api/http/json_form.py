"""The JSON form of protobuf messages, as protobuf's own mapping has it.

``google.protobuf.json_format`` maps one field after the other by its descriptor, which takes
several times as long as a decision. Here what a descriptor says is looked up once per type.

Differences to that module: fields without presence are always written, names are those of the
proto files, and an error names its field from the message's root on. As there, integers of 64 bits
are written as texts, since JavaScript's numbers do not hold them, and are read as either.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache
from math import inf, isfinite, isnan
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

MessageT = TypeVar("MessageT", bound=Message)
Read = Callable[[Any, str], Any]
Write = Callable[[Any], Any]

_MOST_NAME_CHARS: Final = 80
_DIGITS = re.compile(r"-?\d{1,20}", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_SPECIAL: Final = {"NaN": float("nan"), "Infinity": inf, "-Infinity": -inf}
_F = FieldDescriptor
_FLOATS: Final = frozenset({_F.TYPE_DOUBLE, _F.TYPE_FLOAT})
_INT64: Final = frozenset(
    {_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64}
)
_UNSIGNED: Final = frozenset({_F.TYPE_UINT32, _F.TYPE_UINT64, _F.TYPE_FIXED32, _F.TYPE_FIXED64})
_AS_THEY_ARE: Final = frozenset({_F.TYPE_STRING, _F.TYPE_BOOL, _F.TYPE_INT32, _F.TYPE_UINT32})


class JsonForm(Generic[MessageT]):
    """Reads and writes messages of one type.

    Args:
        kind: the type.
    """

    def __init__(self, kind: type[MessageT]) -> None:
        self._kind = kind
        descriptor: Any = kind.DESCRIPTOR
        self._readers = _readers_of(descriptor)
        fields = descriptor.fields
        plain = [
            one.name
            for one in fields
            if not one.has_presence and not one.is_repeated and one.type in _AS_THEY_ARE
        ]
        floats = [
            one.name
            for one in fields
            if not one.has_presence and not one.is_repeated and one.type in _FLOATS
        ]
        self._plain, self._get_plain = tuple(plain), _getter(plain)
        self._floats, self._get_floats = tuple(floats), _getter(floats)
        rest = [one for one in fields if one.name not in {*plain, *floats}]
        self._optional = tuple((one.name, _written_value(one)) for one in rest if one.has_presence)
        self._others = tuple(
            (one.name, _written_field(one)) for one in rest if not one.has_presence
        )

    @staticmethod
    def of(kind: type[MessageT]) -> JsonForm[MessageT]:
        """Returns the form of a type; there is one of each."""
        return cast("JsonForm[MessageT]", _form_of(kind.DESCRIPTOR))

    def written(self, message: MessageT) -> dict[str, Any]:
        """Converts a message to JSON's objects."""
        values = dict(zip(self._plain, self._get_plain(message), strict=True))
        floats = self._get_floats(message)
        if not isfinite(sum(floats)):
            floats = tuple(map(_float, floats))
        values.update(zip(self._floats, floats, strict=True))
        has = message.HasField
        for name, write in self._optional:
            if has(name):
                values[name] = write(getattr(message, name))
        for name, write in self._others:
            values[name] = write(getattr(message, name))
        return values

    def read(self, value: object, within: str = "") -> MessageT:
        """Converts JSON's objects to a message.

        Args:
            value: as a JSON parser returns it; a field may have its name in the proto file or its
                name in JSON, and ``null`` means that it is not set.
            within: the field that holds the message, for errors; empty: it is the whole body.

        Raises:
            InvalidRequestError: names the field that is unknown, stands twice, or is of another
                type.
        """
        if not isinstance(value, dict):
            raise InvalidRequestError("has to be a JSON object", field=within or "the body")
        fields: dict[str, Any] = {}
        taken: set[str] = set()
        for key, item in value.items():
            place = f"{within}.{key}" if within else key
            found = self._readers.get(key)
            if found is None:
                raise InvalidRequestError(
                    "there is no such field; /openapi.json lists them", field=_shown(place)
                )
            name, oneof, reader = found
            if name in taken or (oneof in taken and item is not None):
                raise InvalidRequestError(
                    "stands twice, or excludes another that is set; send one of them", field=place
                )
            taken.add(name)
            if item is None:
                continue
            if oneof:
                taken.add(oneof)
            fields[name] = reader(item, place)
        return self._kind(**fields)


@cache
def _form_of(descriptor: Descriptor) -> JsonForm[Any]:
    return JsonForm(GetMessageClass(descriptor))


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


def _shown(place: str) -> str:
    return place if len(place) <= _MOST_NAME_CHARS else place[:_MOST_NAME_CHARS] + "..."


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _float(value: float) -> float | str:
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _written_field(field: FieldDescriptor) -> Write:
    """Returns what converts the value of a field, be it repeated or a map."""
    if _is_map(field):
        parts = field.message_type.fields_by_name
        assert parts["key"].type != _F.TYPE_BOOL  # noqa: S101 - the API has no such keys
        write = _written_value(parts["value"])
        return lambda items: {str(name): write(items[name]) for name in items}
    write = _written_value(field)
    if not field.is_repeated:
        return write
    return lambda items: [write(one) for one in items]


def _written_value(field: FieldDescriptor) -> Write:
    """Returns what converts one value of a field."""
    kind = field.type
    if kind == _F.TYPE_MESSAGE:
        # Looked up late: a type may hold itself.
        descriptor = field.message_type
        return lambda message: _form_of(descriptor).written(message)
    if kind == _F.TYPE_ENUM:
        names = {one.number: one.name for one in field.enum_type.values}
        return lambda number: names.get(number, number)
    if kind in _FLOATS:
        return _float
    if kind in _INT64:
        return str
    if kind == _F.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return lambda value: value


def _readers_of(descriptor: Descriptor) -> dict[str, tuple[str, str, Read]]:
    """Returns, by every name of a field, its own name, its oneof's and what reads it."""
    readers: dict[str, tuple[str, str, Read]] = {}
    for field in descriptor.fields:
        group = field.containing_oneof
        # An optional field is the only one of a oneof of its own.
        oneof = f"oneof {group.name}" if group is not None and len(group.fields) > 1 else ""
        found = (field.name, oneof, _read_field(field))
        readers[field.name] = readers[field.json_name] = found
    return readers


def _read_field(field: FieldDescriptor) -> Read:
    if _is_map(field):
        parts = field.message_type.fields_by_name
        read_key, read = _read_value(parts["key"]), _read_value(parts["value"])

        def read_map(value: Any, place: str) -> dict[Any, Any]:
            if not isinstance(value, dict):
                raise InvalidRequestError("has to be a JSON object", field=place)
            found = {}
            for name, one in value.items():
                part = _shown(f"{place}[{name}]")
                found[read_key(name, part)] = read(one, part)
            return found

        return read_map
    read = _read_value(field)
    if not field.is_repeated:
        return read

    def read_list(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidRequestError("has to be a JSON array", field=place)
        return [read(one, f"{place}[{at}]") for at, one in enumerate(value)]

    return read_list


def _read_value(field: FieldDescriptor) -> Read:
    kind = field.type
    if kind in _READERS:
        return _READERS[kind]
    if kind == _F.TYPE_MESSAGE:
        # Looked up late: a type may hold itself.
        descriptor = field.message_type
        return lambda value, place: _form_of(descriptor).read(value, place)
    if kind == _F.TYPE_ENUM:
        return _enum_reader(field.enum_type)
    bits = 64 if kind in _INT64 else 32
    least = 0 if kind in _UNSIGNED else -(2 ** (bits - 1))
    most = 2**bits - 1 if kind in _UNSIGNED else 2 ** (bits - 1) - 1
    return _integer_reader(least, most)


def _text(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidRequestError("has to be a text", field=place)


def _bool(value: Any, place: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequestError("has to be true or false", field=place)


def _bytes(value: Any, place: str) -> bytes:
    try:
        return base64.b64decode(_text(value, place), validate=True)
    except binascii.Error:
        raise InvalidRequestError("has to be base64", field=place) from None


def _number(value: Any, place: str) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        if _NUMBER.fullmatch(value):
            return float(value)
    raise InvalidRequestError("has to be a number", field=place)


_READERS: Final[dict[int, Read]] = {
    _F.TYPE_STRING: _text,
    _F.TYPE_BOOL: _bool,
    _F.TYPE_BYTES: _bytes,
    **dict.fromkeys(_FLOATS, _number),
}


def _integer_reader(least: int, most: int) -> Read:
    def read(value: Any, place: str) -> int:
        number = _integer(value)
        if number is None:
            raise InvalidRequestError("has to be a whole number", field=place)
        if not least <= number <= most:
            raise InvalidRequestError(f"{number} is not from {least} to {most}", field=place)
        return number

    return read


def _integer(value: Any) -> int | None:
    """Returns the whole number that a value stands for; None: it stands for none."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    is_whole = isinstance(value, float) and value.is_integer()
    is_whole = is_whole or (isinstance(value, str) and _DIGITS.fullmatch(value) is not None)
    return int(value) if is_whole else None


def _enum_reader(kind: EnumDescriptor) -> Read:
    names: dict[str, int] = {one.name: one.number for one in kind.values}

    def read(value: Any, place: str) -> int:
        if isinstance(value, str) and value in names:
            return names[value]
        number = _integer(value)
        if number is not None and number in names.values():
            return number
        raise InvalidRequestError(f"has to be one of {', '.join(names)}", field=place)

    return read
