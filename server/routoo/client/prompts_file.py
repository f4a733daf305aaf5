"""Reads prompts files, the input of ``routoo batch``: JSON Lines, one prompt per line.

A line is a JSON string (the prompt) or a JSON object with ``prompt`` or ``messages`` and, where
wanted, ``request_id`` and constraints of its own, spelt as in ``RouteRequest``. ``null`` is the
same as leaving the key out; lines of white space are skipped. Everything else is refused with file
and line, since a misspelt constraint that is ignored costs money.
"""

from __future__ import annotations

import difflib
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.errors import RoutooError
from routoo.request_fields import UINT32_MAX
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.descriptor import FieldDescriptor

_HOW_TO: Final = 'write one JSON object per line, e.g. {"prompt": "..."}'
# A batch is decided as one program, so no line can bring a policy of its own.
_FIELDS: Final = {f.name: f for f in RouteRequest.DESCRIPTOR.fields if f.name != "policy"}


class PromptsFileError(RoutooError):
    """The prompts cannot be read; the message names file and line and what to do."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The content of a prompts file.

    Attributes:
        name: the file's name, for messages.
        requests: in the file's order; at least one.
        line_numbers: the line that each request stands on, counted from 1.
    """

    name: str
    requests: list[RouteRequest]
    line_numbers: list[int]


def read_prompts(lines: Iterable[bytes], name: str) -> Prompts:
    """Reads every prompt of a file.

    Args:
        lines: the file, opened in binary mode.
        name: what to call it in messages.

    Raises:
        PromptsFileError: a line that is no prompt, or no line at all.
    """
    requests: list[RouteRequest] = []
    line_numbers: list[int] = []
    for number, told in enumerate(lines, start=1):
        line = told.removeprefix(BOM_UTF8)  # as editors on Windows write it
        if not line.strip():
            continue
        try:
            requests.append(_request(line))
        except _LineError as error:
            raise PromptsFileError(f"{name}:{number}: {error}") from None
        line_numbers.append(number)
    if not requests:
        raise PromptsFileError(f"{name}: holds no prompt; {_HOW_TO}")
    return Prompts(name, requests, line_numbers)


class _LineError(Exception):
    """A line that holds no prompt; the message says what is wrong with it."""


def _request(line: bytes) -> RouteRequest:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = f"{error.msg} at column {error.colno}"
        raise _LineError(f"not JSON ({problem}); {_HOW_TO}") from None
    if isinstance(value, str):
        return RouteRequest(prompt=value)
    if not isinstance(value, dict):
        raise _LineError(f"has to be an object or a string; {_HOW_TO}")
    present = {key: item for key, item in value.items() if item is not None}
    _check_object(_FIELDS, present, "")
    if ("prompt" in present) == ("messages" in present):
        raise _LineError('needs either "prompt" or "messages", and not both')
    return RouteRequest(**present)


def _check_object(fields: Mapping[str, FieldDescriptor], value: dict[str, Any], path: str) -> None:
    for key, item in value.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(fields)}"
            raise _LineError(f'unknown key "{path}{key}"; {hint}')
        _check_field(fields[key], item, path + key)


def _check_field(field: FieldDescriptor, value: Any, path: str) -> None:
    if not field.is_repeated:
        _check_item(field, value, path)
        return
    if not isinstance(value, list):
        raise _LineError(f'"{path}" has to be a list')
    for index, item in enumerate(value):
        _check_item(field, item, f"{path}[{index}]")


def _check_item(field: FieldDescriptor, value: Any, path: str) -> None:
    match field.cpp_type:
        case field.CPPTYPE_MESSAGE:
            if not isinstance(value, dict):
                raise _LineError(f'"{path}" has to be an object')
            _check_object(field.message_type.fields_by_name, value, f"{path}.")
        case field.CPPTYPE_STRING:
            if not isinstance(value, str):
                raise _LineError(f'"{path}" has to be a string')
        case field.CPPTYPE_BOOL:
            if not isinstance(value, bool):
                raise _LineError(f'"{path}" has to be true or false')
        case field.CPPTYPE_UINT32:
            # type(), because isinstance takes true for an int.
            if type(value) is not int or not 0 <= value <= UINT32_MAX:
                raise _LineError(f'"{path}" has to be a whole number, 0 to {UINT32_MAX}')
        case _:
            if type(value) not in (int, float):
                raise _LineError(f'"{path}" has to be a number')
