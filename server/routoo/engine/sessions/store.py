"""The interface of every store of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.sessions.state import SessionState, Turn, TurnReport


class SessionStore(Protocol):
    """Keeps the states of sessions under their keys. Thread-safe.

    A store is bounded; a session that it has dropped begins anew. A fault never reaches a caller.
    """

    @property
    def secret(self) -> bytes:
        """The key by which ids and texts are hashed; the same for all that share the store."""
        ...

    @property
    def degraded(self) -> bool:
        """Whether the store that replicas share is away, so that each knows its own turns only."""
        ...

    @property
    def waits(self) -> bool:
        """Whether ``read`` may wait for another machine."""
        ...

    def read(self, keys: Sequence[bytes]) -> tuple[list[SessionState | None], float]:
        """Returns the states, None where there is none, and the time on the store's clock, in s."""
        ...

    def turn(self, key: bytes, turn: Turn, *, begins: bool) -> None:
        """Keeps a turn that was decided; does not wait.

        Args:
            key: the session.
            turn: the turn.
            begins: whether it is the first, whatever is kept.
        """
        ...

    def report(self, key: bytes, report: TurnReport) -> None:
        """Keeps what became of a turn; does not wait."""
        ...

    def link(self, key: bytes, other: bytes) -> None:
        """Keeps what is kept of a session under another key, too; does not wait."""
        ...

    def close(self) -> None:
        """Ends threads and connections."""
        ...
