"""Readers of the request bodies of LLM APIs: who says what, what is billed, what a model must take.

Bodies are untrusted: every value may have any JSON type, and values that do not fit are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from routoo.api.llm.body_facts import USER, BodyFacts
from routoo.api.llm.parts import read_content, read_messages
from routoo.predictor.conversation import OFFERED_TOOLS, TURN, conversation
from routoo.predictor.tokenizers.families import count_by_family
from routoo.request_fields import MOST_ANSWERS
from routoo.routing.arms.parameters import LIMIT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from routoo.api.llm.body_facts import Need
    from routoo.api.llm.media import Media

Api = Literal["chat", "responses", "completions", "messages"]

# The API is found by the end of the path, so that a prefix such as /openai does not matter. Longer
# ends come first.
_PATHS: tuple[tuple[str, Api], ...] = (
    ("/chat/completions", "chat"),
    ("/completions", "completions"),
    ("/responses", "responses"),
    ("/messages", "messages"),
)
_ANSWERS: dict[Api, tuple[str, ...]] = {"chat": ("n",), "completions": ("n", "best_of")}
_JSON_FORMATS = frozenset({"json_schema", "json_object"})
# Anthropic's models read this much before the tools, whatever they are.
_TOOLS_PREAMBLE = 350
_MOST_TIER_CHARS = 64
# A longer part that was not read is counted here, where a large body is beside the loop, by the
# tokenizer that finds most in it. Later, all requests that are predicted would wait for it.
_LONG_CHARS = 64 * 1024
_CACHE_MARK = "cache_control"
_MOST_TOKENS = 2**31 - 1
_DIGITS = re.compile(r"[ \t]*\+?\d{1,20}[ \t]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts of a body that matter for routing.

    Attributes:
        text: all its text with who says it, see ``conversation``, and the tools that are offered;
            empty: nothing is said.
        needs: the capabilities that a model has to have.
        kinds: kinds of parts that are not known and are no text, in order.
        media: images, recordings, films and files.
        unread: the texts that are billed and are not in ``text``: schemas and calls of tools,
            reasoning, predictions, formats.
        other_tokens: input tokens of what is neither text nor media.
        max_output_tokens: the longest answer allowed; None: the body sets no limit.
        answers: how many answers are billed.
        predicted: the prediction of the answer, which is billed as output where it is wrong.
        longest_share: share of the longest prompt in the input, where there are several.
        service_tier: the service tier that is asked for; empty: none.
        speaks: whether the answer may be sound.
        caches: whether the provider is asked to write the input into its cache.
        continues: whether there is something to answer even without a text.
    """

    text: str
    needs: frozenset[Need]
    kinds: tuple[str, ...]
    media: Media
    unread: str
    other_tokens: int
    max_output_tokens: int | None
    answers: int
    predicted: str
    longest_share: float
    service_tier: str
    speaks: bool
    caches: bool
    continues: bool


def api_of(path: str) -> Api | None:
    """Returns the API of a request path, with or without a query; None: of no known API."""
    path = path.partition("?")[0].rstrip("/")
    return next((api for end, api in _PATHS if path.endswith(end)), None)


def asked_by(
    api: Api,
    body: Mapping[str, Any],
    counted: Sequence[str] = (),
    unseen_bytes: int | None = None,
) -> Asked:
    """Reads a body, in the format of its API.

    Args:
        api: the API.
        body: the members of the body.
        counted: JSON texts of parts of it that were not read, see ``RequestBody``.
        unseen_bytes: the size of what is not here, which counts as text; None: all is here.
    """
    found = BodyFacts()
    if unseen_bytes is not None:
        found.hidden_bytes += unseen_bytes
        found.continues = True
    for text in counted:
        if len(text) > _LONG_CHARS:
            found.tokens += int(count_by_family([text]).max())
        else:
            found.bill(text)
    _READERS[api](body, found)
    turns = found.turns()
    tools = [tool for name in ("tools", "functions") for tool in _listed(body.get(name))]
    if tools:
        found.needs.add("tools")
        offered = _offered(tools)
        told = bool(turns and offered)
        if told:
            turns.insert(0, (OFFERED_TOOLS, offered))
        for tool in tools:
            found.bill(_schema(tool) if told else tool)
        if api == "messages":
            found.tokens += _TOOLS_PREAMBLE
    modalities = body.get("modalities")
    speaks = isinstance(modalities, list) and "audio" in modalities
    if speaks:
        found.needs.add("audio")
    tier = body.get("service_tier")
    prompts, longest_share = _prompts(body.get("prompt")) if api == "completions" else (1, 1.0)
    answers = [whole(body[name]) or 1 for name in _ANSWERS.get(api, ()) if name in body]
    # Fields of another API do not count: the provider ignores or refuses them. Where two are valid,
    # providers differ in which one they use, so the larger counts.
    limits = [whole(body[name]) for name in LIMIT_FIELDS[api] if name in body]
    return Asked(
        text=_text_of(turns),
        needs=frozenset(found.needs),
        kinds=tuple(sorted(found.kinds)),
        media=found.media,
        unread="\n".join(found.unread),
        other_tokens=found.other_tokens,
        max_output_tokens=max((one for one in limits if one is not None), default=None),
        answers=min(prompts * max(answers, default=1), MOST_ANSWERS),
        predicted=_predicted(body.get("prediction")) if api == "chat" else "",
        longest_share=longest_share,
        service_tier=tier[:_MOST_TIER_CHARS] if isinstance(tier, str) else "",
        speaks=speaks,
        caches=_marked_for_cache(body) or any(_CACHE_MARK in text for text in counted),
        continues=found.continues or (api == "responses" and _goes_on(body)),
    )


