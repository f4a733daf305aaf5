"""The description of the HTTP API as OpenAPI 3.1, made from the descriptors of the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.descriptor import FieldDescriptor

from routoo import __version__
from routoo.api.http.call import TIMEOUT_HEADER
from routoo.request_fields import FIELDS
from routoo.v1 import route_pb2, router_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor

    from routoo.api.http.door import Door

Schema = dict[str, Any]
_F = FieldDescriptor
_METHODS: Final = router_pb2.DESCRIPTOR.services_by_name["RouterService"].methods_by_name
_SCALARS: Final[dict[int, Schema]] = {
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_INT32: {"type": "integer", "format": "int32"},
    _F.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # Written as texts, as JavaScript's numbers do not hold them; read as either.
    _F.TYPE_INT64: {"type": ["string", "integer"], "format": "int64"},
    _F.TYPE_UINT64: {"type": ["string", "integer"], "format": "uint64"},
}
_PROBLEM: Final[Schema] = {
    "description": "A refusal, as problem details (RFC 9457).",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line that says what to do."},
        "code": {"type": "string", "description": "The status that a call over gRPC ends with."},
        "field": {"type": "string", "description": "The field that is wrong."},
    },
    "required": ["type", "title", "status", "detail"],
}
_LISTS: Final = {"/v1/outcomes": "ReportOutcome"}
"""Paths that take a list of messages, too, and reply with a list then."""


def openapi(doors: Iterable[Door], *, asks: bool) -> dict[str, Any]:
    """Describes the doors that have a summary.

    Args:
        doors: of the front.
        asks: whether callers have to show a token or a certificate.
    """
    schemas: dict[str, Schema] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for door in doors:
        if door.summary:
            operation = _operation(door, schemas)
            paths.setdefault(door.path, {})[door.method.lower()] = operation
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Routoo",
            "version": __version__,
            "description": "Decides which LLM of a pool should answer a prompt.",
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }
    if asks:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _operation(door: Door, schemas: dict[str, Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": door.summary}
    said: Schema = {}
    types = _types_of(door)
    if types is not None:
        takes, gives = types
        said = _of_message(gives, schemas)
        parameters = [_timeout_parameter()]
        if door.method == "GET":
            parameters += _query(takes, schemas)
        else:
            asked = _one_or_list(door, _of_message(takes, schemas))
            content = {door.takes: {"schema": asked}}
            operation["requestBody"] = {"required": True, "content": content}
        operation["parameters"] = parameters
        operation["operationId"] = door.rpc
        said = _one_or_list(door, said)
    told = {door.media: {"schema": said}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"] = {
        "200": {"description": "The reply.", "content": told},
        "default": {"description": "A refusal.", "content": problem},
    }
    return operation


def _types_of(door: Door) -> tuple[Descriptor, Descriptor] | None:
    """Returns the types of a door's request and reply; None: they are no messages."""
    if door.messages is not None:
        takes, gives = (cast("Descriptor", one.DESCRIPTOR) for one in door.messages)
        return takes, gives
    method = _METHODS.get(door.rpc)
    return None if method is None else (method.input_type, method.output_type)


def _one_or_list(door: Door, schema: Schema) -> Schema:
    if door.path not in _LISTS:
        return schema
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _timeout_parameter() -> Schema:
    return {
        "name": TIMEOUT_HEADER.decode(),
        "in": "header",
        "description": "The time in milliseconds after which nobody waits for the reply.",
        "schema": {"type": "integer", "minimum": 1},
    }


def _query(descriptor: Descriptor, schemas: dict[str, Schema]) -> list[Schema]:
    return [
        {"name": field.name, "in": "query", "schema": _of_field(field, schemas)}
        for field in descriptor.fields
    ]


def _of_message(descriptor: Descriptor, schemas: dict[str, Schema]) -> Schema:
    """Returns a reference to the schema of a message, which is added with those that it holds."""
    name = descriptor.name
    if name not in schemas:
        schemas[name] = schema = {"type": "object", "additionalProperties": False}
        schema["properties"] = {
            field.name: _of_field(field, schemas) for field in descriptor.fields
        }
    return {"$ref": f"#/components/schemas/{name}"}


def _of_field(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value = _of_value(kind.fields_by_name["value"], schemas)
        return {"type": "object", "additionalProperties": value}
    schema = _of_value(field, schemas)
    if field.is_repeated:
        schema = {"type": "array", "items": schema}
    row = FIELDS.get(field.name)
    if row is not None and field.containing_type.name == route_pb2.RouteRequest.DESCRIPTOR.name:
        schema = {**schema, "description": row.help}
    group = field.containing_oneof
    if group is not None and len(group.fields) > 1:
        others = ", ".join(one.name for one in group.fields if one.name != field.name)
        schema = {**schema, "description": f"Excludes {others}."}
    return schema


def _of_value(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    if field.type == _F.TYPE_MESSAGE:
        return _of_message(field.message_type, schemas)
    if field.type == _F.TYPE_ENUM:
        return {"type": "string", "enum": [one.name for one in field.enum_type.values]}
    return _SCALARS[field.type]
