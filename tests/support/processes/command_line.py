"""The ``routoo`` command as the tests run it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROUTOO = Path(sys.executable).with_name("routoo")
"""The installed command, for tests that need a process of its own."""

_ASK_BRIEFLY = frozenset({"health", "info", "models", "route"})


def patient(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Returns a command line that waits a minute for a service, as a busy machine may need."""
    asks = bool(arguments) and arguments[0] in _ASK_BRIEFLY
    return (*arguments, "--timeout-s", "60") if asks else arguments


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a command line.

    Attributes:
        code: the exit code.
        out: stdout.
        err: stderr.
    """

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command line."""

    def __call__(self, *arguments: str) -> Ended: ...
