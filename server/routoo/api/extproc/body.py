"""Readers of the request bodies of LLM APIs: who says what, and the capabilities that are needed.

Bodies are untrusted: every value may have any JSON type, and values that do not fit are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import orjson

from routoo.predictor.conversation import OFFERED_TOOLS, TURN, conversation, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Api = Literal["chat", "responses", "completions", "messages"]
Need = Literal["tools", "images", "audio", "files", "json_output"]

# The API is found by the end of the path, so that a prefix such as /openai does not matter. Longer
# ends come first.
_PATHS: tuple[tuple[str, Api], ...] = (
    ("/chat/completions", "chat"),
    ("/completions", "completions"),
    ("/responses", "responses"),
    ("/messages", "messages"),
)
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_PART_NEEDS: dict[str, Need] = {
    "image_url": "images",
    "input_image": "images",
    "image": "images",
    "input_audio": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
}
_USER, _TOOL = "user", "tool"
_JSON_FORMATS = frozenset({"json_schema", "json_object"})
_BYTES_PER_TOKEN = 4
_DEEPEST = 8
_MOST_TOKENS = 2**31 - 1

# The body is known to be JSON, so these need not reject anything. Their quantifiers are possessive:
# they never backtrack, so that the time is linear in the length for any bytes.
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING = re.compile(_TEXT, re.DOTALL)
_KEY = re.compile(rb"[{,\s]*+(" + _TEXT + rb")\s*+:\s*+", re.DOTALL)
_SCALAR = re.compile(rb"[^,}\s]++")
_NEXT_BRACKETS = re.compile(
    rb'[^"{}\[\]]*+(?:' + _TEXT + rb'[^"{}\[\]]*+)*+(?:([{\[]++)|([}\]]++))', re.DOTALL
)
_QUOTE, _BRACE, _BRACKET = b'"{['


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts of a body that matter for routing.

    Attributes:
        text: all its text with who says it, see ``conversation``, and the tools that are offered;
            empty: nothing is said.
        needs: the capabilities that a model has to have.
        images: the number of images.
        other_tokens: estimated input tokens, without those of text and images.
        max_output_tokens: the longest reply allowed; None: the body sets no limit.
    """

    text: str
    needs: frozenset[Need]
    images: int
    other_tokens: int
    max_output_tokens: int | None


@dataclass(slots=True)
class _Found:
    """The facts found so far.

    Attributes:
        said: the number of the turn, the role and the text of each part.
        needs: the capabilities that a model has to have.
        images: the number of images.
        other_bytes: the size of what is neither text nor image.
        turn: the number of the present turn.
        role: the role of the one who speaks in it.
    """

    said: list[tuple[int, str, str]] = field(default_factory=list)
    needs: set[Need] = field(default_factory=set)
    images: int = 0
    other_bytes: int = 0
    turn: int = 0
    role: str = _USER

    def begin(self, role: object) -> None:
        """Begins a turn of a role; of the user, where it is none that is known."""
        self.turn += 1
        self.role = role_of(role) if isinstance(role, str) and role != _USER else _USER

    def say(self, text: str) -> None:
        """Adds a text to the present turn."""
        self.said.append((self.turn, self.role, text))

    def turns(self) -> list[tuple[str, str]]:
        """Returns the turns; what one message says in two roles makes two."""
        by_turn = groupby(self.said, key=lambda part: part[:2])
        return [(role, "\n".join(part[2] for part in parts)) for (_, role), parts in by_turn]


def api_of(path: str) -> Api | None:
    """Returns the API of a request path, with or without a query; None: of no known API."""
    path = path.partition("?")[0].rstrip("/")
    return next((api for end, api in _PATHS if path.endswith(end)), None)


def asked_by(api: Api, body: dict[str, Any]) -> Asked:
    """Reads a body, in the format of its API."""
    found = _Found()
    _READERS[api](body, found)
    turns = found.turns()
    tools = body.get("tools") or body.get("functions")
    if tools:
        found.needs.add("tools")
        found.other_bytes += _size(tools)
        offered = _offered(tools)
        if turns and offered:
            turns.insert(0, (OFFERED_TOOLS, offered))
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        found.needs.add("audio")
    return Asked(
        text=_text_of(turns),
        needs=frozenset(found.needs),
        images=found.images,
        other_tokens=found.other_bytes // _BYTES_PER_TOKEN,
        max_output_tokens=_limit(body),
    )


def _read_chat(body: dict[str, Any], found: _Found) -> None:
    _read_messages(body.get("messages"), found)
    _read_format(body.get("response_format"), found)


def _read_completions(body: dict[str, Any], found: _Found) -> None:
    prompt = body.get("prompt")
    for text in prompt if isinstance(prompt, list) else [prompt]:
        if isinstance(text, str):
            found.say(text)


def _read_responses(body: dict[str, Any], found: _Found) -> None:
    found.begin("system")
    _read_content(body.get("instructions"), found)
    items = body.get("input")
    found.begin(_USER)
    if isinstance(items, str):
        found.say(items)
    else:
        _read_messages(items, found)
    text = body.get("text")
    if isinstance(text, dict):
        _read_format(text.get("format"), found)


