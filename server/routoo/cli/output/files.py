"""Files that commands write; a file is replaced as a whole, or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import orjson

from routoo.client import to_dict
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from routoo.v1.route_pb2 import RouteResponse


class OutputFileError(RoutooError):
    """The file cannot be written; the message names it and what to do."""


def check_writable(path: Path) -> None:
    """Checks before the work that ``replacing`` can write the file after it.

    Raises:
        OutputFileError: the path is a folder, or its folder is missing or read-only.
    """
    folder = path.resolve().parent
    if path.is_dir():
        raise OutputFileError(f"{path}: is a folder; name a file")
    if not folder.is_dir():
        raise OutputFileError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputFileError(f"{path}: the folder {folder} is read-only; name another")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a stream that replaces the file when the block ends without an error.

    Raises:
        OutputFileError: the file system refused.
    """
    target = path.resolve()  # a link stays a link; its target is replaced
    try:
        if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
            with target.open("wb") as device:
                yield device
            return
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputFileError(f"{path}: cannot be written: {error.strerror}") from None


def write_lines(stream: BinaryIO, decisions: Iterable[RouteResponse]) -> None:
    """Writes one JSON object per decision and line."""
    stream.writelines(
        orjson.dumps(to_dict(decision), option=orjson.OPT_APPEND_NEWLINE) for decision in decisions
    )
