"""Reading of files that the settings name, which ends in a bounded time."""

from __future__ import annotations

import errno
import os
import stat
from threading import Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S: Final = 10.0
_PIECE_BYTES: Final = 1024 * 1024


def read_file(path: Path, patience_s: float = _PATIENCE_S) -> bytes:
    """Returns the content of a file.

    A pipe without a writer, or a file on a mount whose server is away, would be read for ever, and
    the start, a reload and the stop of the service would wait for it.

    Args:
        path: the file.
        patience_s: the longest time, in seconds. A read that takes longer is left to its thread,
            which does not keep the process from ending.

    Raises:
        OSError: it cannot be read, is no file, or does not come in time; ``strerror`` says which.
    """
    found: list[bytes | OSError] = []

    def read() -> None:
        try:
            found.append(_read(path))
        except OSError as error:
            found.append(error)

    reader = Thread(target=read, name="routoo-file", daemon=True)
    reader.start()
    reader.join(patience_s)
    if not found:
        late = f"no content within {patience_s:g} s; is its disk away?"
        raise OSError(errno.ETIMEDOUT, late, str(path))
    content = found[0]
    if isinstance(content, OSError):
        raise content
    return content


def _read(path: Path) -> bytes:
    # Opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "a pipe or a device; name a file", str(path))
        pieces = []
        while piece := os.read(descriptor, _PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)