def _read_anthropic(body: dict[str, Any], found: _Found) -> None:
    found.begin("system")
    _read_content(body.get("system"), found)
    _read_messages(body.get("messages"), found)
    _read_format(body.get("output_format"), found)
    config = body.get("output_config")
    if isinstance(config, dict):
        _read_format(config.get("format"), found)


_READERS: dict[Api, Callable[[dict[str, Any], _Found], None]] = {
    "chat": _read_chat,
    "completions": _read_completions,
    "responses": _read_responses,
    "messages": _read_anthropic,
}


def _read_messages(messages: object, found: _Found) -> None:
    if not isinstance(messages, list):
        return
    for message in messages:
        if not isinstance(message, dict):
            continue
        found.begin(_TOOL if "output" in message else message.get("role"))
        _read_content(message.get("content"), found)
        # Calls of tools and their results, in the formats of chats and responses.
        if calls := message.get("tool_calls"):
            found.other_bytes += _size(calls)
        if arguments := message.get("arguments"):
            found.other_bytes += _size(arguments)
        _read_content(message.get("output"), found)


def _read_content(content: object, found: _Found, depth: int = 0) -> None:
    if isinstance(content, str):
        found.say(content)
    elif isinstance(content, list) and depth < _DEEPEST:
        for part in content:
            if isinstance(part, dict):
                _read_part(part, found, depth)


def _read_part(part: dict[str, Any], found: _Found, depth: int) -> None:
    kind = part.get("type")
    if not isinstance(kind, str):
        return
    if kind in _TEXT_PARTS:
        text = part.get("text")
        if isinstance(text, str):
            found.say(text)
    elif kind in _PART_NEEDS:
        need = _PART_NEEDS[kind]
        found.needs.add(need)
        found.images += need == "images"
    elif kind == "tool_use":
        found.other_bytes += _size(part.get("input"))
    elif kind == "tool_result":
        speaker, found.role = found.role, _TOOL
        _read_content(part.get("content"), found, depth + 1)
        found.role = speaker


def _text_of(turns: list[tuple[str, str]]) -> str:
    if len(turns) == 1:  # most bodies of programs that ask one question
        role, text = turns[0]
        if role == _USER and TURN not in text:
            return text
    return conversation(turns)


def _offered(tools: object) -> str:
    """Returns name and description of each tool, one a line; without those that have no name."""
    lines = []
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        # A chat wraps its functions; tools of the provider have a type instead of a name.
        inner = tool.get("function")
        told = inner if isinstance(inner, dict) else tool
        name = told.get("name") or tool.get("type")
        description = told.get("description")
        if isinstance(name, str):
            what = description if isinstance(description, str) else ""
            lines.append(" ".join(f"{name}: {what}".split()))
    return "\n".join(lines)


def _read_format(wanted: object, found: _Found) -> None:
    if isinstance(wanted, dict):
        kind = wanted.get("type")
        if isinstance(kind, str) and kind in _JSON_FORMATS:
            found.needs.add("json_output")
        if schema := wanted.get("json_schema") or wanted.get("schema"):
            found.other_bytes += _size(schema)


def _size(value: object) -> int:
    return len(value) if isinstance(value, str) else len(orjson.dumps(value))


def _limit(body: dict[str, Any]) -> int | None:
    limits = [
        value
        for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")
        if isinstance(value := body.get(name), int)
        and not isinstance(value, bool)
        and 0 < value <= _MOST_TOKENS
    ]
    return min(limits, default=None)


def replace_model(body: bytes, model: str) -> bytes:
    """Returns the body with a new value for each top-level key ``model``.

    The key may occur twice, and readers differ in which one they use, so all are replaced.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
        model: the new value.
    """
    value = orjson.dumps(model)
    parts: list[bytes] = []
    kept_to = 0
    for start, end in model_spans(body):
        parts += (body[kept_to:start], value)
        kept_to = end
    parts.append(body[kept_to:])
    return b"".join(parts)


def model_spans(body: bytes) -> Iterator[tuple[int, int]]:
    """Yields the start and end offset, in bytes, of each value of a top-level key ``model``.

    Args:
        body: a JSON object, in UTF-8, that a parser has accepted.
    """
    at = 0
    while (key := _KEY.match(body, at)) is not None:
        start = key.end()
        at = _value_end(body, start)
        name = key[1]
        if name == b'"model"' or (b"\\" in name and orjson.loads(name) == "model"):
            yield start, at


def _value_end(body: bytes, start: int) -> int:
    first = body[start]
    if first == _QUOTE:
        found = _STRING.match(body, start)
    elif first in (_BRACE, _BRACKET):
        return _nested_end(body, start)
    else:
        found = _SCALAR.match(body, start)
    assert found is not None  # noqa: S101 - the body is JSON
    return found.end()


def _nested_end(body: bytes, start: int) -> int:
    """Returns the end of an object or array.

    Each step consumes one run of brackets and everything before it.
    """
    depth = 0
    while True:
        found = _NEXT_BRACKETS.match(body, start)
        assert found is not None  # noqa: S101 - the body is JSON
        if found[1] is not None:
            depth += len(found[1])
        elif len(found[2]) < depth:
            depth -= len(found[2])
        else:
            return found.start(2) + depth
        start = found.end()
