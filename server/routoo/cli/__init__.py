"""The ``routoo`` command: ``main`` runs one command line and returns its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from routoo.errors import without_package

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAD_INPUT: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, ``sys.argv`` by default, and returns its exit code."""
    try:
        from routoo.cli.app import main as run  # noqa: PLC0415 - a worker is no command line

        return run(arguments)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {without_package(error, 'server')}\n")
        return _BAD_INPUT
