"""The ``routoo`` command: ``main`` runs one command line and returns its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, ``sys.argv`` by default, and returns its exit code."""
    from routoo.cli.app import main as run  # noqa: PLC0415 - a worker is no command line

    return run(arguments)
