"""The fields of an arm are written into a body, and nothing that the caller said is changed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.llm.bodies import request_body
from routoo.api.llm.bodies.arm_fields import arm_fields
from routoo.api.llm.bodies.request_body import read_body
from routoo.routing.arms.spec import ArmSpec

FIELDS: dict[str, Any] = {
    "effort": "high",
    "thinking": {"type": "enabled", "budget": 9},
    "deep": {"kwargs": {"think": False}},
}
SPACE = st.text(alphabet=" \t\r\n", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["high", "enabled", "}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "budget", "kwargs", "think", "x"]), inner)
    ),
    max_leaves=6,
)


def asked(body: bytes, /, **arm: Any) -> bytes:
    """Returns a chat body that asks for an arm."""
    found = read_body(body, ("auto",))
    assert found is not None
    return found.rewritten("auto", arm_fields(found, ArmSpec(name="a", **arm), "chat"))


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"", b',"effort":"high","thinking":{"type":"enabled","budget":9}'),
        (
            b', "a": 1.50, "effort": "low"',
            b', "a": 1.50, "effort": "low","thinking":{"type":"enabled","budget":9}',
        ),
        (
            b',"effort": null ,"thinking":{"type":"disabled", "x": 1}',
            b',"effort": "high" ,"thinking":{"type":"disabled", "x": 1}',
        ),
        (
            b',"thinking": { "x" :[{}] , "type":"enabled" }, "effort":"}"',
            b',"thinking": { "x" :[{}] , "type":"enabled" ,"budget":9}, "effort":"}"',
        ),
        (
            b',"thinking":{},"effort":[1]',
            b',"thinking":{"type":"enabled","budget":9},"effort":[1]',
        ),
        (
            b',"effort":1,"thinking":{"x":%b}' % (b"[" * 9000 + b"]" * 9000),
            b',"effort":1,"thinking":{"x":%b}' % (b"[" * 9000 + b"]" * 9000),
        ),
    ],
)
def test_fields_are_added_and_never_written_over(rest: bytes, expected: bytes) -> None:
    wanted = {"chat": {name: FIELDS[name] for name in ("effort", "thinking")}}
    body = b'{"model":"auto"%b}'
    assert asked(body % rest, body=wanted) == body % expected


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"", b',"max_completion_tokens":50'),
        (b',"max_tokens":"80"', b',"max_tokens":50'),
        (b',"max_tokens":20', b',"max_tokens":20'),
        (
            b',"max_tokens":90,"max_completion_tokens":10',
            b',"max_tokens":50,"max_completion_tokens":10',
        ),
    ],
)
def test_a_longest_answer_is_lowered_to_the_arms(rest: bytes, expected: bytes) -> None:
    body = b'{"model":"auto"%b}'
    assert asked(body % rest, max_output_tokens=50) == body % expected


@given(
    members=st.dictionaries(
        st.sampled_from(["effort", "thinking", "deep", "x", "typ\u00e9"]), VALUES, max_size=5
    ),
    space=SPACE,
    is_large=st.booleans(),
)
def test_a_body_says_all_that_it_said_and_the_fields(
    members: dict[str, Any], space: str, *, is_large: bool
) -> None:
    said = {"model": "auto", **members}
    colon = f'"model"{space}:{space}'.encode()
    body = orjson.dumps(said).replace(b'"model":', colon, 1) + space.encode()
    with pytest.MonkeyPatch.context() as patch:
        if is_large:
            patch.setattr(request_body, "SMALL_BYTES", -1)
        changed = asked(body, body={"chat": FIELDS})
        assert asked(changed, body={"chat": FIELDS}) == changed
    now = orjson.loads(changed)
    for name, value in said.items():
        if name in FIELDS and value is None:
            assert now[name] == FIELDS[name]
        elif name not in FIELDS or not isinstance(value, dict):
            assert now[name] == value
    for name, value in FIELDS.items():
        if name not in said:
            assert now[name] == value
    # Nothing is taken away: the old bytes are left in their order, but for nulls.
    rest = iter(changed.replace(b"null", b""))
    assert all(byte in rest for byte in body.replace(b"null", b""))
