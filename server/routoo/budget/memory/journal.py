"""An append-only file of records, each with its length and checksums; one process per file.

A record is a header of 12 bytes (length of the body, CRC-32 of the body, CRC-32 of these 8 bytes,
little-endian) and a body, a JSON object. The last record of a file may be incomplete, because the
machine stopped while it was written; it is cut off. Any other fault is damage, and the file is
refused: a guess could lose money or count it twice.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any, Literal

import orjson
import structlog

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Fsync = Literal["always", "interval", "never"]

_log = structlog.get_logger(__name__)
_HEAD = struct.Struct("<III")


def encode(record: dict[str, Any]) -> bytes:
    """Returns one record as it is written to the file."""
    body = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    head = struct.pack("<II", len(body), zlib.crc32(body))
    return head + struct.pack("<I", zlib.crc32(head)) + body


def records(content: bytes, path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yields each whole record of a file, and the byte at which it ends.

    Args:
        content: the file's bytes.
        path: the file, for the message.

    Raises:
        ConfigError: a record in the middle is damaged.
    """
    at = 0
    while at + _HEAD.size <= len(content):
        body_at = at + _HEAD.size
        length, body_sum, head_sum = _HEAD.unpack_from(content, at)
        if zlib.crc32(content[at : at + 8]) != head_sum:
            if not any(content[at:]):  # the file has grown, but its blocks were not written
                return
            raise _damaged(path, at)
        end = body_at + length
        if end > len(content):
            return
        body = content[body_at:end]
        if zlib.crc32(body) != body_sum:
            if not any(content[end:]):
                return
            raise _damaged(path, at)
        yield orjson.loads(body), end
        at = end


def _damaged(path: Path, at: int) -> ConfigError:
    return ConfigError(
        f"ledger.journal: {path} is damaged at byte {at}; restore it from a backup, or move it"
        " away to start with nothing spent"
    )


class Journal:
    """An open journal file. Appending is not thread-safe: the owner holds a lock for it.

    Attributes:
        path: the file.
        size: bytes of complete records.
        torn_bytes: bytes that were cut off the end at the start.
        failed: an append did not reach the file, which therefore lacks a record until it is
            rewritten; until then, appends do nothing.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file, for this process alone.

        Raises:
            ConfigError: another process has it, or it cannot be opened.
        """
        self.path = path
        self.size = 0
        self.torn_bytes = 0
        self.failed = False
        self._switching = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._was_here = os.path.exists(f"{path}.lock")  # noqa: PTH110 - a name of its own
            # The lock is a file of its own, because a rewrite replaces the journal's file.
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"ledger.journal: {path} cannot be opened: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except BlockingIOError:
            os.close(self._lock)
            raise ConfigError(
                f"ledger.journal: {path} is in use by another process; give each its own journal,"
                " or share budgets with backend: redis"
            ) from None
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(
                f"ledger.journal: {path} cannot be opened: {error.strerror}"
            ) from None

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yields the records, and cuts an incomplete one off the end.

        Raises:
            ConfigError: a record in the middle is damaged.
        """
        content = self.path.read_bytes()
        at = 0
        for record, end in records(content, self.path):
            yield record
            at = end
        if not content and self._was_here:
            # It is also how an operator starts with nothing spent, so it is no error.
            _log.warning(
                "the journal was deleted or emptied since it was used: budgets begin with nothing"
                " spent",
                journal=str(self.path),
            )
        self.torn_bytes = len(content) - at
        if self.torn_bytes:
            _log.warning(
                "the journal's last record was torn and is cut off",
                journal=str(self.path),
                bytes=self.torn_bytes,
            )
            os.ftruncate(self._file, at)
        os.lseek(self._file, at, os.SEEK_SET)
        self.size = at

    def append(self, data: bytes) -> None:
        """Appends encoded records; a later crash of the process does not lose them.

        When the disk is full or broken, ``failed`` is set, and the file ends with the last complete
        record.
        """
        if self.failed:
            return
        try:
            _write_all(self._file, data)
        except OSError as error:
            self._fail(error)
            try:
                # The next start would take half a record in the middle for damage.
                os.ftruncate(self._file, self.size)
                os.lseek(self._file, self.size, os.SEEK_SET)
            except OSError as second:
                _log.error("the journal cannot be cut back", error=second.strerror)
        else:
            self.size += len(data)

    def look(self) -> None:
        """Sets ``failed`` if somebody has deleted, replaced or cut the file. Thread-safe."""
        with self._switching:
            own = os.fstat(self._file)
            try:
                found = self.path.stat()
            except OSError:
                found = None
            if found is None or not os.path.samestat(own, found):
                trouble = "was deleted or replaced"
            elif own.st_size < self.size:
                trouble = "was cut"
            else:
                return
        if not self.failed:
            _log.error(
                "the journal is not what was written, and is written anew from the books",
                journal=str(self.path),
                trouble=trouble,
            )
        self.failed = True

    def sync(self) -> None:
        """Forces what was appended to the disk. Thread-safe."""
        with self._switching:  # keeps ``switch`` from closing the file
            try:
                os.fsync(self._file)
            except OSError as error:
                self._fail(error)

    def replace(self, data: list[bytes]) -> Replacement:
        """Starts a new journal file beside the one in use, which is not changed.

        Args:
            data: encoded records to begin with.

        Raises:
            OSError: the disk is full or broken; the new file is removed.
        """
        return Replacement(self.path, data)

    def switch(self, replacement: Replacement) -> None:
        """Makes a replacement the journal. The owner holds its lock.

        Raises:
            OSError: the disk is full or broken; the old file stays in use.
        """
        new = replacement.take()
        with self._switching:
            old, self._file = self._file, new
            os.close(old)
        self.size = os.lseek(new, 0, os.SEEK_END)
        if self.failed:
            _log.info("the journal is complete again", journal=str(self.path))
        self.failed = False

    def close(self) -> None:
        """Closes the file, and releases it for other processes."""
        os.close(self._file)
        os.close(self._lock)

    def _fail(self, error: OSError) -> None:
        if not self.failed:
            _log.error(
                "the journal cannot be written: the service goes on, and a crash now would lose"
                " what was spent since; make room on the disk",
                journal=str(self.path),
                error=error.strerror,
            )
        self.failed = True


class Replacement:
    """A new journal file that is not in use yet.

    Args:
        path: the journal that it is to replace.
        data: encoded records to begin with.
    """

    def __init__(self, path: Path, data: list[bytes]) -> None:
        self._path = path
        self._beside = path.with_name(path.name + ".new")
        self._file = os.open(
            self._beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        self.add(data)

    def add(self, data: list[bytes]) -> None:
        """Appends encoded records and forces them to the disk.

        Raises:
            OSError: the disk is full or broken; the file is removed.
        """
        try:
            for piece in data:
                _write_all(self._file, piece)
            os.fsync(self._file)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Closes and removes the file."""
        os.close(self._file)
        self._beside.unlink(missing_ok=True)

    def take(self) -> int:
        """Renames the file to the journal, and returns its open descriptor.

        Raises:
            OSError: the disk is full or broken; the file is removed.
        """
        try:
            self._beside.replace(self._path)
        except OSError:
            self.discard()
            raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._file


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):  # a disk that fills up writes a part, and then raises
        written += os.write(file, data[written:])
