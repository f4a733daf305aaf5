"""The session that the body of an LLM request tells: its id, and what ties it to a model.

Bodies are untrusted: every value may have any JSON type, and values that do not fit are ignored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.routing.sessions.facts import PREVIOUS, SessionFacts, Tie, told_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FIRST: Final = "first_turns"
_CACHE_KEY: Final = "prompt_cache_key"
_CLAUDE_SESSION: Final = "_session_"
_SYSTEM: Final = frozenset({"system", "developer"})
_MODELS_ROLES: Final = frozenset({"assistant", "model"})
# Ends of the kinds of items in the Responses API that a model writes, and that answer its tools.
_CALLS: Final = ("_call", "reasoning", "compaction", "mcp_approval_request", "mcp_list_tools")
_RESULTS: Final = ("_output", "mcp_approval_response")

# What only its provider can read, or its model, by the key under which it stands.
_TIES: Final[Mapping[str, Tie]] = {
    "encrypted_content": Tie.PROVIDER,
    "signature": Tie.PROVIDER,
    "thought_signature": Tie.PROVIDER,
    "thoughtSignature": Tie.PROVIDER,
    "file_id": Tie.PROVIDER,
    "file_ids": Tie.PROVIDER,
    "vector_store_ids": Tie.PROVIDER,
    "container": Tie.PROVIDER,
    "container_id": Tie.PROVIDER,
    "cached_content": Tie.MODEL,
    "cachedContent": Tie.MODEL,
}
_KINDS: Final = frozenset({"redacted_thinking", "item_reference", "compaction"})
_TOP: Final = ("container", PREVIOUS, "conversation")
_PARTS: Final = ("messages", "input", "tools", "extra_body", "cached_content", "cachedContent")
# Under these a caller's or a tool's own words stand, in which any key means anything.
_OWN_WORDS: Final = frozenset({"input_schema", "parameters", "schema", "arguments", "properties"})


def session_of(
    fields: Mapping[str, Any], of_body: SessionFacts, *, derives: bool
) -> SessionFacts | None:
    """Returns the session of a request; None: it has none. The caller's own fields go first.

    Args:
        fields: the caller's own fields, see ``told_session``.
        of_body: what its body tells.
        derives: whether a body's own ids, and its first turns, make a session.

    Raises:
        InvalidRequestError: a field of the caller's that is not valid.
    """
    told = told_session(fields)
    if told is None:
        return of_body if derives and of_body.id else None
    return replace(told, ties=of_body.ties, writes=of_body.writes, linked=of_body.linked)


def session_of_body(api: str, body: Mapping[str, Any], *, marked: bool) -> SessionFacts:
    """Returns the session that a body tells; without an id where it tells none.

    The ids of the APIs go first; then the first turns, which every later request of a conversation
    repeats.

    Args:
        api: chat, responses, completions or messages.
        body: the members of the JSON object.
        marked: whether a part of the body is marked to be written into the provider's cache.
    """
    # Anthropic's models cache what is marked; the others cache by themselves.
    return SessionFacts(
        *_derived(api, body),
        ties=_ties(body),
        writes=marked or api != "messages",
        linked=api == "responses",
    )


def _derived(api: str, body: Mapping[str, Any]) -> tuple[str, str, bool, bool]:
    """Returns kind and id of the session, and whether it begins and is alone."""
    conversation = _id(body.get("conversation"))
    if conversation:
        return "conversation", conversation, False, False
    previous = _id(body.get(PREVIOUS))
    if previous:
        return PREVIOUS, previous, False, False
    first, begins = _first_turns(api, body)
    if not first:
        return "", "", False, False
    # Many conversations may have one such id, as those of an agent and of its helpers: the first
    # turns tell them apart.
    shared = _claude_session(body.get("metadata")) or _id(body.get(_CACHE_KEY))
    # Most first turns are all that ever comes, except those of agents, which offer tools.
    alone = begins and not body.get("tools")
    return f"{_FIRST} {shared}", first, begins, alone


def _id(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def _claude_session(metadata: object) -> str:
    """Returns the session in Anthropic's ``metadata.user_id``, as Claude Code writes it."""
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user_id, str):
        return ""
    if user_id.startswith("{"):
        try:
            told = orjson.loads(user_id)
        except orjson.JSONDecodeError:
            return ""
        session = told.get("session_id")
        return session if isinstance(session, str) else ""
    return user_id.rpartition(_CLAUDE_SESSION)[2] if _CLAUDE_SESSION in user_id else ""


