"""The one table of what a request may set: it is the proto's, and every door is fed from it."""

from __future__ import annotations

import inspect

import pytest

from routoo.api.llm.headers import read_fields
from routoo.cli.commands.route import route
from routoo.client import RequestOptions
from routoo.request_fields import CONSTRAINTS, FIELDS, Kind, Narrows
from routoo.routing.estimates import Estimates
from routoo.v1.route_pb2 import RouteRequest

# What is no field of the table: the prompt itself, and what only concerns the reply.
OTHERS = {"request_id", "prompt", "messages", "explain"}
BY_NAME = RouteRequest.DESCRIPTOR.fields_by_name


def test_the_table_is_the_protos() -> None:
    assert set(FIELDS) | OTHERS == set(BY_NAME)


@pytest.mark.parametrize("name", FIELDS)
def test_a_row_has_the_protos_type(name: str) -> None:
    field = BY_NAME[name]
    types = {
        field.CPPTYPE_DOUBLE: Kind.NUMBER,
        field.CPPTYPE_UINT32: Kind.COUNT,
        field.CPPTYPE_STRING: Kind.NAMES if field.is_repeated else Kind.TEXT,
    }
    assert FIELDS[name].kind is types[field.cpp_type]


def test_every_constraint_narrows_by_something_that_there_is() -> None:
    for name, row in CONSTRAINTS.items():
        if row.narrows in (Narrows.AT_MOST, Narrows.AT_LEAST):
            assert hasattr(Estimates, row.estimate), name
            assert row.kind is Kind.NUMBER
        else:
            assert not row.estimate


def test_client_headers_and_command_line_have_every_row() -> None:
    assert set(RequestOptions.__annotations__) == set(FIELDS) | {"request_id", "explain"}
    assert set(FIELDS) <= set(inspect.signature(route).parameters)
    for name, row in FIELDS.items():
        text = "1" if row.kind in (Kind.NUMBER, Kind.COUNT) else "one"
        text = str(row.choices[0]) if row.choices else text
        assert set(read_fields([(f"x-routoo-{name.replace('_', '-')}", text)])) == {name}
