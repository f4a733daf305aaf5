"""Detection of files that were replaced or rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Signature = tuple[tuple[int, int, int] | None, ...]


class WatchedFiles:
    """Detects changes of files without reading them.

    Links are followed, so that a change of the folder behind a link, as Kubernetes makes with
    secrets, is detected.

    Args:
        paths: the files.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def signature(self) -> Signature:
        """Returns a value that changes when a file is replaced or rewritten."""
        return tuple(_of(path) for path in self._paths)


def _of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # away for a moment while it is replaced
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
