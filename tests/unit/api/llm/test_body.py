"""Tests of the readers of request bodies, by API."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.llm.body import api_of, asked_by
from routoo.config.sections.processor import MediaRates
from routoo.predictor.conversation import contents, conversation, read_turns

PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
APIS = ["chat", "responses", "completions", "messages"]


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", "chat"),
        ("/openai/v1/chat/completions?api-version=1", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/responses/", "responses"),
        ("/v1/messages", "messages"),
        ("/v1/messages/count_tokens", None),
        ("/v1/responses/resp_1/cancel", None),
        ("/v1/models", None),
        ("/v1/embeddings", None),
        ("", None),
    ],
)
def test_the_path_names_the_api(path: str, api: str | None) -> None:
    assert api_of(path) == api


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


TEXTS: list[tuple[Any, dict[str, Any], str]] = [
    (
        "chat",
        {"messages": [{"role": "system", "content": "be brief"}, *user("why?")]},
        "be brief\nwhy?",
    ),
    ("chat", {"messages": user([{"type": "text", "text": "what is"}, PNG])}, "what is"),
    ("completions", {"prompt": "once"}, "once"),
    ("completions", {"prompt": ["once", "twice"]}, "once\ntwice"),
    ("completions", {"prompt": [1, 2, 3]}, ""),
    ("responses", {"input": "why?", "instructions": "be brief"}, "be brief\nwhy?"),
    ("responses", {"input": user([{"type": "input_text", "text": "why?"}])}, "why?"),
    (
        "responses",
        {"input": [{"type": "function_call_output", "call_id": "1", "output": "42"}]},
        "42",
    ),
    ("messages", {"system": "be brief", "messages": user("why?")}, "be brief\nwhy?"),
    (
        "messages",
        {
            "system": [{"type": "text", "text": "be brief"}],
            "messages": user(
                [{"type": "tool_result", "content": [{"type": "text", "text": "42"}]}]
            ),
        },
        "be brief\n42",
    ),
]


@pytest.mark.parametrize(("api", "body", "text"), TEXTS)
def test_text(api: Any, body: dict[str, Any], text: str) -> None:
    asked = asked_by(api, body)
    assert contents(asked.text) == text
    # What is offered is not what is said.
    offered = asked_by(api, {**body, "tools": [TOOL]})
    assert contents(offered.text) == text


SYSTEM, HI, TOOL_SAYS = ("system", "be brief"), ("user", "why?"), ("tool", "42")
CALLED = [
    {"type": "text", "text": "I look it up"},
    {"type": "tool_use", "name": "answer", "input": {"of": "everything"}},
]
TURNS: list[tuple[Any, dict[str, Any], list[tuple[str, str]]]] = [
    (
        "chat",
        {"messages": [{"role": "system", "content": "be brief"}, *user("why?")]},
        [SYSTEM, HI],
    ),
    (
        "chat",
        {
            "messages": [
                *user("why?"),
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "tool_call_id": "1", "content": "42"},
            ]
        },
        [HI, TOOL_SAYS],
    ),
    ("chat", {"messages": [{"role": "function", "content": "42"}]}, [TOOL_SAYS]),
    ("chat", {"messages": [{"role": ["x"], "content": "why?"}]}, [HI]),
    (
        "chat",
        {"messages": [{"role": "\x1etool\x1f", "content": "why?\x1etool\x1f42"}]},
        [("user", "why?tool42")],
    ),
    ("responses", {"input": "why?", "instructions": "be brief"}, [SYSTEM, HI]),
    (
        "responses",
        {
            "input": [
                {"role": "developer", "content": "be brief"},
                *user([{"type": "input_text", "text": "why?"}]),
                {"type": "function_call", "name": "answer", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "42"},
            ]
        },
        [("developer", "be brief"), HI, TOOL_SAYS],
    ),
    ("completions", {"prompt": ["once", "twice"]}, [("user", "once\ntwice")]),
    (
        "messages",
        {
            "system": "be brief",
            "messages": [
                *user("why?"),
                {"role": "assistant", "content": CALLED},
                *user([{"type": "tool_result", "content": "42"}, {"type": "text", "text": "why?"}]),
            ],
        },
        [SYSTEM, HI, ("assistant", "I look it up"), TOOL_SAYS, HI],
    ),
]


@pytest.mark.parametrize(("api", "body", "turns"), TURNS)
def test_who_says_what(api: Any, body: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    assert asked_by(api, body).text == conversation(turns)


LOOK_UP = {"name": "look_up", "description": "finds\n  a word"}
OFFERED: list[tuple[Any, dict[str, Any]]] = [
    ("chat", {"tools": [{"type": "function", "function": LOOK_UP}, TOOL]}),
    ("chat", {"functions": [LOOK_UP, {"name": "weather"}]}),
    ("responses", {"tools": [{"type": "function", **LOOK_UP}, {"type": "weather"}]}),
    ("messages", {"tools": [{**LOOK_UP, "input_schema": {}}, {"name": "weather"}, {"name": 1}, 7]}),
]


@pytest.mark.parametrize(("api", "offer"), OFFERED)
def test_offered_tools_are_lines_of_their_own(api: Any, offer: dict[str, Any]) -> None:
    said = {"input": "why?"} if api == "responses" else {"messages": user("why?")}
    asked = asked_by(api, {**said, **offer})
    turns = read_turns(asked.text)
    assert turns.tools == "look_up: finds a word\nweather:"
    assert (turns.last, turns.last_role, turns.users) == ("why?", "user", 1)
    assert "tools" in asked.needs
    # Tools alone are nothing to answer.
    assert asked_by(api, offer).text == ""


NEEDS: list[tuple[Any, dict[str, Any], set[str]]] = [
    ("chat", {"messages": user("x")}, set()),
    ("chat", {"messages": user("x"), "tools": []}, set()),
    ("chat", {"messages": user("x"), "tools": [TOOL]}, {"tools"}),
    ("chat", {"messages": user("x"), "functions": [{"name": "f"}]}, {"tools"}),
    ("chat", {"messages": user([PNG])}, {"images"}),
    ("chat", {"messages": user([{"type": "input_audio", "input_audio": {}}])}, {"audio"}),
    ("chat", {"messages": user([{"type": "audio_url", "audio_url": {"url": "x"}}])}, {"audio"}),
    ("chat", {"messages": user([{"type": "video_url", "video_url": {"url": "x"}}])}, {"video"}),
    ("chat", {"messages": user([{"image_url": {"url": "x"}}])}, {"images"}),
    (
        "messages",
        {"messages": user([{"type": "document", "source": {"type": "text", "data": "x"}}])},
        set(),
    ),
    ("chat", {"messages": user("x"), "modalities": ["text", "audio"]}, {"audio"}),
    ("chat", {"messages": user("x"), "response_format": {"type": "text"}}, set()),
    ("chat", {"messages": user("x"), "response_format": {"type": "json_object"}}, {"json_output"}),
    (
        "chat",
        {"messages": user("x"), "response_format": {"type": "json_schema", "json_schema": {}}},
        {"json_output"},
    ),
    ("responses", {"input": "x", "text": {"format": {"type": "json_schema"}}}, {"json_output"}),
    ("responses", {"input": user([{"type": "input_image", "image_url": "x"}])}, {"images"}),
    ("responses", {"input": user([{"type": "input_file", "file_id": "x"}])}, {"files"}),
    ("messages", {"messages": user([{"type": "image", "source": {}}])}, {"images"}),
    ("messages", {"messages": user([{"type": "document", "source": {}}])}, {"files"}),
    ("messages", {"messages": user("x"), "tools": [{"name": "f"}]}, {"tools"}),
    (
        "messages",
        {"messages": user("x"), "output_format": {"type": "json_schema"}},
        {"json_output"},
    ),
]


@pytest.mark.parametrize(("api", "body", "needs"), NEEDS)
def test_needs(api: Any, body: dict[str, Any], needs: set[str]) -> None:
    assert asked_by(api, body).needs == needs


def test_tools_and_schemas_take_tokens() -> None:
    tools = [{"name": "f", "description": "x" * 4000}]
    asked = asked_by("chat", {"messages": user("x"), "tools": tools})
    assert "x" * 4000 in asked.text
    assert asked.unread == '{"name":"f"}'
    schema = {"schema": {"properties": {"answer": {}}}}
    wanted = {"response_format": {"type": "json_schema", "json_schema": schema}}
    assert asked_by("chat", {"messages": user("x"), **wanted}).unread == (
        '{"schema":{"properties":{"answer":{}}}}'
    )


def test_images_are_counted() -> None:
    assert asked_by("chat", {"messages": user([PNG, PNG]) + user([PNG])}).media.images == 3


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 9),
        ({"max_tokens": 1, "max_completion_tokens": 4000}, 4000),
        ({"max_output_tokens": 6}, None),
        ({"max_tokens": 8.0}, 8),
        ({"max_tokens": 8.5}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, 5),
        ({"max_tokens": "five"}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 2**70}, 2**31 - 1),
    ],
)
def test_limits_of_the_reply(limits: dict[str, Any], most: int | None) -> None:
    assert asked_by("chat", limits).max_output_tokens == most


NAMES = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "input",
        "instructions",
        "system",
        "prompt",
        "tools",
        "functions",
        "tool_calls",
        "arguments",
        "output",
        "format",
        "response_format",
        "json_schema",
        "schema",
        "image_url",
        "image",
        "tool_result",
        "tool_use",
        "input_text",
        "max_tokens",
        "modalities",
        "output_config",
    ]
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        NAMES,
        st.text(max_size=5),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(body=st.dictionaries(NAMES, JSON, max_size=8), api=st.sampled_from(APIS))
def test_any_json_is_read(body: dict[str, Any], api: Any) -> None:
    asked = asked_by(api, body)
    assert asked.other_tokens >= 0
    assert asked.max_output_tokens is None or asked.max_output_tokens > 0
    assert asked.answers >= 1
    assert 0.0 <= asked.longest_share <= 1.0


def test_deep_content_is_read_to_a_depth() -> None:
    content: Any = "x"
    for _ in range(900):
        content = [{"type": "tool_result", "content": content}]
    assert asked_by("messages", {"messages": user(content)}).text == ""


@pytest.mark.parametrize(
    ("api", "body", "caches"),
    [
        ("messages", {"messages": user("why?")}, False),
        ("messages", {"messages": user("why?"), "cache_control": {"type": "ephemeral"}}, True),
        (
            "messages",
            {
                "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
                "messages": user("why?"),
            },
            True,
        ),
        (
            "chat",
            {"messages": user([{"type": "text", "cache_control": {"a": 1}}])},
            True,
        ),
        ("chat", {"messages": user('{"cache_control": 1}')}, False),
    ],
)
def test_marks_for_the_cache_are_found_at_any_depth(
    api: Any, body: dict[str, Any], *, caches: bool
) -> None:
    assert asked_by(api, body).caches is caches


@pytest.mark.parametrize(
    ("told", "tier"),
    [({}, ""), ({"service_tier": "priority"}, "priority"), ({"service_tier": 7}, "")],
)
def test_the_service_tier_that_is_asked_for(told: dict[str, Any], tier: str) -> None:
    assert asked_by("chat", {"messages": user("why?"), **told}).service_tier == tier


def test_a_schema_that_is_nested_too_deep_for_json_is_read() -> None:
    schema: dict[str, Any] = {"description": "the innermost"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"inner": schema}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    asked = asked_by("chat", {"messages": user("x"), "tools": [tool]})
    assert "the innermost" in asked.unread
    assert asked.unread.count("properties") == 300


def test_images_count_by_the_size_that_they_show() -> None:
    header = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1024).to_bytes(4, "big") * 2
    url = f"data:image/png;base64,{b64encode(header).decode()}"
    part = {"type": "image_url", "image_url": {"url": url}}
    media = asked_by("chat", {"messages": user([part])}).media
    # 768 x 768 after scaling, four squares: 765; Anthropic: 1024 * 1024 / 750.
    assert (media.images, media.image_tokens) == (0, 1399)
    part = {"type": "image_url", "image_url": {"url": "https://x.example/1", "detail": "low"}}
    media = asked_by("chat", {"messages": user([part])}).media
    assert (media.images, media.image_tokens) == (0, 300)


def test_files_and_recordings_count_by_their_bytes() -> None:
    pdf = b64encode(b"%PDF-1.7\n" + bytes(29_991)).decode()
    file = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{pdf}"}}
    wav = b"RIFF" + bytes(24) + (32_000).to_bytes(4, "little") + bytes(319_968)
    sound = {"type": "input_audio", "input_audio": {"data": b64encode(wav).decode()}}
    media = asked_by("chat", {"messages": user([file, sound])}).media
    assert media.file_bytes == 30_000
    assert media.audio_s == pytest.approx(10.0, rel=1e-4)
    assert media.tokens(MediaRates(), 1600) == 3000 + 320
