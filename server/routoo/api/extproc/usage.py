"""Finds the tokens that a provider billed in its reply, whole or streamed."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

# Not null, as each chunk before the last has it, and not the word inside a quoted text, whose
# quotation marks have backslashes.
_HAS_USAGE = re.compile(rb'"usage"\s*+:\s*+\{')
_DATA = b"data:"
# OpenAI's chats and completions, then its responses and Anthropic's messages. The latter count
# what was read from or written to a cache apart.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")
_MOST_TOKENS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed tokens; None: the reply does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def complete(self) -> bool:
        """Both are known."""
        return self.input_tokens is not None and self.output_tokens is not None

    def updated(self, message: object) -> Usage:
        """With what one message says; a later figure replaces an earlier one."""
        found = self
        if isinstance(message, dict):
            for holder in (message, message.get("message"), message.get("response")):
                if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                    found = found._with(holder["usage"])
        return found

    def _with(self, usage: dict[str, Any]) -> Usage:
        read = next((n for name in _INPUT if (n := _count(usage, name)) is not None), None)
        written = next((n for name in _OUTPUT if (n := _count(usage, name)) is not None), None)
        if read is not None:
            read += sum(_count(usage, name) or 0 for name in _CACHED)
        return replace(
            self,
            input_tokens=self.input_tokens if read is None else min(read, _MOST_TOKENS),
            output_tokens=self.output_tokens if written is None else written,
        )


def usage_in(texts: Iterable[str]) -> Usage:
    """What objects say that stood under "usage" in a reply, in their order, each as JSON."""
    found = Usage()
    for text in texts:
        with suppress(orjson.JSONDecodeError):
            found = found.updated({"usage": orjson.loads(text)})
    return found


class UsageReader(Protocol):
    """Is given a reply in pieces."""

    def feed(self, piece: bytes) -> None: ...

    def usage(self) -> Usage:
        """What was found; called once, when there is no more."""


class JsonUsage:
    """Reads a reply that is one JSON object of at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Keeps the piece, unless the reply is too long."""
        self._left -= len(piece)
        if self._left < 0:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def usage(self) -> Usage:
        """See ``UsageReader``."""
        try:
            return Usage().updated(orjson.loads(b"".join(self._pieces)))
        except orjson.JSONDecodeError:  # broken off, too long, or not JSON
            return Usage()


class EventUsage:
    """Reads a stream of server-sent events, of which only a line of ``max_bytes`` is ever kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._usage = Usage()
        self._line = bytearray()
        self._skips = False

    def feed(self, piece: bytes) -> None:
        """Reads the lines that the piece completes."""
        first, *rest = piece.split(b"\n")
        self._grow(first)
        for text in rest:
            self._end_line()
            self._grow(text)

    def usage(self) -> Usage:
        """See ``UsageReader``."""
        self._end_line()
        return self._usage

    def _grow(self, text: bytes) -> None:
        if len(self._line) + len(text) > self._max_bytes:
            self._skips = True
            self._line.clear()
        if not self._skips:
            self._line += text

    def _end_line(self) -> None:
        line = self._line
        if line.startswith(_DATA) and _HAS_USAGE.search(line):
            with suppress(orjson.JSONDecodeError):  # not an event of an API that is known here
                self._usage = self._usage.updated(orjson.loads(line[len(_DATA) :]))
        self._line = bytearray()
        self._skips = False


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None
