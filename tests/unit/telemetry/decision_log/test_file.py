"""The file of the log holds whole lines, is renamed when large, and never delays the service."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.rotating_file import RotatingFile
from routoo.telemetry.decision_log.writer import Writer
from support.logged_engine import lines_of, logged_engine
from support.tiny_engine import outcomes
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.predictor.artifact import Artifact


@dataclass(frozen=True)
class Item:
    """An item of the log: some decisions that become one line."""

    text: bytes = b"{}\n"
    decisions: int = 1
    heads: tuple[()] = ()

    def lines(self) -> Iterator[bytes]:
        yield self.text


class HeldFile:
    """A file that is ready only when the test says so."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.written = b""

    def ready(self) -> bool:
        self.reached.set()
        assert self.go_on.wait(HANG_S)
        return False

    def write(self, lines: bytes) -> None:
        self.written += lines

    def close(self) -> None:
        pass


class Registry:
    """A registry from which tests read the writer's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def lines(self, result: str) -> float | None:
        return self.registry.get_sample_value("routoo_decision_log_lines_total", {"result": result})

    @property
    def up(self) -> float | None:
        return self.registry.get_sample_value("routoo_decision_log_up")


def logs_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def append(file: RotatingFile, lines: bytes) -> None:
    file.ready()
    file.write(lines)


def test_what_does_not_fit_the_queue_is_dropped_and_counted() -> None:
    file: Any = HeldFile()
    seen = Registry()
    writer = Writer(file, 5, lambda: 0.0, seen.registry)
    writer.put(Item(b"first\n", 3))
    assert file.reached.wait(HANG_S)
    writer.put(Item(b"second\n", 2))
    writer.put(Item(b"third\n", 1))
    file.go_on.set()
    assert writer.close(HANG_S)
    writer.put(Item(b"after the end\n"))
    assert file.written == b"first\nsecond\n"
    assert (seen.lines("written"), seen.lines("dropped"), seen.lines("failed")) == (5, 2, 0)


def test_a_log_that_hangs_does_not_keep_the_service_from_ending() -> None:
    file: Any = HeldFile()
    writer = Writer(file, 5, lambda: 0.0, CollectorRegistry())
    writer.put(Item())
    assert file.reached.wait(HANG_S)
    assert not writer.close(0.0)
    file.go_on.set()
    assert writer.close(HANG_S)


async def test_decisions_go_on_when_the_disk_is_full(artifact: Artifact) -> None:
    with capture_logs() as logs:
        async with logged_engine(artifact, Path("/dev/full")) as engine:
            decided = await outcomes(*(engine.route(PromptRequest("hard")) for _ in range(3)))
    assert [one.model for one in decided] == ["medium"] * 3
    assert [(one["event"], one["detail"]) for one in logs] == [
        ("decision log cannot be written; decisions go on unlogged", "No space left on device")
    ]


def test_a_file_that_can_be_written_again_is(tmp_path: Path) -> None:
    asked, times_s = threading.Semaphore(0), SimpleQueue[float]()

    def clock_s() -> float:
        asked.release()
        return times_s.get(timeout=HANG_S)

    folder, seen = tmp_path / "later", Registry()
    writer = Writer(RotatingFile(folder / "log", 4096, 2), 9, clock_s, seen.registry)
    with capture_logs() as logs:
        writer.put(Item(b"lost\n"))
        assert asked.acquire(timeout=HANG_S)
        assert (seen.lines("failed"), seen.up) == (1, 0)
        folder.mkdir()
        for failed_or_tried_s in (0.0, 0.5, 2.0):
            times_s.put(failed_or_tried_s)
        writer.put(Item(b"too soon\n"))
        writer.put(Item(b"kept\n"))
        assert writer.close(HANG_S)
    assert (folder / "log").read_bytes() == b"kept\n"
    assert (seen.lines("failed"), seen.lines("written"), seen.up) == (2, 1, 1)
    assert [one["log_level"] for one in logs] == ["error", "info"]


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"kind":"dec')
    file = RotatingFile(path, 4096, 2)
    append(file, b"{}\n")
    append(file, b"{}\n")
    file.close()
    assert path.read_bytes() == b'{"kind":"dec\n{}\n{}\n'


@pytest.mark.parametrize(("kept", "expected"), [(1, {4: ""}), (3, {4: "", 3: ".1", 2: ".2"})])
def test_large_files_are_set_aside_and_the_oldest_go(
    tmp_path: Path, kept: int, expected: dict[int, str]
) -> None:
    file = RotatingFile(tmp_path / "log", 10, kept)
    for number in range(5):
        append(file, b"%d" % number * 10 + b"\n")
    file.close()
    found = {int(path.read_text()[0]): path.name[3:] for path in logs_in(tmp_path)}
    assert found == expected


async def test_every_file_begins_with_the_setup(artifact: Artifact, tmp_path: Path) -> None:
    log = {"max_file_bytes": 4096, "max_files": 50}
    async with logged_engine(artifact, tmp_path / "log", log=log, max_batch=1) as engine:
        await outcomes(*(engine.route(PromptRequest("hard")) for _ in range(40)))
    files = logs_in(tmp_path)
    assert len(files) > 2
    assert all(path.read_bytes().startswith(b'{"kind":"setup"') for path in files)
    assert sum(len(lines_of(path)) for path in files) == 40


def test_a_file_that_is_set_aside_while_it_is_opened_takes_no_line_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "log", os.open

    def open_and_lose(name: Path, flags: int, mode: int) -> int:
        descriptor = opened(name, flags, mode)
        # Another worker renames the file just after it was opened here.
        path.replace(tmp_path / "log.1")
        monkeypatch.undo()
        return descriptor

    file = RotatingFile(path, 1000, 10)
    monkeypatch.setattr(os, "open", open_and_lose)
    append(file, b"one\n")
    append(file, b"two\n")
    file.close()
    assert [one.read_bytes() for one in (tmp_path / "log.1", path)] == [b"one\n", b"two\n"]


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    def fill(writer: int) -> None:
        file = RotatingFile(tmp_path / "log", 1000, 100)
        for number in range(100):
            append(file, b"%d-%02d" % (writer, number) * 10 + b"\n")
        file.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    files = logs_in(tmp_path)
    lines = [line for path in files for line in path.read_bytes().splitlines()]
    expected = [b"%d-%02d" % (writer, number) * 10 for writer in range(4) for number in range(100)]
    assert sorted(lines) == sorted(expected)
