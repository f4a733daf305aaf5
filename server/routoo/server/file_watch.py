"""Detects changed files by reading them at intervals."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from routoo.config.files import read_file
from routoo.errors import ConfigError
from routoo.predictor.artifact import find_artifact
from routoo.selector.policies import POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from routoo.config.settings import Settings

_log = structlog.get_logger("routoo.reload")
Fingerprint = tuple[tuple[str, str], ...]


def files_of(config: Path | None, settings: Settings) -> list[Path]:
    """Lists the files that a reload reads: settings, pool, rule, labels, the predictor's folder."""
    guarantee = settings.policy.guarantee
    named = (
        config,
        settings.pool,
        settings.policy.cascade,
        None if guarantee is None else guarantee.labels,
    )
    files = [path for path in named if path is not None]
    # A missing artifact is no error here: the reload reports it.
    experiment = settings.experiment
    artifacts = [settings.predictor.artifact]
    if experiment is not None and experiment.candidate not in POLICIES:
        artifacts.append(Path(experiment.candidate))
    for artifact in artifacts:
        with suppress(ConfigError, FileNotFoundError):
            folder = find_artifact(artifact)
            # A hidden file is one that is still written beside the one whose place it takes.
            files += sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    return files


class FileWatch:
    """Reports a change of files once two looks in a row find the same new contents.

    Contents count, not times. A file that is replaced by an equal one is no change; a Kubernetes
    ConfigMap does that with all its files by one symbolic link. A file that is written piece by
    piece is one change. A file is not read again until its size, time or inode differ.

    Args:
        files: returns the files to look at.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._digests: dict[tuple[str, int, int, int], str] = {}
        self._taken = self._last = self.look()

    def look(self) -> Fingerprint:
        """Returns a fingerprint of the files' contents: per file its path and SHA-256 or error."""
        digests: dict[tuple[str, int, int, int], str] = {}
        found = []
        for path in self._files():
            try:
                at = path.stat()
                key = (str(path), at.st_mtime_ns, at.st_size, at.st_ino)
                digest = self._digests.get(key)
                if digest is None:
                    digest = hashlib.sha256(read_file(path)).hexdigest()
                digests[key] = digest
            except OSError as error:
                digest = error.strerror or "unreadable"
            found.append((str(path), digest))
        self._digests = digests
        return tuple(found)

    def changed(self) -> bool:
        """Looks, and returns whether the files have changed and are as at the look before."""
        seen, last = self.look(), self._last
        self._last = seen
        if seen == self._taken or seen != last:
            return False
        self._taken = seen
        return True

    async def follow(self, interval_s: float, tell: Callable[[], object]) -> None:
        """Looks every ``interval_s``, in a thread, and calls ``tell`` for each change.

        Ends by being cancelled only.
        """
        while True:
            await asyncio.sleep(interval_s)
            try:
                changed = await asyncio.to_thread(self.changed)
            except Exception:  # noqa: BLE001 - the watch must live on
                _log.exception("files could not be looked at")
                continue
            if changed:
                tell()
