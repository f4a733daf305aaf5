"""A sieve for the bytes of a provider's reply: it keeps counters and names, and no text.

The Lua filter of ``deploy/envoy/envoy.yaml`` is the same algorithm, so that a reply that Envoy
reads gives the same figures as one that is read here. A change of one is a change of both.
"""

from __future__ import annotations

import re
from typing import Final

# Objects that hold counters, by their key, and objects on the way to them. Arrays are looked
# through. Everything else is the answer, where a key "usage" means nothing.
CONTAINERS: Final = frozenset(
    {
        b"usage",
        b"usageMetadata",
        b"usage_metadata",
        b"token_usage",
        b"amazon-bedrock-invocationMetrics",
        b"meta",
    }
)
WRAPPERS: Final = frozenset(
    {
        b"message",
        b"response",
        b"choices",
        b"candidates",
        b"delta",
        b"x_groq",
        b"metadata",
        b"data",
        b"result",
        b"chunk",
        b"body",
        b"event",
        b"payload",
        b"results",
    }
)
TEXTS: Final = frozenset(
    {
        b"content",
        b"text",
        b"delta",
        b"arguments",
        b"partial_json",
        b"thinking",
        b"reasoning",
        b"reasoning_content",
        b"response",
        b"refusal",
        b"transcript",
        b"generated_text",
    }
)
_NAMED: Final = frozenset({b"message", b"response"})
_MODELS: Final = frozenset({b"model", b"modelVersion"})
_ENDS: Final = frozenset({b"finish_reason", b"stop_reason", b"finishReason", b"done"})
_COUNTS: Final = frozenset({b"cost", b"total_cost", b"images"})
_ROOT_COUNTS: Final = frozenset({b"prompt_eval_count", b"eval_count"})
_WORDS: Final = frozenset({b"modality", b"service_tier"})
MOST: Final = 100_000_000
"""Greater counters are absurd, and are taken as not told."""
_MOST_LEAVES, _MOST_DEPTH, _LONGEST_NAME, _LONGEST_TOKEN = 64, 32, 256, 1024

