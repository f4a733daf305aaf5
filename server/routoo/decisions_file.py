"""The batch command's output: JSON Lines, one decision per line, in the order of the prompts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

import orjson

from routoo.client import to_dict
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from routoo.v1.route_pb2 import RouteResponse


class DecisionsFileError(RoutooError):
    """The decisions cannot be written; the message names the file and what to do."""


def check_writable(path: Path) -> None:
    """Finds out before the work what would stop ``write_decisions`` after it.

    Raises:
        DecisionsFileError: the path is a folder, or its folder is missing or read-only.
    """
    folder = path.resolve().parent
    if path.is_dir():
        raise DecisionsFileError(f"{path}: is a folder; name a file")
    if not folder.is_dir():
        raise DecisionsFileError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise DecisionsFileError(f"{path}: the folder {folder} is read-only; name another")


def write_decisions(path: Path, decisions: Iterable[RouteResponse]) -> None:
    """Writes all decisions or leaves the file as it was.

    Raises:
        DecisionsFileError: the file system refused.
    """
    target = path.resolve()  # a link stays a link: what it points to is replaced
    try:
        if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
            with target.open("wb") as device:
                write_lines(device, decisions)
            return
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("xb") as file:
                write_lines(file, decisions)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DecisionsFileError(f"{path}: cannot be written: {error.strerror}") from None


def write_lines(stream: BinaryIO, decisions: Iterable[RouteResponse]) -> None:
    """Writes one JSON object per decision and line."""
    stream.writelines(
        orjson.dumps(to_dict(decision), option=orjson.OPT_APPEND_NEWLINE) for decision in decisions
    )
