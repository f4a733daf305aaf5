"""The file that keeps what a trial has learned over a restart: JSON, replaced as a whole."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = structlog.get_logger("routoo.trials")


class StateFile:
    """A file with the state of a trial.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, setting: str) -> None:
        """Makes the folder.

        Args:
            path: the file.
            setting: the name of the setting that names it, for the error.

        Raises:
            ConfigError: the folder cannot be made, or is not to be written to.
        """
        self.path = path
        reason = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
        if path.is_dir():
            reason = "it is a folder"
        elif not reason and not os.access(path.parent, os.W_OK):
            reason = "its folder is not to be written to"
        if reason:
            raise ConfigError(
                f"{setting}: {path} cannot be written: {reason}; name a file in a folder of the"
                " service"
            )

    def read(self) -> dict[str, Any]:
        """Returns what was kept; empty without a file. A damaged one is put aside, and said."""
        try:
            values = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.put_aside(str(error))
            return {}
        if not isinstance(values, dict):
            self.put_aside("it is no JSON object")
            return {}
        return values

    def write(self, values: Mapping[str, Any]) -> None:
        """Replaces the file; where that fails, it stays as it was and the log says so."""
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            beside.write_bytes(orjson.dumps(values))
            beside.replace(self.path)
        except OSError as error:
            _log.warning("a trial was not kept", file=str(self.path), error=error.strerror)

    def put_aside(self, reason: str) -> None:
        """Renames a file that cannot be understood to FILE.damaged, and says so in the log."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with suppress(OSError):
            self.path.replace(aside)
        _log.warning(
            "the file of a trial is damaged; it begins anew",
            file=str(self.path),
            kept_as=str(aside),
            detail=reason,
        )
