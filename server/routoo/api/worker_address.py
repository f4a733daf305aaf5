"""The address of one worker of a service: its sockets, and the prefix of its decision ids."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_RUN_DIGITS, _INDEX_DIGITS = 8, 3


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """The address of a worker.

    Attributes:
        folder: the private folder of the sockets.
        run: eight hex digits, the same for all workers of a supervisor.
        index: the worker's number, from 0.
        workers: the number of workers; an id that names another one is no id of the service.
    """

    folder: Path
    run: str
    index: int
    workers: int

    @property
    def calls_socket(self) -> Path:
        """The socket on which the worker takes the other workers' calls."""
        return self.folder / f"{self.index}.sock"

    @property
    def metrics_socket(self) -> Path:
        """The socket on which the worker shows its metrics."""
        return self.folder / f"{self.index}.metrics"

    @property
    def counts_file(self) -> Path:
        """The file in which all workers count what clients send."""
        return self.folder / "counts"

    def beside(self, index: int) -> WorkerAddress:
        """Returns the address of another worker of the same service."""
        return replace(self, index=index)

    def id_prefix(self) -> str:
        """Returns a new prefix for decision ids.

        It differs after each start, because the numbers of the decisions begin anew.
        """
        return f"{self.run}{self.index:0{_INDEX_DIGITS}x}{secrets.token_hex(3)}"

    def other_owner(self, decision_id: str) -> int | None:
        """Returns the index of the other worker that made a decision.

        None: this worker made it, or no worker of this service.
        """
        if not decision_id.startswith(self.run):
            return None
        digits = decision_id[_RUN_DIGITS : _RUN_DIGITS + _INDEX_DIGITS]
        try:
            index = int(digits, 16)
        except ValueError:
            return None
        return index if index != self.index and 0 <= index < self.workers else None
