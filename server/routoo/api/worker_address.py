"""The address of one worker among those of its service: its sockets, and its decisions' ids."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_RUN_DIGITS, _INDEX_DIGITS = 8, 3


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """Where a worker is found.

    Attributes:
        folder: with the sockets; nobody else's.
        run: eight hex digits, the same for all workers of a supervisor.
        index: from 0.
    """

    folder: Path
    run: str
    index: int

    @property
    def calls_socket(self) -> Path:
        """The socket on which it takes the other workers' calls."""
        return self.folder / f"{self.index}.sock"

    @property
    def metrics_socket(self) -> Path:
        """The socket on which it shows its metrics."""
        return self.folder / f"{self.index}.metrics"

    def beside(self, index: int) -> WorkerAddress:
        """The address of another worker of the same service."""
        return WorkerAddress(self.folder, self.run, index)

    def id_prefix(self) -> str:
        """A prefix for decision ids; another one after each start, as counting begins anew."""
        return f"{self.run}{self.index:0{_INDEX_DIGITS}x}{secrets.token_hex(3)}"

    def other_owner(self, decision_id: str) -> int | None:
        """The worker that made a decision; None: this one, or none of these."""
        if not decision_id.startswith(self.run):
            return None
        digits = decision_id[_RUN_DIGITS : _RUN_DIGITS + _INDEX_DIGITS]
        try:
            index = int(digits, 16)
        except ValueError:
            return None
        return None if index == self.index else index
