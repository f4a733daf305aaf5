"""Envoy's messages of access logs, read entry by entry.

A protobuf parser refuses a whole message for one byte in a string that is no UTF-8, and such bytes
come from any caller's header. Here a message is cut into its entries by the wire format; an entry
that the parser refuses is repaired field by field, and only what cannot be read is left out.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from routoo.api.extproc.envoy import access_log_pb2
from routoo.api.llm.headers import DECISION_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.api.llm.metrics import ExchangeCounts

Entry = Any  # envoy.data.accesslog.v3.HTTPAccessLogEntry; it has no types

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_HTTP_LOGS = access_log_pb2.StreamAccessLogsMessage.DESCRIPTOR.fields_by_name["http_logs"].number
_LOG_ENTRY = access_log_pb2.StreamAccessLogsMessage.HTTPAccessLogEntries.DESCRIPTOR.fields_by_name[
    "log_entry"
].number
_ENTRY = access_log_pb2.HTTPAccessLogEntry
# The id behind its header's name, in a field of a map: tag and length stand between the two.
_ID = re.compile(DECISION_ID.encode() + rb"\x12[\x01-\x7f]([\w.-]+)")
_log = structlog.get_logger("routoo.extproc")


class _Field(NamedTuple):
    number: int
    kind: int
    value: bytes
    whole: bytes


def entries_of(body: bytes, tally: ExchangeCounts) -> list[Entry]:
    """Returns the entries of a ``StreamAccessLogsMessage``.

    An entry that cannot be read keeps the id of its decision, if that stands in it. Each entry with
    a fault is logged and counted.

    Args:
        body: the message.
        tally: counts entries that are not whole.
    """
    found: list[Entry] = []
    for part in _parts(body):
        try:
            found.append(_ENTRY.FromString(part))
        except DecodeError:
            found += _rest_of(part, tally)
    return found


def _parts(body: bytes) -> list[bytes]:
    """Returns the bytes of each entry; those behind a broken field are one more."""
    found: list[bytes] = []
    at = 0
    try:
        for field in _fields(body):
            if field.number == _HTTP_LOGS and field.kind == _BYTES:
                for inner in _fields(field.value):
                    at += len(inner.whole)
                    if inner.number == _LOG_ENTRY and inner.kind == _BYTES:
                        found.append(inner.value)
    except ValueError:
        found.append(body[at:])
    return found


def _rest_of(part: bytes, tally: ExchangeCounts) -> list[Entry]:
    """Returns the entries in bytes that are no entry, with all that can be read of them."""
    found = _ENTRY.FromString(_repaired(part, _ENTRY.DESCRIPTOR))
    entries = [found]
    if not found.request.request_headers.get(DECISION_ID):
        ids = [match[1].decode() for match in _ID.finditer(part)]
        if len(ids) != 1:  # of several entries, nobody knows whose the rest is
            entries = [_ENTRY() for _ in ids]
        for entry, decision_id in zip(entries, ids, strict=True):
            entry.request.request_headers[DECISION_ID] = decision_id
    tally.entry("repaired" if entries else "lost")
    _log.warning(
        "an entry of Envoy's access log is not whole; what can be read of it is used",
        decision_ids=[one.request.request_headers[DECISION_ID] for one in entries],
        entry_bytes=len(part),
    )
    return entries


def _repaired(body: bytes, kind: Any) -> bytes:
    """Returns a message whose strings are UTF-8, without the fields that cannot be parsed.

    Args:
        body: the message.
        kind: its descriptor.
    """
    kept = bytearray()
    parser = GetMessageClass(kind)
    with suppress(ValueError):  # what follows has no fields any more
        for field in _fields(body):
            known = kind.fields_by_number.get(field.number)
            whole = field.whole
            if known is not None and field.kind == _BYTES:
                if known.type == known.TYPE_STRING:
                    text = field.value.decode("utf-8", "replace").encode()
                    whole = _tagged(field.number, text)
                elif known.type == known.TYPE_MESSAGE:
                    whole = _tagged(field.number, _repaired(field.value, known.message_type))
            with suppress(DecodeError):
                parser.FromString(whole)
                kept += whole
    return bytes(kept)


def _fields(body: bytes) -> Iterator[_Field]:
    """Yields the fields of a message as they stand.

    Raises:
        ValueError: the message ends within a field, or a field is none of protobuf.
    """
    at = 0
    while at < len(body):
        start = at
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        begin = at
        if kind == _VARINT:
            _, at = _varint(body, at)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _BYTES:
            size, begin = _varint(body, at)
            at = begin + size
        else:
            raise ValueError(f"wire type {kind}")
        if not number or at > len(body):
            raise ValueError(f"field {number} ends at byte {at} of {len(body)}")
        yield _Field(number, kind, body[begin:at], body[start:at])


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Returns a number and the place after it.

    Raises:
        ValueError: there is no number.
    """
    value = 0
    for place, byte in enumerate(body[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"no number at byte {at}")


def _tagged(number: int, value: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
