"""Readers that find the billed tokens in a provider's reply, whole or streamed."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

# Does not match null, which is in each chunk before the last, nor the word inside a quoted text,
# where the quotation marks have backslashes.
_HAS_USAGE = re.compile(rb'"usage"\s*+:\s*+\{')
_DATA = b"data:"
# The names of OpenAI's chats and completions, then of its responses and Anthropic's messages. The
# messages count tokens that were read from or written to a cache separately.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")
_MOST_TOKENS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed tokens.

    Attributes:
        input_tokens: tokens of the request, cached ones included; None: the reply does not say.
        output_tokens: tokens of the reply; None: the reply does not say.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def complete(self) -> bool:
        """True if both numbers are known."""
        return self.input_tokens is not None and self.output_tokens is not None

    def updated(self, message: object) -> Usage:
        """Returns the usage updated by one message; a later number replaces an earlier one."""
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
    """Returns the usage in a reply.

    Args:
        texts: the values of the reply's keys ``usage``, in their order, each as JSON.
    """
    found = Usage()
    for text in texts:
        with suppress(orjson.JSONDecodeError):
            found = found.updated({"usage": orjson.loads(text)})
    return found


class UsageReader(Protocol):
    """Reads the usage from a reply that comes in pieces."""

    def feed(self, piece: bytes) -> None: ...

    def usage(self) -> Usage:
        """Returns the usage that was found; to be called once, after the last piece."""


class JsonUsage:
    """Reads a reply that is one JSON object.

    Args:
        max_bytes: the longest reply that is read.
    """

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
        """Returns the usage in the reply; it is empty if the reply is too long or not JSON."""
        try:
            return Usage().updated(orjson.loads(b"".join(self._pieces)))
        except orjson.JSONDecodeError:  # broken off, too long, or not JSON
            return Usage()


class EventUsage:
    """Reads a stream of server-sent events; it keeps one line at a time.

    Args:
        max_bytes: the longest line that is read; longer ones are skipped.
    """

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
        """Returns the usage in the stream; a last line without its line end counts, too."""
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
