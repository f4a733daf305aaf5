"""The plan for Envoy's second try, and what Envoy tells of it."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.extproc.retry import TRIES, failed_try, plan_of
from routoo.api.llm.bodies.arm_fields import changes_for
from routoo.api.llm.bodies.edits import changed, edits_between
from routoo.api.llm.bodies.request_body import read_body
from routoo.routing.arms.spec import ArmSpec
from routoo.routing.decision import FallbackArm
from routoo.routing.health.failures import Cause, ProviderFailure

FIELDS = ("model", "reasoning_effort", "max_completion_tokens", "service_tier", "other")
ARMS = st.none() | st.builds(
    ArmSpec,
    name=st.just("a"),
    effort=st.none() | st.sampled_from(["low", "high"]),
    max_output_tokens=st.none() | st.integers(1, 99),
    service_tier=st.none() | st.sampled_from(["priority", "flex"]),
    body=st.just({}) | st.just({"chat": {"other": {"x": "é"}}}),
)


def as_envoy(data: bytes, plan: str) -> tuple[dict[str, str], bytes]:
    """Does what the filter in deploy/envoy/envoy.yaml does: the headers, and the edited body."""
    lines, _, rest = plan.encode().partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in lines.decode().splitlines())
    parts, kept, at = [], 0, 0
    while at < len(rest):
        found = re.compile(rb"(\d+) (\d+) (\d+)\n").match(rest, at)
        assert found is not None
        start, cut, put = map(int, found.groups())
        parts += (data[kept:start], rest[found.end() : found.end() + put])
        kept, at = start + cut, found.end() + put
    return headers, b"".join((*parts, data[kept:]))


def fallback(arm: ArmSpec | None) -> FallbackArm:
    return FallbackArm(1, "b/é" if arm is None else "b/é@a", "b/é", arm, 0.5, 0.001, 10.0, None)


@given(
    members=st.lists(
        st.tuples(
            st.sampled_from(FIELDS),
            st.sampled_from([b"null", b'"low"', b"7", b'{"x": 1}', b'"\\u00e9\xc3\xa9"']),
        ),
        max_size=6,
        unique_by=lambda one: one[0],
    ),
    space=st.sampled_from([b"", b" ", b"\r\n\t"]),
    arms=st.tuples(ARMS, ARMS),
    longest=st.tuples(st.none() | st.integers(1, 99), st.none() | st.integers(1, 99)),
)
def test_the_plan_leads_from_one_body_to_the_other(
    members: list[tuple[str, bytes]],
    space: bytes,
    arms: tuple[ArmSpec | None, ArmSpec | None],
    longest: tuple[int | None, int | None],
) -> None:
    members = [one for one in members if one[0] != "model"]
    pairs = [
        (b'"model"', b'"auto"'),
        *((b'"%s"' % name.encode(), value) for name, value in members),
    ]
    data = b"{%s}" % b",".join(space + key + space + b":" + value + space for key, value in pairs)
    body = read_body(data, ["auto"])
    assert body is not None
    first = changes_for(body, "chat", "a/1", arms[0], longest[0])
    second = changes_for(body, "chat", "b/é", arms[1], longest[1])
    sent, wanted = changed(data, first), changed(data, second)
    headers, edited = as_envoy(sent, plan_of(fallback(arms[1]), data, first, second))
    assert edited == wanted
    assert orjson.loads(wanted)["model"] == "b/é"
    assert headers == {
        "x-routoo-model": "b/é",
        **({} if arms[1] is None else {"x-routoo-arm": "a"}),
        "x-routoo-score": "0.5000",
        "x-routoo-cost-usd": "0.001",
    }


def test_what_both_change_alike_is_no_edit() -> None:
    assert edits_between(b"abc", {(0, 1): b"x"}, {(0, 1): b"x"}) == []
    assert edits_between(b"abc", {(0, 1): b"xyz"}, {(2, 3): b""}) == [
        (0, 3, b"a"),
        (4, 1, b""),
    ]


def told(**values: Any) -> dict[str, Any]:
    found = Struct()
    found.update(values)
    return {TRIES: found}


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({}, None),
        (told(first="503 "), None),
        (told(fallback=True), ProviderFailure(Cause.RESET)),
        (told(fallback=True, first="503 "), ProviderFailure(Cause.SERVER_ERROR)),
        (told(fallback=True, first="529 2"), ProviderFailure(Cause.SERVER_ERROR, 2.0)),
        (told(fallback=True, first="429 7"), ProviderFailure(Cause.RATE_LIMITED, 7.0)),
        (told(fallback=True, first="429 -1"), ProviderFailure(Cause.RATE_LIMITED)),
        (told(fallback=True, first="504 "), ProviderFailure(Cause.TIMEOUT)),
        (told(fallback=True, first="many"), ProviderFailure(Cause.RESET)),
        (told(fallback=True, first=math.nan), ProviderFailure(Cause.RESET)),
    ],
)
def test_what_became_of_the_first_try(
    metadata: dict[str, Any], found: ProviderFailure | None
) -> None:
    assert failed_try(metadata) == found