def _goes_on(body: Mapping[str, Any]) -> bool:
    """Returns whether a provider has more of a response's input than is sent."""
    stored = body.get("prompt")
    return any(body.get(name) for name in ("previous_response_id", "conversation")) or (
        isinstance(stored, dict) and bool(stored.get("id"))
    )


def _marked_for_cache(body: Mapping[str, Any]) -> bool:
    """Returns whether a part of a body, at any depth, has a mark for the provider's cache."""
    left: list[Any] = [body]  # dicts and lists
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if one.get(_CACHE_MARK):
                return True
            one = one.values()
        left += [inner for inner in one if isinstance(inner, (dict, list))]
    return False


def _read_chat(body: Mapping[str, Any], found: BodyFacts) -> None:
    read_messages(body.get("messages"), found)
    _read_format(body.get("response_format"), found)
    found.bill(_predicted(body.get("prediction")))


def _read_completions(body: Mapping[str, Any], found: BodyFacts) -> None:
    prompt = body.get("prompt")
    if _is_of_tokens(prompt):
        found.tokens += len(prompt)
    else:
        for one in prompt if isinstance(prompt, list) else [prompt]:
            if isinstance(one, str):
                found.say(one)
            elif isinstance(one, list):
                found.tokens += len(one)
            elif _is_token(one):
                found.tokens += 1
    if isinstance(suffix := body.get("suffix"), str):
        for _ in range(min(_prompts(prompt)[0], MOST_ANSWERS)):
            found.bill(suffix)
    _read_format(body.get("response_format"), found)


def _read_responses(body: Mapping[str, Any], found: BodyFacts) -> None:
    found.begin("system")
    instructions = body.get("instructions")
    if isinstance(instructions, list):
        read_messages(instructions, found)
    else:
        read_content(instructions, found)
    items = body.get("input")
    found.begin(USER)
    if isinstance(items, str):
        found.say(items)
    else:
        read_messages(items, found)
    text, stored = body.get("text"), body.get("prompt")
    if isinstance(text, dict):
        _read_format(text.get("format"), found)
    if isinstance(stored, dict):
        variables = stored.get("variables")
        for value in variables.values() if isinstance(variables, dict) else ():
            read_content(value, found)


def _read_anthropic(body: Mapping[str, Any], found: BodyFacts) -> None:
    found.begin("system")
    read_content(body.get("system"), found)
    read_messages(body.get("messages"), found)
    _read_format(body.get("output_format"), found)
    config = body.get("output_config")
    if isinstance(config, dict):
        _read_format(config.get("format"), found)


_READERS: dict[Api, Callable[[Mapping[str, Any], BodyFacts], None]] = {
    "chat": _read_chat,
    "completions": _read_completions,
    "responses": _read_responses,
    "messages": _read_anthropic,
}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_of_tokens(prompt: object) -> TypeGuard[list[int]]:
    return isinstance(prompt, list) and set(map(type, prompt)) == {int}


def _prompts(prompt: object) -> tuple[int, float]:
    """Returns the number of prompts, and the share of the longest in their length."""
    if not isinstance(prompt, list) or not prompt or _is_of_tokens(prompt):
        return 1, 1.0
    sizes = [
        len(one) * _BYTES_OF.get(type(one), 0) for one in prompt if isinstance(one, (str, list))
    ]
    return max(1, len(sizes)), max(sizes, default=1) / max(1, sum(sizes))


# Characters of a text, and tokens, in one unit.
_BYTES_OF: dict[type, int] = {str: 1, list: 4}


def _predicted(prediction: object) -> str:
    if not isinstance(prediction, dict):
        return ""
    content = prediction.get("content")
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _listed(content) if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _text_of(turns: list[tuple[str, str]]) -> str:
    if len(turns) == 1:  # most bodies of programs that ask one question
        role, text = turns[0]
        if role == USER and TURN not in text:
            return text
    return conversation(turns)


def _offered(tools: list[Any]) -> str:
    """Returns name and description of each tool, one a line; without those that have no name."""
    lines = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        told = _told(tool)
        name = told.get("name") or tool.get("type")
        description = told.get("description")
        if isinstance(name, str):
            what = description if isinstance(description, str) else ""
            lines.append(" ".join(f"{name}: {what}".split()))
    return "\n".join(lines)


def _told(tool: dict[str, Any]) -> dict[str, Any]:
    # A chat wraps its functions; tools of the provider have a type instead of a name.
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def _schema(tool: Any) -> Any:
    """Returns a tool without the description that ``_offered`` has."""
    if not isinstance(tool, dict):
        return tool
    told = _told(tool)
    if not isinstance(told.get("name") or tool.get("type"), str):
        return tool
    kept = {name: one for name, one in told.items() if name not in {"description", "function"}}
    return kept | {
        name: one for name, one in tool.items() if told is not tool and name != "function"
    }


def _read_format(wanted: object, found: BodyFacts) -> None:
    if isinstance(wanted, dict):
        kind = wanted.get("type")
        if isinstance(kind, str) and kind in _JSON_FORMATS:
            found.needs.add("json_output")
        found.bill(wanted.get("json_schema") or wanted.get("schema"))


def whole(value: object) -> int | None:
    """Returns a number of at least 1 that is whole, also if it is written as 8.0 or "8".

    Some servers take numbers in quotation marks. A number that is too large for any answer is the
    largest one.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return None
    return min(value, _MOST_TOKENS)
