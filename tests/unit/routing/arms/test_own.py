"""A caller's own parameters leave the arms that come nearest, and never take a model's last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.arms.efforts import EFFORTS
from routoo.routing.arms.own import OwnAsking, arms_left, own_asking
from routoo.routing.request import PromptRequest
from support.tiny_pool import ARMED_NAMES, MEDIUM, armed_pool, pool_of

if TYPE_CHECKING:
    from routoo.routing.arms.spec import Api

ARMS = armed_pool().arms
assert ARMS is not None


def left(**asked: Any) -> list[str]:
    assert ARMS is not None
    mask = np.ones((1, len(ARMED_NAMES)), np.bool_)
    kept = arms_left(ARMS, [PromptRequest("p", **asked)], mask)
    return [name for name, on in zip(ARMED_NAMES, kept[0], strict=True) if on]


LARGE_NAMES = ["large@short", "large@whole", "large@at-once"]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, list(ARMED_NAMES)),
        ({"effort": "high"}, ["small", "medium@high", *LARGE_NAMES]),
        ({"effort": "minimal"}, ["small", "medium@low", *LARGE_NAMES]),
        ({"effort": "max"}, ["small", "medium@high", *LARGE_NAMES]),
        ({"service_tier": "Priority"}, list(ARMED_NAMES)),
        ({"service_tier": "flex"}, [*ARMED_NAMES[:4], "large@short", "large@whole"]),
        ({"max_output_tokens": 40}, list(ARMED_NAMES)),
        ({"max_output_tokens": 41}, [*ARMED_NAMES[:4], "large@whole", "large@at-once"]),
        ({"api": "chat"}, list(ARMED_NAMES)),
        ({"api": "completions"}, ["small", "large@short", "large@whole"]),
    ],
)
def test_what_the_caller_sets_leaves_the_nearest(asked: dict[str, Any], kept: list[str]) -> None:
    assert left(**asked) == kept


def test_a_budget_of_thinking_needs_room_in_the_answer_and_a_body_that_takes_it() -> None:
    arms = [{"name": "plain"}, {"name": "thinks", "thinking_budget_tokens": 2048}]
    columns = pool_of({**MEDIUM, "arms": arms}).arms
    assert columns is not None
    requests = [
        PromptRequest("p"),
        PromptRequest("p", max_output_tokens=2048),
        PromptRequest("p", max_output_tokens=2049),
        PromptRequest("p", forbids_thinking=True),
    ]
    kept = arms_left(columns, requests, np.ones((4, 2), np.bool_))
    assert kept.tolist() == [[True, True], [True, False], [True, True], [True, False]]


@given(
    data=st.data(),
    n=st.integers(1, 4),
)
def test_efforts_tiers_and_limits_never_take_a_models_last_arm(data: st.DataObject, n: int) -> None:
    assert ARMS is not None
    requests = [
        PromptRequest(
            "p",
            effort=data.draw(st.sampled_from(["", *EFFORTS])),
            service_tier=data.draw(st.sampled_from(["", "priority", "flex", "default"])),
            max_output_tokens=data.draw(st.none() | st.integers(1, 100)),
        )
        for _ in range(n)
    ]
    cells = st.lists(st.booleans(), min_size=len(ARMED_NAMES), max_size=len(ARMED_NAMES))
    mask = np.array([data.draw(cells) for _ in range(n)])
    kept = arms_left(ARMS, requests, mask)
    assert not (kept & ~mask).any()
    before = np.logical_or.reduceat(mask, ARMS.starts, axis=1)
    assert (np.logical_or.reduceat(kept, ARMS.starts, axis=1) == before).all()
    # A row does not depend on its batch.
    for row in range(n):
        assert (arms_left(ARMS, requests[row : row + 1], mask[row : row + 1]) == kept[row]).all()


@pytest.mark.parametrize(
    ("api", "body", "effort", "forbids_thinking"),
    [
        ("chat", {"reasoning_effort": "low"}, "low", False),
        ("chat", {"reasoning_effort": None}, "", False),
        ("chat", {"reasoning_effort": "extreme"}, "", False),
        ("chat", {"reasoning": {"effort": "high"}}, "high", False),
        ("chat", {"enable_thinking": False}, "none", False),
        ("chat", {"chat_template_kwargs": {"enable_thinking": False}}, "none", False),
        ("responses", {"reasoning": {"effort": "minimal", "summary": "auto"}}, "minimal", False),
        ("responses", {"reasoning": "high"}, "", False),
        ("messages", {"output_config": {"effort": "max"}}, "max", False),
        ("messages", {"thinking": {"type": "disabled"}}, "none", False),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 10000}}, "medium", False),
        ("messages", {"thinking": {"type": "adaptive"}}, "", False),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": True}}, "", False),
        ("messages", {"temperature": 0.2}, "", True),
        ("messages", {"temperature": 1.0, "top_k": None}, "", False),
        ("messages", {"top_k": 3}, "", True),
        ("messages", {"top_p": 0.5}, "", True),
        ("messages", {"top_p": 0.99}, "", False),
        ("messages", {"tool_choice": {"type": "any"}}, "", True),
        ("messages", {"tool_choice": {"type": "auto"}}, "", False),
        ("messages", {"messages": [{"role": "assistant", "content": "{"}]}, "", True),
        ("messages", {"messages": ["x"], "tool_choice": [], "top_p": "1"}, "", False),
    ],
)
def test_a_body_is_read_by_its_api(
    api: Api, body: dict[str, Any], effort: str, *, forbids_thinking: bool
) -> None:
    assert own_asking(api, body) == OwnAsking(effort, forbids_thinking)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = (
    *("reasoning_effort", "reasoning", "thinking", "output_config", "enable_thinking"),
    *("chat_template_kwargs", "temperature", "top_k", "top_p", "tool_choice", "messages"),
)
INNER = st.dictionaries(
    st.sampled_from(["effort", "type", "budget_tokens", "enable_thinking", "role"]),
    JSON | st.sampled_from(["enabled", "disabled", "any", "low"]),
)


@given(
    api=st.sampled_from(["chat", "responses", "completions", "messages"]),
    body=st.dictionaries(st.sampled_from(FIELDS), JSON | INNER | st.lists(INNER, max_size=2)),
)
def test_any_body_is_read(api: Api, body: dict[str, Any]) -> None:
    assert own_asking(api, body).effort in ("", *EFFORTS)
