"""Sees when files have changed, by looking at them now and then."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from routoo.errors import ConfigError
from routoo.predictor.artifact import find_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from routoo.config.settings import Settings

_log = structlog.get_logger("routoo.reload")
Fingerprint = tuple[tuple[str, str], ...]


def files_of(config: Path | None, settings: Settings) -> list[Path]:
    """The files that a reload would read: settings, pool, rules, labels, the predictor's folder."""
    guarantee = settings.policy.guarantee
    named = (
        config,
        settings.pool,
        settings.policy.cascade,
        None if guarantee is None else guarantee.labels,
    )
    files = [path for path in named if path is not None]
    # The folder of a version that is not there (any more) is found out by the reload.
    with suppress(ConfigError):
        files += sorted(find_artifact(settings.predictor.artifact).iterdir())
    return files


class FileWatch:
    """Looks at files, and tells when they have changed and then stood still for one look.

    Contents count, not times: a file that is replaced by the same one, as a Kubernetes ConfigMap
    does with all its files by one symbolic link, is no change, and a file that is written piece by
    piece is one change. A content that was read once is not read again until size, time or inode
    differ.

    Args:
        files: those that count now.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._digests: dict[tuple[str, int, int, int], str] = {}
        self._taken = self._last = self.look()

    def look(self) -> Fingerprint:
        """What the files hold."""
        digests: dict[tuple[str, int, int, int], str] = {}
        found = []
        for path in self._files():
            try:
                at = path.stat()
                key = (str(path), at.st_mtime_ns, at.st_size, at.st_ino)
                digest = self._digests.get(key)
                if digest is None:
                    with path.open("rb") as content:
                        digest = hashlib.file_digest(content, "sha256").hexdigest()
                digests[key] = digest
            except OSError as error:
                digest = error.strerror or "unreadable"
            found.append((str(path), digest))
        self._digests = digests
        return tuple(found)

    def changed(self) -> bool:
        """Looks; whether there is a change that has stood still since the look before."""
        seen, last = self.look(), self._last
        self._last = seen
        if seen == self._taken or seen != last:
            return False
        self._taken = seen
        return True

    async def follow(self, interval_s: float, tell: Callable[[], object]) -> None:
        """Looks every ``interval_s``, in a thread, and tells of each change; until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                changed = await asyncio.to_thread(self.changed)
            except Exception:  # noqa: BLE001 - the watch must live on
                _log.exception("files could not be looked at")
                continue
            if changed:
                tell()
