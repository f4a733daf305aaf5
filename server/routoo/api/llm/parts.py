"""Parts of messages, in the formats of all APIs: text, media, files, calls and results of tools."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from typing import TYPE_CHECKING, Any, Final

from routoo.api.llm.body_facts import TOOL
from routoo.api.llm.media import data_of

if TYPE_CHECKING:
    from routoo.api.llm.body_facts import BodyFacts, Need

_TEXT: Final = frozenset({"text", "input_text", "output_text", "refusal", "summary_text"})
# A part that is no text is told by a word in the name of its kind, so that those of other APIs and
# of next year are, too. The first word that is found counts.
_MEDIA: Final[tuple[tuple[str, Need], ...]] = (
    ("image", "images"),
    ("screenshot", "images"),
    ("audio", "audio"),
    ("video", "video"),
    ("file", "files"),
    ("document", "files"),
    ("pdf", "files"),
    ("container_upload", "files"),
)
# Words in the names of parts that are text: they are billed, and need no capability.
_WORDS: Final = (
    "text", "tool", "function", "call", "result", "output", "thinking", "reason", "summary",
    "search", "reference", "citation", "mcp", "compaction", "approval", "item",
)  # fmt: skip
_PAYLOADS: Final = ("data", "file_data", "b64_json")
_ADDRESSES: Final = ("url", "image_url", "video_url", "audio_url", "file_url")
_DEEPEST: Final = 8
_PLAIN: Final = 2  # keys of a message that has a role and its content alone, as most have
# Keys of a message that say nothing to the model, or that are read by themselves.
_NOT_BESIDE: Final = frozenset({"role", "content", "output", "type", "id", "status", "phase"})


def read_messages(messages: object, found: BodyFacts) -> None:
    """Reads the messages of a chat, or the items of a response."""
    if not isinstance(messages, list):
        return
    for message in messages:
        if isinstance(message, str):
            found.begin(None)
            found.say(message)
        elif isinstance(message, dict):
            found.begin(TOOL if "output" in message else message.get("role"))
            if found.role == TOOL or message.get("type") == "item_reference":
                found.continues = True
            content = message.get("content")
            if len(message) == _PLAIN and isinstance(content, str) and "role" in message:
                found.say(content)
            else:
                _read_message(message, found)


def _read_message(message: dict[str, Any], found: BodyFacts) -> None:
    kind = message.get("type")
    if isinstance(kind, str) and "role" not in message and _media_need(kind) and _is_part(message):
        read_part(message, found)
        return
    if kind == "image_generation_call":
        result = message.get("result")
        found.media.add_image(result if isinstance(result, str) else None)
        return
    beside = {name: one for name, one in message.items() if name not in _NOT_BESIDE}
    if isinstance(kind, str) and kind.startswith("reasoning"):
        found.bill(message.get("content"))
    else:
        read_content(message.get("content"), found)
    output = message.get("output")
    if isinstance(output, dict):
        read_part(output, found)
    else:
        read_content(output, found)
    # Calls of tools in any format, names, reasoning.
    found.bill({name: one for name, one in beside.items() if one is not None})


def _is_part(message: dict[str, Any]) -> bool:
    return any(name in message for name in (*_PAYLOADS, *_ADDRESSES, "source", "file", "file_id"))


def read_content(content: object, found: BodyFacts, depth: int = 0) -> None:
    """Reads a text, or a list of parts."""
    if isinstance(content, str):
        found.say(content)
    elif isinstance(content, dict):
        read_part(content, found, depth)
    elif isinstance(content, list):
        if depth >= _DEEPEST:
            found.bill(content)
            return
        for part in content:
            if isinstance(part, str):
                found.say(part)
            elif isinstance(part, dict):
                read_part(part, found, depth)


def read_part(part: dict[str, Any], found: BodyFacts, depth: int = 0) -> None:
    """Reads one part.

    A kind that is not known, and is no text by its name or what it holds, is counted by its bytes
    and noted, so that a model has to be able to take it.
    """
    kind, text = part.get("type"), part.get("text")
    if not isinstance(kind, str):
        # Without a kind a part is what its name says, as in {"image_url": ...}.
        kind = next((name for name in part if _media_need(name)), "text")
    if kind in _TEXT:
        if isinstance(text, str):
            found.say(text)
        else:
            found.bill({name: one for name, one in part.items() if name != "type"})
    elif kind.endswith("tool_result"):
        _read_result(part, found, depth)
    elif kind == "redacted_thinking":
        found.bill({"encrypted_content": part.get("data")})
    elif need := _media_need(kind):
        _read_media(need, part, found, depth)
    elif any(word in kind for word in _WORDS):
        found.bill(part)
    elif isinstance(text, str):
        found.say(text)
        found.bill({name: one for name, one in part.items() if name not in {"type", "text"}})
    else:
        found.kinds.add(kind)
        found.bill({"encrypted_content": part})


def _read_result(part: dict[str, Any], found: BodyFacts, depth: int) -> None:
    speaker, found.role = found.role, TOOL
    found.continues = True
    read_content(part.get("content"), found, depth + 1)
    found.role = speaker


def _media_need(kind: str) -> Need | None:
    if kind.endswith(("_call", "_use", "_result", "_output")):
        return None
    return next((need for word, need in _MEDIA if word in kind), None)


def _read_media(need: Need, part: dict[str, Any], found: BodyFacts, depth: int) -> None:
    source = part.get("source")
    if need == "files" and isinstance(source, dict) and _read_source(source, found, depth):
        found.bill({name: part.get(name) for name in ("title", "context") if part.get(name)})
        return
    found.needs.add(need)
    data = _payload(part)
    if need == "images":
        inner = part.get("image_url")
        detail = part.get("detail") or (inner.get("detail") if isinstance(inner, dict) else None)
        found.media.add_image(data, low_detail=detail == "low")
    elif need == "audio":
        found.media.add_audio(data)
    elif need == "video":
        found.media.add_video(data)
    elif data is None:
        found.media.add_file(None)
    else:
        text = _text_of_file(data)
        if text is None:
            found.media.add_file(data)
        else:
            found.bill(text)
    found.bill({name: part.get(name) for name in ("title", "context") if part.get(name)})


def _read_source(source: dict[str, Any], found: BodyFacts, depth: int) -> bool:
    """Reads the source of a document, if it is text or a list of parts."""
    kind, data = source.get("type"), source.get("data")
    if kind == "text" and isinstance(data, str):
        found.say(data)
        return True
    if kind == "content":
        read_content(source.get("content"), found, depth + 1)
        return True
    return False


def _payload(part: dict[str, Any]) -> str | None:
    """Returns the base64, or the data URL, that a part holds; None: it holds none."""
    for holder in (part, *(one for one in part.values() if isinstance(one, dict))):
        for name in _PAYLOADS:
            if isinstance(data := holder.get(name), str):
                return data
        for name in _ADDRESSES:
            if (url := data_of(holder.get(name))) is not None:
                return url
    return None


def _text_of_file(data: str) -> str | None:
    """Returns the text of a file that is text, by its bytes; None: it is something else."""
    encoded = data.partition(",")[2] if data.startswith("data:") else data
    try:
        read = b64decode(encoded + "=" * (-len(encoded) % 4))
        text = read.decode()
    except (Error, ValueError):  # also: no UTF-8
        return None
    return None if "\0" in text or text.startswith("%PDF") else text
