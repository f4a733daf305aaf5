"""Notices that files were replaced or rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Signature = tuple[tuple[int, int, int] | None, ...]


class WatchedFiles:
    """Tells one state of files from the next without reading them.

    Links are followed: a folder that is swapped behind one, as Kubernetes does with secrets, is
    noticed.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def signature(self) -> Signature:
        """Differs from an earlier one when a file was replaced or rewritten."""
        return tuple(_of(path) for path in self._paths)


def _of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # away for a moment while it is replaced
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
