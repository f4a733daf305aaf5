"""The facts of a request that tell its session, and what ties it to a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_ID_CHARS: Final = 512
PREVIOUS: Final = "previous_response_id"
"""The kind of the id of a reply that a request goes on from."""


class Tie(IntFlag):
    """The ties of a request to the model, or the provider, that answered the turn before."""

    NONE = 0
    TOOL_LOOP = 1
    """It brings the result of a tool that the model has called."""
    PROVIDER = 2
    """It holds what only that provider can read: ids of stored responses, conversations, files or
    containers, or reasoning that is encrypted or signed."""
    MODEL = 4
    """It holds what only that model can read, such as the id of a cached context."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The session of one request, as its caller tells it or as its body does.

    Attributes:
        kind: the kind of the id, such as ``session_id`` or ``conversation``: ids of two kinds are
            two sessions, whatever they are. Empty: there is no id, and nothing is kept.
        id: the id, or the texts of the first turns; only a keyed hash of it is kept.
        begins: whether this is the first turn, whatever is kept of the id.
        alone: whether this is the first turn and nothing tells that another will come; it is then
            decided as without a session, and kept for the case that one does.
        ties: what ties the request to the model of the turn before.
        current_model: the model that answered that turn, as the caller tells it; empty: what is
            kept counts.
        cached_input_tokens: how much of the input its provider has in its cache, as the caller
            tells it; None: what is kept counts.
        writes: whether the input is written into the caches of providers that sell that.
        linked: whether the next turn may name the reply of this one instead of the session.
    """

    kind: str = ""
    id: str = ""
    begins: bool = False
    alone: bool = False
    ties: Tie = Tie.NONE
    current_model: str = ""
    cached_input_tokens: int | None = None
    writes: bool = True
    linked: bool = False

    @property
    def is_followed(self) -> bool:
        """Whether what becomes of the turn counts: of one that is alone, where it may be named."""
        return self.linked or not self.alone


FIELDS: Final[tuple[str, ...]] = ("session_id", "current_model", "cached_input_tokens")
"""The fields of a request that tell its session."""


def told_session(fields: Mapping[str, Any], ties: Tie = Tie.NONE) -> SessionFacts | None:
    """Returns the session that the caller's own fields tell; None: they tell none.

    Args:
        fields: checked values by name, see ``FIELDS``; None, an empty one or none is not set.
        ties: what ties the request to the model of the turn before.

    Raises:
        InvalidRequestError: an id that is too long, or cached tokens of no model.
    """
    session_id, current = fields.get("session_id") or "", fields.get("current_model") or ""
    cached = fields.get("cached_input_tokens")
    if len(session_id) > MOST_ID_CHARS:
        raise InvalidRequestError(
            f"{len(session_id)} characters; send at most {MOST_ID_CHARS}", field="session_id"
        )
    if cached is not None and not current:
        raise InvalidRequestError(
            "is of no model; set current_model to the model whose provider has them cached",
            field="cached_input_tokens",
        )
    if not session_id and not current:
        return None
    return SessionFacts(
        kind="session_id" if session_id else "",
        id=session_id,
        ties=ties,
        current_model=current,
        cached_input_tokens=cached,
    )
