"""The file that keeps the corrections over a restart: one JSON object, replaced as a whole."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from routoo.engine.corrections.encoding import decoded, encoded
from routoo.errors import ConfigError
from routoo.routing.corrections.table import Table

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger("routoo.corrections")


class CorrectionFile:
    """A file of corrections.

    Attributes:
        path: the file.
        damaged: whether its content could not be read, and was put aside.
    """

    def __init__(self, path: Path) -> None:
        """Makes the folder.

        Raises:
            ConfigError: it cannot be made, or is not to be written to.
        """
        self.path = path
        self.damaged = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_place(path, error.strerror or str(error)) from None
        if path.is_dir():
            raise _no_place(path, "it is a folder")
        if not os.access(path.parent, os.W_OK):
            raise _no_place(path, "its folder is not to be written to")

    def read(self) -> Table:
        """Returns what was kept; an empty table without a file.

        A damaged file is put aside, as FILE.damaged, and said in the log: nothing but what was
        learned is lost.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Table()
        except OSError as error:
            self._put_aside(error.strerror or str(error))
            return Table()
        try:
            return decoded(content)
        except ValueError as error:
            self._put_aside(str(error))
            return Table()

    def write(self, table: Table) -> None:
        """Replaces the file.

        Raises:
            OSError: it stays as it was.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded(table))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def _put_aside(self, reason: str) -> None:
        self.damaged = True
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with suppress(OSError):
            self.path.replace(aside)
        _log.warning(
            "the file of corrections is damaged; they are learned anew",
            file=str(self.path),
            kept_as=str(aside),
            detail=reason,
        )


def _no_place(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"corrections.path: {path} cannot be written: {reason}; name a file in a folder of the"
        " service"
    )
