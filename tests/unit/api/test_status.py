"""Tests of the table from errors to status codes."""

from __future__ import annotations

import inspect

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo import errors
from routoo.api.status import INTERNAL_TEXT, LONGEST_DETAIL_CHARS, STATUS, status_of
from routoo.errors import InvalidRequestError, RoutooError

# Errors that a caller cannot act on. A new error class has to be put here or into the table.
INTERNAL = {
    errors.RoutooError,
    errors.PredictorError,
    errors.ConfigError,
    errors.PoolError,
    errors.ArtifactError,
}
ERRORS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RoutooError)
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_code_or_is_internal_on_purpose(kind: type[RoutooError]) -> None:
    code, text = status_of(kind("some secret"))
    if kind in INTERNAL:
        assert (code, text) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    else:
        assert kind in STATUS, f"{kind.__name__} has no row in the table"
        assert (code, text) == (STATUS[kind], "some secret")


def test_the_table_knows_no_class_that_does_not_exist() -> None:
    assert set(STATUS) == set(ERRORS) - INTERNAL


def test_a_subclass_has_its_parents_code() -> None:
    class NarrowerError(InvalidRequestError):
        pass

    assert status_of(NarrowerError("x"))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), MemoryError("secret")])
def test_what_is_not_ours_says_nothing_of_itself(error: Exception) -> None:
    assert status_of(error) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)


@given(text=st.text(max_size=2000))
def test_a_detail_is_one_line_of_bounded_length(text: str) -> None:
    _, line = status_of(InvalidRequestError(text))
    assert len(line) <= LONGEST_DETAIL_CHARS
    assert line.splitlines() in ([], [line])
    if len(line) < LONGEST_DETAIL_CHARS:
        assert line.split() == text.split()
    else:
        assert len(" ".join(text.split())) >= LONGEST_DETAIL_CHARS


def test_a_field_is_seen_from_the_message_that_holds_it() -> None:
    inner = InvalidRequestError("is wrong", field="prompt")
    assert str(inner) == "prompt: is wrong"
    assert str(inner.within("requests[3]")) == "requests[3].prompt: is wrong"
    assert str(InvalidRequestError("is wrong").within("requests[3]")) == "requests[3]: is wrong"