_ANSWER, _TOLD, _OPEN, _USAGE = range(4)
_MARK = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_STRING_END = re.compile(rb'([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[\w.+-]*")
_NUMBER = re.compile(rb"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CANDIDATE = re.compile(
    rb'usage_?[Mm]?e?t?a?d?a?t?a?"[ \t\r\n]*:[ \t\r\n]*\{'
    rb'|nvocationMetrics"|billed_units"|eval_count"'
)
_TEXT = re.compile(
    rb'"(' + b"|".join(sorted(TEXTS)) + rb')"[ \t\r\n]*:[ \t\r\n]*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
)

Leaves = dict[str, float | str]


class ReplySieve:
    """Reads one reply, which comes in pieces that are cut anywhere.

    A counter is kept by its path from its container on, at its greatest value, as counters never
    fall. One that stands under ``message``, as in the first event of Anthropic's streams, keeps
    that word in its path. Numbers that are negative, not finite or greater than ``MOST`` are left
    out. Strings are looked at as they are written, with their escapes.

    Attributes:
        leaves: the counters by path, such as ``usage.prompt_tokens``; the last ``model``, ``id``
            and ``service_tier``; and ``final``, 1 if counters came in a message that is not of the
            middle of a stream.
        texts: bytes and pieces of text that have flowed by under keys of texts.
        deltas: the same under the key ``delta`` alone, whose texts other events repeat.

    Args:
        streams: whether the reply is a stream of server-sent events, of which only those are looked
            into that have a name or counters.
        longest_line: bytes of the longest event that is read.
    """

    def __init__(self, *, streams: bool, longest_line: int) -> None:
        self.leaves: Leaves = {}
        self.texts = [0, 0]
        self.deltas = [0, 0]
        self._streams = streams
        self._longest_line = longest_line
        self._rest = b""
        self._pieces: list[bytes] = []
        self._length = 0
        self._reset()

    def feed(self, piece: bytes) -> None:
        """Reads a piece."""
        if not self._streams:
            self._rest = self._scan(self._rest + piece)
            return
        first, *others = piece.split(b"\n")
        self._grow(first)
        for text in others:
            self._end_line()
            self._grow(text)

    def end(self) -> None:
        """Reads what is left of a reply that has come to its end; not for one that broke off."""
        if self._streams:
            self._end_line()
        else:
            self._scan(self._rest + b"\n")

    def _grow(self, text: bytes) -> None:
        self._length += len(text)
        if self._length > self._longest_line:
            self._pieces.clear()
        else:
            self._pieces.append(text)

    def _end_line(self) -> None:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._length = 0
        if not line.startswith((b"data:", b"{")):
            return
        sizes = [(found[1] == b"delta", len(found[2])) for found in _TEXT.finditer(line)]
        for tally, kind in ((self.deltas, True), (self.texts, False)):
            size = sum(size for is_delta, size in sizes if is_delta is kind)
            tally[0] += size
            tally[1] += size > 0
        if _CANDIDATE.search(line) or ("model" not in self.leaves and b'"model' in line):
            self._reset()
            self._scan(line + b"\n")

    def _reset(self) -> None:
        """Forgets where in a message the scan is."""
        self._stack: list[tuple[int, str, bool]] = []
        self._shut = 0
        self._indices: list[int] = []
        self._key: bytes | None = None
        self._in_string = False
        self._new_message()

    def _new_message(self) -> None:
        self._has_counts = self._has_text = self._is_over = self._is_open = False

    def _scan(self, text: bytes) -> bytes:
        """Reads the tokens of a text, and returns what is left for when more has come."""
        at = 0
        if self._in_string:
            found = _STRING_END.match(text)
            if found is None:
                return self._within(text, 0)
            self._in_string = False
            self._text(len(found[1]))
            self._key = None
            at = found.end()
        while (mark := _MARK.search(text, at)) is not None:
            at = mark.start()
            sign = text[at]
            if sign in b"{[":
                self._enter(is_array=sign == ord("["))
                at += 1
            elif sign in b"}]":
                self._leave()
                at += 1
            else:
                found = _STRING.match(text, at)
                if found is None:
                    if len(text) - at <= _LONGEST_TOKEN:
                        return text[at:]
                    return self._within(text, at + 1)
                after = self._string(text, found)
                if after is None:
                    return text[at:]
                at = after
        return b""

    def _within(self, text: bytes, start: int) -> bytes:
        """Counts a part of a string that is not whole yet, and leaves a cut escape."""
        self._in_string = True
        end = len(text)
        while end > start and text[end - 1] == ord("\\"):
            end -= 1
        end += (len(text) - end) // 2 * 2
        self._text(end - start)
        return text[end:]

    def _string(self, text: bytes, found: re.Match[bytes]) -> int | None:
        """Takes a value, or a key with its number; None: more has to come first."""
        name, end = found[1], found.end()
        if self._key is not None:
            self._value(name)
            self._key = None
            return end
        colon = _COLON.match(text, end)
        if colon is None:
            return None if _SPACE.fullmatch(text, end) else end
        scalar = _SCALAR.match(text, colon.end())
        assert scalar is not None  # noqa: S101 - it matches nothing, too
        if scalar.end() == len(text):
            return None
        self._key = name
        if scalar[0]:
            self._scalar(scalar[0])
            self._key = None
        return scalar.end()

    def _enter(self, *, is_array: bool) -> None:
        """Goes into an object or an array, unless it belongs to the answer."""
        key, self._key = self._key, None
        if self._shut or len(self._stack) >= _MOST_DEPTH:
            self._shut += 1
            return
        zone, path, under = _TOLD, "", False
        if self._stack:
            zone, path, under = self._stack[-1]
            if zone == _USAGE:
                name = key
                if name is None:
                    name = b"%d" % self._indices[-1]
                    self._indices[-1] += 1
                path = f"{path}.{name.decode('latin-1')}"
            elif key is not None and key in CONTAINERS and not is_array:
                zone = _USAGE
                path = ("message." if under else "") + key.decode()
            elif key is not None:
                named = zone == _TOLD and key in _NAMED
                under = named and key == b"message"
                zone = _TOLD if named else _OPEN if key in WRAPPERS else _ANSWER
        if zone == _ANSWER or len(path) > _LONGEST_NAME:
            self._shut = 1
            return
        self._stack.append((zone, path, under))
        self._indices.append(0)

    def _leave(self) -> None:
        if self._shut:
            self._shut -= 1
        elif self._stack:
            self._stack.pop()
            self._indices.pop()
            if not self._stack:
                if self._has_counts and (self._is_over or not (self._has_text or self._is_open)):
                    self.leaves["final"] = 1.0
                self._new_message()

    def _text(self, size: int) -> None:
        """Counts a string, or a part of one, that stands under the key of a text."""
        if self._key in TEXTS and size:
            self._has_text = True
            if not self._streams:
                (self.deltas if self._key == b"delta" else self.texts)[0] += size

    def _value(self, text: bytes) -> None:
        """Takes a string with its key."""
        key = self._key
        assert key is not None  # noqa: S101 - the caller has it
        self._text(len(text))
        if self._shut or not self._stack or not 0 < len(text) <= _LONGEST_NAME:
            return
        zone, path, _ = self._stack[-1]
        if zone == _USAGE:
            if key in _WORDS:
                self._keep(f"{path}.{key.decode()}", text.decode("utf-8", "replace"))
            else:
                self._count(f"{path}.{key.decode('latin-1')}", key, text)
            return
        if zone == _TOLD and key in _MODELS:
            self.leaves["model"] = text.decode("utf-8", "replace")
        elif zone == _TOLD and key == b"id":
            self.leaves["id"] = text.decode("utf-8", "replace")
        elif zone == _TOLD and key == b"service_tier":
            self.leaves["service_tier"] = text.decode("utf-8", "replace")
        elif key in _ENDS:
            self._is_over = True

    def _scalar(self, text: bytes) -> None:
        """Takes a number, ``true``, ``false`` or ``null`` with its key."""
        key = self._key
        assert key is not None  # noqa: S101 - the caller has it
        if self._shut or not self._stack:
            return
        zone, path, _ = self._stack[-1]
        if zone == _USAGE:
            self._count(f"{path}.{key.decode('latin-1')}", key, text)
        elif zone == _TOLD and key in _ROOT_COUNTS:
            self._count(key.decode(), key, text)
        elif key in _ENDS:
            self._is_over = self._is_over or text == b"true"
            self._is_open = self._is_open or text != b"true"

    def _count(self, path: str, key: bytes, text: bytes) -> None:
        if b"oken" not in key and key not in _COUNTS and key not in _ROOT_COUNTS:
            return
        if _NUMBER.fullmatch(text) is None or (value := float(text)) > MOST:
            return
        before = self.leaves.get(path, -1.0)
        if isinstance(before, float) and value > before:
            self._keep(path, value)
        if value > 0 and not path.startswith("message."):
            self._has_counts = True

    def _keep(self, path: str, value: float | str) -> None:
        if path in self.leaves or (len(self.leaves) < _MOST_LEAVES and len(path) <= _LONGEST_NAME):
            self.leaves[path] = value