def _first_turns(api: str, body: Mapping[str, Any]) -> tuple[str, bool]:
    """Returns the texts up to the first of the user, and whether no model has answered yet."""
    turns = _turns(api, body)
    if not turns:
        return "", True
    texts = [_text(body.get(name)) for name in ("system", "instructions")]
    for role, content in turns:
        if role in _SYSTEM:
            texts.append(_text(content))
        elif role not in _MODELS_ROLES:
            texts.append(_text(content))
            break
    begins = not any(role in _MODELS_ROLES for role, _ in turns)
    return "\0".join(texts), begins


def _turns(api: str, body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns role and content of each message or item, in order."""
    said = body.get("input" if api == "responses" else "messages")
    if isinstance(said, str):
        return [("user", said)]
    if not isinstance(said, list):
        return []
    return [_turn(one) for one in said if isinstance(one, (dict, str))]


def _turn(one: dict[str, Any] | str) -> tuple[str, Any]:
    if isinstance(one, str):
        return "user", one
    role, kind = one.get("role"), one.get("type")
    if isinstance(role, str):
        return role, one.get("content")
    if isinstance(kind, str):
        if kind.endswith(_RESULTS):
            return "tool", one
        if kind.endswith(_CALLS):
            return "assistant", one
    return "user", one


def _text(content: object) -> str:
    """Returns the text of a content, without marks, which move from turn to turn."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        # No API has a list within a list, which might be nested too deep to be followed.
        return "\0".join(_text(part) for part in content if not isinstance(part, list))
    if isinstance(content, dict):
        text = content.get("text")
        if isinstance(text, str):
            return text
        kept = {name: one for name, one in content.items() if name != "cache_control"}
        try:
            return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()
        except (TypeError, orjson.JSONEncodeError):  # nested too deep
            return ""
    return ""


def _ties(body: Mapping[str, Any]) -> Tie:
    ties = Tie.TOOL_LOOP if _answers_a_tool(body) else Tie.NONE
    if any(_id(body.get(name)) for name in _TOP):
        ties |= Tie.PROVIDER
    for name in _PARTS:
        if body.get(name):
            for found in _found({name: body[name]}):
                ties |= found
    return ties


def _answers_a_tool(body: Mapping[str, Any]) -> bool:
    """Returns whether a tool's result stands after the last that a model has said."""
    for name in ("messages", "input"):
        said = body.get(name)
        if not isinstance(said, list):
            continue
        for one in reversed(said):
            if not isinstance(one, dict):
                continue
            role, content = _turn(one)
            if role in _MODELS_ROLES:
                break
            if role in {"tool", "function"} or _has_result(content):
                return True
    return False


def _has_result(content: object) -> bool:
    if not isinstance(content, list):
        return False
    kinds = [part.get("type") for part in content if isinstance(part, dict)]
    return any(isinstance(kind, str) and kind.endswith("tool_result") for kind in kinds)


def _found(start: Any) -> Iterator[Tie]:
    """Yields the ties of values at any depth."""
    left = [start]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += [inner for inner in one if isinstance(inner, (dict, list))]
            continue
        kind = one.get("type")
        if isinstance(kind, str) and kind in _KINDS:
            yield Tie.PROVIDER
        for name, inner in one.items():
            tie = _TIES.get(name)
            if tie is not None and inner and isinstance(inner, (str, list)):
                yield tie
            # What a model passes to a tool stands under ``input`` beside its ``name``.
            own = name in _OWN_WORDS or (name == "input" and "name" in one)
            if isinstance(inner, (dict, list)) and not own:
                left.append(inner)
