"""The JSON form of messages is protobuf's own mapping, field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.api.http.json_form import JsonForm
from routoo.errors import InvalidRequestError
from routoo.v1 import batch_pb2, outcome_pb2, route_pb2, router_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

METHODS = router_pb2.DESCRIPTOR.services_by_name["RouterService"].methods
KINDS: list[type[Message]] = [
    GetMessageClass(one)
    for one in {
        one.full_name: one for method in METHODS for one in (method.input_type, method.output_type)
    }.values()
]
_F = FieldDescriptor
_NUMBERS = {
    _F.TYPE_DOUBLE: st.floats(width=64),
    _F.TYPE_FLOAT: st.floats(width=32),
    _F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    _F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    _F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    _F.TYPE_UINT64: st.integers(0, 2**64 - 1),
    _F.TYPE_BOOL: st.booleans(),
    _F.TYPE_STRING: st.text(max_size=8),
    _F.TYPE_BYTES: st.binary(max_size=8),
}


def value_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.type == _F.TYPE_MESSAGE:
        return messages(field.message_type, depth - 1)
    if field.type == _F.TYPE_ENUM:
        return st.sampled_from([one.number for one in field.enum_type.values])
    return _NUMBERS[field.type]


def messages(descriptor: Any, depth: int) -> st.SearchStrategy[Any]:
    """Draws messages of a type with any of their fields set."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    alternatives: dict[str, list[FieldDescriptor]] = {}
    for field in descriptor.fields:
        if field.type == _F.TYPE_MESSAGE and depth <= 0:
            continue
        group = field.containing_oneof
        if group is not None and len(group.fields) > 1:
            alternatives.setdefault(group.name, []).append(field)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            fields[field.name] = st.dictionaries(
                st.text(max_size=4), value_of(value, depth), max_size=2
            )
        elif field.is_repeated:
            fields[field.name] = st.lists(value_of(field, depth), max_size=2)
        else:
            fields[field.name] = value_of(field, depth)
    chosen = [
        st.one_of(*(st.fixed_dictionaries({one.name: value_of(one, depth)}) for one in group))
        for group in alternatives.values()
    ]
    kind = GetMessageClass(descriptor)
    return st.tuples(st.fixed_dictionaries({}, optional=fields), *chosen).map(
        lambda parts: kind(**{name: value for part in parts for name, value in part.items()})
    )


def mapped(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
@settings(max_examples=20)
@given(data=st.data())
def test_messages_are_written_as_protobuf_writes_them(
    kind: type[Message], data: st.DataObject
) -> None:
    message = data.draw(messages(kind.DESCRIPTOR, depth=2))
    written = JsonForm.of(kind).written(message)
    assert orjson.loads(orjson.dumps(written)) == json.loads(json.dumps(mapped(message)))


@pytest.mark.parametrize("names", ["snake", "camel"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
@settings(max_examples=20)
@given(data=st.data())
def test_what_protobuf_writes_is_read_back(
    kind: type[Message], names: str, data: st.DataObject
) -> None:
    message = data.draw(messages(kind.DESCRIPTOR, depth=2))
    said = json_format.MessageToDict(message, preserving_proto_field_name=names == "snake")
    again = JsonForm.of(kind).read(said)
    # Not the message itself: JSON keeps no sign of a NaN. Bytes, as a NaN equals no other.
    by_protobuf = json_format.ParseDict(said, kind())
    assert again.SerializeToString(deterministic=True) == by_protobuf.SerializeToString(
        deterministic=True
    )


@given(
    name=st.sampled_from(
        [*(one.name for one in route_pb2.RouteRequest.DESCRIPTOR.fields), "policy ", "no_such"]
    ),
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**40), 2**40)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=4)
        | st.sampled_from(["1", "1.5", "NaN", "-Infinity", "", " 1", "0x1", "1_0"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=4,
    ),
)
def test_any_value_is_taken_or_refused_by_its_field(name: str, value: Any) -> None:
    try:
        message = JsonForm.of(route_pb2.RouteRequest).read({name: value})
    except InvalidRequestError as error:
        found = error.field
    else:
        found = ""
    if found:
        assert found.startswith(name)
        return
    # Nothing is taken that protobuf refuses, and nothing is understood in another way.
    expected = json_format.ParseDict({name: value}, route_pb2.RouteRequest())
    assert message.SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        (route_pb2.RouteRequest, [], "the body"),
        (route_pb2.RouteRequest, {"maxCost": 1}, "maxCost"),
        (route_pb2.RouteRequest, {"max_cost_usd": 1, "maxCostUsd": 1}, "maxCostUsd"),
        (route_pb2.RouteRequest, {"messages": [{"role": 1}]}, "messages[0].role"),
        (route_pb2.RouteRequest, {"explain": 1}, "explain"),
        (route_pb2.RouteRequest, {"max_output_tokens": -1}, "max_output_tokens"),
        (route_pb2.RouteRequest, {"max_output_tokens": 1.5}, "max_output_tokens"),
        (batch_pb2.RouteBatchRequest, {"max_tokens": {"m": True}}, "max_tokens[m]"),
        (batch_pb2.RouteBatchRequest, {"requests": {}}, "requests"),
        (batch_pb2.RouteBatchRequest, {"requests": [None]}, "requests[0]"),
        (outcome_pb2.EscalateRequest, {"margin": 0.5, "check": 0.5}, "check"),
    ],
)
def test_what_is_wrong_names_its_field(kind: type[Message], value: object, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        JsonForm.of(kind).read(value)
    assert caught.value.field == field


def test_null_means_not_set() -> None:
    said = {"prompt": "p", "max_cost_usd": None, "messages": None}
    assert JsonForm.of(route_pb2.RouteRequest).read(said) == route_pb2.RouteRequest(prompt="p")
