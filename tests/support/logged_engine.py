"""An engine on the tiny artifact that logs its decisions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from routoo.config.sections.observability import DecisionLogSettings, TracingSettings
from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.telemetry import Telemetry
from support.tiny_engine import make_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.engine.engine import Engine
    from routoo.predictor.artifact import Artifact
    from routoo.telemetry.decision_log.reader import LogContents


@asynccontextmanager
async def logged_engine(
    artifact: Artifact, path: Path, *, log: dict[str, Any] | None = None, **engine: Any
) -> AsyncIterator[Engine]:
    """Yields the engine; at the end, all of its log is written."""
    telemetry = Telemetry.open(DecisionLogSettings(path=path, **(log or {})), TracingSettings())
    made = make_engine(
        artifact, metrics=telemetry.metrics, decision_log=telemetry.decision_log, **engine
    )
    try:
        yield made
    finally:
        await made.close(0.0)
        assert telemetry.decision_log is not None
        while not telemetry.decision_log.close():  # each gives up after some seconds
            pass
        telemetry.close()


def lines_of(path: Path, kind: str = "decision") -> list[dict[str, Any]]:
    """Returns the lines of one kind."""
    found = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [line for line in found if line["kind"] == kind]


def rewritten(path: Path, **changes: Any) -> LogContents:
    """Reads the log after functions have replaced fields of each decision, by field."""
    lines = []
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        if line["kind"] == "decision":
            line.update({name: change(line) for name, change in changes.items()})
        lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    changed = path.with_name("changed.jsonl")
    changed.write_bytes(b"".join(lines))
    return read_logs([changed])
