"""The facts of a request body that are found while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from routoo.api.llm.media import Media
from routoo.predictor.conversation import role_of

Need = Literal["tools", "images", "audio", "video", "files", "json_output"]
USER, TOOL = "user", "tool"
# Encrypted text is longer than the text: about so many bytes of it are a token.
_HIDDEN_BYTES_PER_TOKEN = 4
_HIDDEN = frozenset({"encrypted_content"})
# Signatures are checked by the provider and are no input of the model; marks for its cache neither.
_NOT_BILLED = frozenset({"signature", "cache_control"})


@dataclass(slots=True)
class BodyFacts:
    """The facts found so far.

    Attributes:
        said: the number of the turn, the role and the text of each part.
        unread: texts that the model reads and the predictor does not.
        needs: the capabilities that a model has to have.
        kinds: kinds of parts that are not known and are no text.
        media: what is no text.
        tokens: input tokens whose number is known.
        hidden_bytes: size of texts that only the provider can read, and of parts of unknown kinds.
        continues: whether it goes on with something that is known without a text: the result of a
            tool, or what the provider keeps.
        turn: the number of the present turn.
        role: the role of the one who speaks in it.
    """

    said: list[tuple[int, str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    needs: set[Need] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    media: Media = field(default_factory=Media)
    tokens: int = 0
    hidden_bytes: int = 0
    continues: bool = False
    turn: int = 0
    role: str = USER

    def begin(self, role: object) -> None:
        """Begins a turn of a role; of the user, where it is none that is known."""
        self.turn += 1
        self.role = role_of(role) if isinstance(role, str) and role != USER else USER

    def say(self, text: str) -> None:
        """Adds a text to the present turn."""
        self.said.append((self.turn, self.role, text))

    def bill(self, value: object) -> None:
        """Adds a value that the model reads and the predictor does not."""
        if isinstance(value, dict) and not _HIDDEN.isdisjoint(value):
            value = dict(value)
            for name in _HIDDEN.intersection(value):
                self.hidden_bytes += len(json_text(value.pop(name)))
        if isinstance(value, dict) and not _NOT_BILLED.isdisjoint(value):
            value = {name: one for name, one in value.items() if name not in _NOT_BILLED}
        if value is not None and value not in ("", [], {}):
            self.unread.append(value if isinstance(value, str) else json_text(value))

    def turns(self) -> list[tuple[str, str]]:
        """Returns the turns; what one message says in two roles makes two."""
        found: list[tuple[str, list[str]]] = []
        before = None
        for turn, role, text in self.said:
            if before == (turn, role):
                found[-1][1].append(text)
            else:
                before = (turn, role)
                found.append((role, [text]))
        return [(role, "\n".join(texts)) for role, texts in found]

    @property
    def other_tokens(self) -> int:
        """Input tokens that are neither of texts nor of media."""
        return self.tokens + self.hidden_bytes // _HIDDEN_BYTES_PER_TOKEN


def json_text(value: Any) -> str:
    """Returns a value as JSON; one that is nested too deep for that as its names and leaves."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):
        return _leaves(value)


def _leaves(value: Any) -> str:
    found: list[str] = []
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            for name, inner in one.items():
                found.append(f'{{"{name}":}}')
                left.append(inner)
        elif isinstance(one, list):
            left.extend(one)
            found.append("[]")
        else:
            found.append(str(one))
    return ",".join(found)
