"""Malformed bodies for every RPC; the same seed makes the same ones."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.message import Message

REQUESTS: dict[str, type[Message]] = {
    "Route": route_pb2.RouteRequest,
    "RouteStream": route_pb2.RouteRequest,
    "RouteBatch": batch_pb2.RouteBatchRequest,
    "Frontier": batch_pb2.FrontierRequest,
    "ReportOutcome": outcome_pb2.ReportOutcomeRequest,
    "Escalate": outcome_pb2.EscalateRequest,
    "ListModels": info_pb2.ListModelsRequest,
    "GetInfo": info_pb2.GetInfoRequest,
    "GetBudget": budget_pb2.GetBudgetRequest,
}
_TEXTS = (
    *("", " ", "\n\t", "easy", "hard", "small", "medium", "large", "lp", "cheapest", "tools"),
    *("\0", "a\0b", "\ufeff", "\u202e", "\U0001f600" * 9, "e\u0301", "\ud7ff", "\uffff", "İ"),
    *("x" * 300, "easy " * 500, "../../etc/passwd", "'; DROP TABLE", "{{7*7}}", "%s%n", "\r\na: b"),
)
_DOUBLES = (
    *(0.0, -0.0, 1.0, 0.5, -1.0, 1e-320, 5e-324, 1e-9, 1e9, 1e300, 1.7976931348623157e308),
    *(math.nan, math.inf, -math.inf, 1.0000000000000002, 2.0**63),
)
_WHOLE = (0, 1, 2, 3, 10, 100, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
_MOST_REPEATED = 5
_DEEPEST = 4


def well_formed(kind: type[Message], rng: Random, decisions: list[str]) -> Message:
    """Makes a message of a kind that protobuf accepts, with odd values in it.

    Args:
        kind: the class of the message.
        rng: chooses the values.
        decisions: ids of decisions that were made, for fields that name one.
    """
    message = kind()
    _fill(message, rng, decisions, 0)
    return message


def _fill(message: Message, rng: Random, decisions: list[str], depth: int) -> None:
    fields = message.DESCRIPTOR.fields
    wanted = rng.random()
    for field in fields:
        if rng.random() > wanted:
            continue
        if field.name == "decision_id" and decisions and rng.random() < 0.7:
            message.decision_id = rng.choice(decisions)  # type: ignore[attr-defined]
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = getattr(message, field.name)
            for _ in range(rng.randrange(3)):
                key, value = field.message_type.fields
                values[_value(key, rng)] = _value(value, rng)
        elif field.is_repeated:
            for _ in range(rng.randrange(_MOST_REPEATED)):
                _append(message, field, rng, decisions, depth)
        elif field.message_type is not None:
            if depth < _DEEPEST:
                _fill(getattr(message, field.name), rng, decisions, depth + 1)
        else:
            setattr(message, field.name, _value(field, rng))


def _append(
    message: Message, field: FieldDescriptor, rng: Random, decisions: list[str], depth: int
) -> None:
    values: Any = getattr(message, field.name)
    if field.message_type is None:
        values.append(_value(field, rng))
    elif depth < _DEEPEST:
        _fill(values.add(), rng, decisions, depth + 1)


def _value(field: FieldDescriptor, rng: Random) -> Any:  # noqa: PLR0911 - one per type
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.randrange(20))
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(_TEXTS)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(_DOUBLES)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return struct.unpack("<f", rng.randbytes(4))[0]
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_UINT64:
            return rng.choice(_WHOLE)
        case FieldDescriptor.CPPTYPE_UINT32:
            return rng.choice(_WHOLE) & 0xFFFF_FFFF
        case FieldDescriptor.CPPTYPE_INT64:
            return rng.choice(_WHOLE) - 2**63 if rng.random() < 0.5 else rng.randrange(2**31)
        case _:
            return rng.randrange(16)


def mutated(body: bytes, rng: Random) -> bytes:
    """Returns a body with a few of its bytes changed, removed, doubled or inserted."""
    changed = bytearray(body)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = changed[at : at + rng.randrange(1, 64)]
            case 4 if at < len(changed):
                changed[at] = rng.choice((0, 0x7F, 0x80, 0xC0, 0xFE, 0xFF))
            case _:
                del changed[at:]
    return bytes(changed)


def malformed(rng: Random) -> bytes:
    """Makes fields of no schema: wrong types and lengths, bad UTF-8, groups, long numbers."""
    parts = []
    for _ in range(rng.randrange(1, 12)):
        number = rng.choice((0, 1, 2, 3, 5, 7, 8, 9, 10, 15, 16, 19000, 2**29 - 1, 2**29))
        wire = rng.randrange(8)
        parts.append(_varint(number << 3 | wire))
        match wire:
            case 0:
                parts.append(rng.choice((_varint(2**64 - 1), b"\xff" * 11, b"\x80", b"\x00")))
            case 1:
                parts.append(rng.randbytes(rng.choice((8, 8, 3))))
            case 2:
                text = rng.choice((b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"easy", b"\0" * 9))
                length = rng.choice((len(text), len(text), 2**31 - 1, 2**32, 2**63, len(text) + 1))
                parts.append(_varint(length) + text)
            case 5:
                parts.append(rng.randbytes(rng.choice((4, 4, 1))))
            case _:
                pass  # groups without an end, or types that do not exist
    return b"".join(parts)


def nested(rng: Random) -> bytes:
    """Makes messages or groups that are nested deeper than any parser should follow."""
    if rng.random() < 0.5:
        return _varint(rng.randrange(1, 20) << 3 | 3) * rng.randrange(1, 5000)
    body = b""
    for _ in range(rng.randrange(1, 400)):
        body = b"\x0a" + _varint(len(body)) + body
    return body


def body_of(rpc: str, corpus: dict[str, list[bytes]], rng: Random) -> bytes:
    """Makes one body for an RPC; some of the well-formed ones are valid."""
    known = corpus[rpc]
    match rng.randrange(12):
        case 0:
            body = rng.randbytes(rng.choice((0, 1, 2, 8, 64, 300)))
        case 1 | 2:
            body = malformed(rng)
        case 3 if rng.random() < 0.2:
            body = nested(rng)
        case 4:  # fields twice: the later one wins, messages are merged
            body = rng.choice(known) + rng.choice(known)
        case 5:  # of another RPC
            body = rng.choice(corpus[rng.choice(tuple(corpus))])
        case 6 | 7 | 8:
            body = rng.choice(known)
        case _:
            body = mutated(rng.choice(known), rng)
    return body


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)
