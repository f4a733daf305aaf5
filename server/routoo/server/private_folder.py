"""The private folder of a supervisor, in which its workers' sockets are."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "routoo-"
_LOCK = "lock"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Makes a folder that only this user may enter, and removes it at the end.

    The folder holds a file that is locked as long as its process lives. Folders without a lock are
    those of processes that were killed, and are removed, too.

    Raises:
        ConfigError: no folder can be made, as in a container whose files are read-only.
    """
    try:
        _remove_left_ones()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
    except OSError as error:
        raise ConfigError(
            f"workers: more than one need a folder for their sockets, and none can be made"
            f" ({error.strerror}); mount a writable one at /tmp, or name it in TMPDIR"
        ) from None
    try:
        unlocked = folder / "unlocked"
        with unlocked.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unlocked.rename(folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_ones() -> None:
    for file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # another user's, or just removed by another process
            if file.stat().st_uid != os.getuid() or file.parent.is_symlink():
                continue
            with file.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(file.parent)
