"""The lines of a decision log as they are: those of one decision, and those that are added."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Story:
    """The lines of a log that speak of one decision; each is the object of its line.

    Attributes:
        decision: the decision itself; None: it is not in the log.
        setup: the pool and the policies that it was made with; None: not in the log.
        after: what came of it, the oldest first: outcome, capped, escalation, failure.
    """

    decision: Mapping[str, Any] | None = None
    setup: Mapping[str, Any] | None = None
    after: list[Mapping[str, Any]] = field(default_factory=list)


def story_of(decision_id: str, files: Iterable[Path]) -> Story:
    """Finds what logs say of a decision.

    Args:
        decision_id: its id.
        files: decision logs, the oldest first.

    Raises:
        OSError: a file cannot be read.
    """
    story = Story()
    needle = orjson.dumps(decision_id)
    setups: dict[str, Mapping[str, Any]] = {}
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                # Most lines are of other decisions, and need not be parsed.
                if needle not in line and b'"kind":"setup"' not in line:
                    continue
                values = _object(line)
                if values.get("kind") == "setup":
                    setups[str(values.get("setup"))] = values
                elif values.get("id") == decision_id and values.get("kind") == "decision":
                    story.decision = values
                elif decision_id in (values.get("id"), values.get("next")):
                    story.after.append(values)
    if story.decision is not None:
        # Only now, as the files may be in any order, and a setup stands in the first of its kind.
        story.setup = setups.get(str(story.decision.get("setup")))
    story.after.sort(key=lambda one: str(one.get("time", "")))
    return story


def followed(path: Path, *, from_start: bool, waits: Iterable[None]) -> Iterator[dict[str, Any]]:
    """Yields the lines of a log as they are added, over renames of a full file.

    Args:
        path: the log.
        from_start: whether those that are there already come first.
        waits: is advanced whenever there is nothing more to read, as ``sleep`` would be called;
            its end ends the lines.

    Raises:
        OSError: the file cannot be read.
    """
    file = path.open("rb")
    try:
        if not from_start:
            file.seek(0, 2)
        rest = b""
        for _ in waits:
            is_old = _renamed(path, file.fileno())
            # What is read after that look is all that the old file will ever have.
            while piece := file.read(_CHUNK_BYTES):
                *lines, rest = (rest + piece).split(b"\n")
                yield from filter(None, map(_object, lines))
            if is_old:
                file.close()
                file, rest = path.open("rb"), b""
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # emptied in its place, as ``logrotate`` does with ``copytruncate``
                rest = b""
    finally:
        file.close()


def _renamed(path: Path, descriptor: int) -> bool:
    """Returns whether another file stands at the path now, with nothing of the old one unread."""
    try:
        now, before = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino)


def _object(line: bytes) -> dict[str, Any]:
    """Returns the object of a line; empty: the line is none, such as one that is cut off."""
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return values if isinstance(values, dict) else {}
