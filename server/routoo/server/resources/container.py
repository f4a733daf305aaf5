"""The memory that the container of this process has, as Linux' control groups tell."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
# Version 2, and version 1 of the control groups, as they are seen within a container.
_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")
# Version 1 writes a number near 2**63 where there is no limit.
_NO_LIMIT_BYTES: Final = 2**60


def container_bytes(root: Path = _ROOT) -> int | None:
    """Returns the limit of the container's memory in bytes; None: there is none, or not known.

    Args:
        root: where the control groups are shown.
    """
    for name in _FILES:
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _NO_LIMIT_BYTES:
            return int(text)
    return None
