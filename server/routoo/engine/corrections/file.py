"""Files that keep what was learned over a restart: one JSON object each, replaced as a whole."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from routoo.engine.corrections.encoding import Plain, decoded, encoded
from routoo.errors import ConfigError
from routoo.routing.corrections.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = structlog.get_logger("routoo.corrections")


Kept = TypeVar("Kept", bound=Plain)


class TableFile(Generic[Kept]):
    """A file that keeps a table.

    Attributes:
        path: the file.
        damaged: whether its content could not be read, and was put aside.
    """

    def __init__(
        self, path: Path, empty: Callable[[], Kept], read: Callable[[Any], Kept], setting: str
    ) -> None:
        """Makes the folder.

        Args:
            path: the file.
            empty: makes the table where there is no file.
            read: makes a table of what its ``plain`` returned.
            setting: the name of the setting that names the file.

        Raises:
            ConfigError: it cannot be made, or is not to be written to.
        """
        self.path = path
        self.damaged = False
        self._empty, self._read = empty, read
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_place(setting, path, error.strerror or str(error)) from None
        if path.is_dir():
            raise _no_place(setting, path, "it is a folder")
        if not os.access(path.parent, os.W_OK):
            raise _no_place(setting, path, "its folder is not to be written to")

    def read(self) -> Kept:
        """Returns what was kept; an empty table without a file.

        A damaged file is put aside, as FILE.damaged, and said in the log: nothing but what was
        learned is lost.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return self._empty()
        except OSError as error:
            self._put_aside(error.strerror or str(error))
            return self._empty()
        try:
            return decoded(content, self._read)
        except ValueError as error:
            self._put_aside(str(error))
            return self._empty()

    def write(self, table: Kept) -> None:
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
            "the file of what was learned is damaged; it is learned anew",
            file=str(self.path),
            kept_as=str(aside),
            detail=reason,
        )


class CorrectionFile(TableFile[Table]):
    """A file of corrections of lengths and latencies."""

    def __init__(self, path: Path) -> None:
        """Makes the folder; see ``TableFile``."""
        super().__init__(path, Table, Table.read, "corrections.path")


def _no_place(setting: str, path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{setting}: {path} cannot be written: {reason}; name a file in a folder of the service"
    )
