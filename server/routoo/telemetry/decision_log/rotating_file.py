"""A file of whole lines that is renamed when it is large, and begun anew."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RotatingFile:
    """A file that several processes append to, each from one thread.

    Lines are written by single calls on a file opened for appending, so those of several processes
    do not mix. One process renames a large file, under a lock beside it; the others then open the
    new one.

    Args:
        path: the file; it is renamed to ``path.1``, older ones to ``path.2`` and so on.
        max_bytes: the size from which it is renamed.
        max_files: how many files are kept, the current one included.
    """

    def __init__(self, path: Path, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._descriptor = -1
        self._torn = False

    def ready(self) -> bool:
        """Opens the file, renames a large one, and returns whether the next line is in a new file.

        Raises:
            OSError: the file system refuses.
        """
        if self._descriptor >= 0 and self._is_current():
            if os.fstat(self._descriptor).st_size < self._max_bytes:
                return False
            self._set_aside()
        self.close()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        # A process that died while writing has left a line without an end.
        self._torn = not self._ends_well()
        return True

    def write(self, lines: bytes) -> None:
        """Appends whole lines; after ``ready``.

        Raises:
            OSError: the file system refuses; a part of the lines may have been written.
        """
        if self._torn:
            lines = b"\n" + lines
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
        finally:
            self._torn = written < len(lines) and (self._torn or written > 0)

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_current(self) -> bool:
        """Returns whether the path still names the open file: another process may have moved it."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _ends_well(self) -> bool:
        # The open file is read: the path may name another one by now, or none.
        size = os.fstat(self._descriptor).st_size
        return not size or os.pread(self._descriptor, 1, size - 1) == b"\n"

    def _set_aside(self) -> None:
        with self._lock():
            if not self._is_current():  # another process was faster
                return
            for number in range(self._max_files - 1, 0, -1):
                older = self._numbered(number)
                newer = self._numbered(number - 1) if number > 1 else self._path
                if newer.exists():
                    newer.replace(older)
            if self._max_files == 1:
                self._path.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
