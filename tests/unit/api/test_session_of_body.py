"""Bodies of LLM requests tell their sessions, and what ties them to a model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.session_of_body import session_of, session_of_body
from routoo.errors import InvalidRequestError
from routoo.routing.sessions.facts import SessionFacts, Tie


def found(api: str, body: dict[str, Any], **fields: Any) -> SessionFacts:
    facts = session_of(fields, session_of_body(api, body, marked=False), derives=True)
    assert facts is not None
    return facts


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "4"}
CALL_ITEM = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT_ITEM = {"type": "function_call_output", "call_id": "c", "output": "4"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}
USED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "4"}]}


@pytest.mark.parametrize(
    ("api", "first", "later", "other"),
    [
        (
            "chat",
            {"messages": [SYSTEM, user("a")]},
            {"messages": [SYSTEM, user("a"), CALL, RESULT, user("b")]},
            {"messages": [SYSTEM, user("b")]},
        ),
        (
            "messages",
            {"system": "Be brief.", "messages": [user("a")]},
            {
                "system": [{"type": "text", "text": "Be brief."}],
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
                        ],
                    },
                    USE,
                    USED,
                ],
            },
            {"system": "Be long.", "messages": [user("a")]},
        ),
        (
            "responses",
            {"instructions": "Be brief.", "input": "a"},
            {"instructions": "Be brief.", "input": [user("a"), CALL_ITEM, RESULT_ITEM]},
            {"input": "a"},
        ),
    ],
)
def test_later_turns_have_the_fingerprint_of_the_first(
    api: str, first: dict[str, Any], later: dict[str, Any], other: dict[str, Any]
) -> None:
    one, two, three = (found(api, body) for body in (first, later, other))
    assert (one.kind, one.id) == (two.kind, two.id)
    assert one.id != three.id
    assert (one.begins, two.begins) == (True, False)


@pytest.mark.parametrize(
    ("api", "body", "kind", "session_id"),
    [
        ("responses", {"conversation": "conv_1", "input": "a"}, "conversation", "conv_1"),
        ("responses", {"conversation": {"id": "conv_1"}, "input": "a"}, "conversation", "conv_1"),
        (
            "responses",
            {"previous_response_id": "resp_1", "input": [RESULT_ITEM]},
            "previous_response_id",
            "resp_1",
        ),
    ],
)
def test_ids_of_the_apis_go_before_the_first_turns(
    api: str, body: dict[str, Any], kind: str, session_id: str
) -> None:
    facts = found(api, body)
    assert (facts.kind, facts.id, facts.begins) == (kind, session_id, False)
    assert Tie.PROVIDER in facts.ties


@pytest.mark.parametrize(
    ("api", "more"),
    [
        ("chat", {"prompt_cache_key": "k"}),
        ("messages", {"metadata": {"user_id": "user_1_account_2_session_k"}}),
        ("messages", {"metadata": {"user_id": orjson.dumps({"session_id": "k"}).decode()}}),
    ],
)
def test_ids_that_conversations_share_count_beside_the_first_turns(
    api: str, more: dict[str, Any]
) -> None:
    with_id, without = (
        found(api, {"messages": [user("a")], **more}),
        found(api, {"messages": [user("a")]}),
    )
    assert (with_id.kind, with_id.id) == ("first_turns k", without.id)
    assert found(api, {"messages": [user("b")], **more}).id != with_id.id


def test_the_callers_own_id_goes_first() -> None:
    facts = found("chat", {"messages": [user("a"), CALL, RESULT]}, session_id="mine")
    assert (facts.kind, facts.id, facts.ties) == ("session_id", "mine", Tie.TOOL_LOOP)
    told = session_of_body("chat", {"messages": [user("a")]}, marked=False)
    assert session_of({}, told, derives=False) is None
    with pytest.raises(InvalidRequestError, match="cached_input_tokens"):
        found("chat", {"messages": [user("a")]}, cached_input_tokens=5)


@pytest.mark.parametrize(
    ("api", "body", "ties"),
    [
        ("chat", {"messages": [user("a"), CALL, RESULT]}, Tie.TOOL_LOOP),
        ("chat", {"messages": [user("a"), CALL, RESULT, user("and?")]}, Tie.TOOL_LOOP),
        (
            "chat",
            {
                "messages": [
                    user("a"),
                    CALL,
                    RESULT,
                    {"role": "assistant", "content": "4"},
                    user("b"),
                ]
            },
            Tie.NONE,
        ),
        ("messages", {"messages": [user("a"), USE, USED]}, Tie.TOOL_LOOP),
        ("responses", {"input": [user("a"), CALL_ITEM, RESULT_ITEM]}, Tie.TOOL_LOOP),
        (
            "responses",
            {"previous_response_id": "r", "input": [RESULT_ITEM]},
            Tie.TOOL_LOOP | Tie.PROVIDER,
        ),
        (
            "responses",
            {"input": [user("a"), {"type": "reasoning", "id": "rs", "encrypted_content": "x"}]},
            Tie.PROVIDER,
        ),
        ("responses", {"input": [user("a"), {"type": "item_reference", "id": "m"}]}, Tie.PROVIDER),
        (
            "responses",
            {"input": "a", "tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
            Tie.PROVIDER,
        ),
        (
            "responses",
            {"input": "a", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
            Tie.PROVIDER,
        ),
        (
            "messages",
            {
                "messages": [
                    user("a"),
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "hm", "signature": "sig"},
                            {"type": "text", "text": "b"},
                        ],
                    },
                    user("c"),
                ]
            },
            Tie.PROVIDER,
        ),
        ("messages", {"container": "container_1", "messages": [user("a")]}, Tie.PROVIDER),
        (
            "messages",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
                        ],
                    }
                ]
            },
            Tie.PROVIDER,
        ),
        (
            "chat",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            Tie.PROVIDER,
        ),
        ("chat", {"messages": [user("a")], "cached_content": "cachedContents/1"}, Tie.MODEL),
        (
            "chat",
            {"messages": [user("a")], "extra_body": {"google": {"cached_content": "c/1"}}},
            Tie.MODEL,
        ),
        # A tool's own words tie nothing.
        (
            "chat",
            {
                "messages": [user("a")],
                "tools": [{"function": {"parameters": {"properties": {"file_id": ["x"]}}}}],
            },
            Tie.NONE,
        ),
        (
            "messages",
            {
                "messages": [
                    user("a"),
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "tool_use", "name": "f", "input": {"file_id": "x"}},
                        ],
                    },
                    USED,
                    {"role": "assistant", "content": "4"},
                    user("b"),
                ]
            },
            Tie.NONE,
        ),
    ],
)
def test_ties(api: str, body: dict[str, Any], ties: Tie) -> None:
    assert found(api, body).ties == ties


def test_anthropics_models_cache_what_is_marked() -> None:
    body = {"messages": [user("a")]}
    for api, marked, writes in (("messages", False, False), ("messages", True, True)):
        assert session_of_body(api, body, marked=marked).writes is writes
    assert found("chat", body).writes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "type",
                        "role",
                        "content",
                        "id",
                        "text",
                        "input",
                        "name",
                        "metadata",
                        "user_id",
                    ),
                    *("signature", "container", "conversation", "file_id", "cache_control"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)
KEYS = st.sampled_from(
    [
        *("messages", "input", "system", "instructions", "tools", "metadata", "conversation"),
        *("previous_response_id", "prompt_cache_key", "container", "extra_body", "cached_content"),
    ]
)


@given(
    st.sampled_from(["chat", "responses", "completions", "messages"]),
    st.dictionaries(KEYS, JSON, max_size=6),
)
def test_any_body_is_read(api: str, body: dict[str, Any]) -> None:
    facts = session_of({}, session_of_body(api, body, marked=False), derives=True)
    assert facts is None or facts.id


def test_lists_that_are_nested_deep_are_no_text() -> None:
    deep = orjson.loads(b"[" * 1000 + b"]" * 1000)
    body = {"messages": [{"role": "user", "content": ["hello", deep]}]}
    plain = {"messages": [{"role": "user", "content": ["hello"]}]}
    found_deep = session_of_body("chat", body, marked=False)
    assert found_deep.id == session_of_body("chat", plain, marked=False).id
