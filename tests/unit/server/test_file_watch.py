"""The file watch reports new contents once, and ignores files that are replaced by equal ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from routoo.server.file_watch import FileWatch, files_of
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_service import tiny_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.yaml"
    path.write_text("one")
    return path


def write(path: Path, text: str) -> None:
    """Writes a file later than all that was written before: clocks of files may tick seldom."""
    before_ns = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before_ns, before_ns + 10**9))


def test_a_change_is_told_once_when_it_stands_still(pool: Path) -> None:
    watch = FileWatch(lambda: [pool])
    assert not watch.changed()
    write(pool, "two")
    assert [watch.changed() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_still_written_is_waited_for(pool: Path) -> None:
    watch = FileWatch(lambda: [pool])
    for length in range(1, 4):
        write(pool, "new content"[:length])
        assert not watch.changed()
    assert watch.changed()


def test_the_same_content_is_no_change_and_neither_is_what_was_taken_back(pool: Path) -> None:
    watch = FileWatch(lambda: [pool])
    pool.unlink()
    pool.write_text("one")
    os.utime(pool, ns=(1, 1))
    assert [watch.changed(), watch.changed()] == [False, False]
    write(pool, "two")
    assert not watch.changed()
    write(pool, "one")
    assert [watch.changed(), watch.changed()] == [False, False]


def test_a_configmap_that_moves_its_link_is_one_change(tmp_path: Path) -> None:
    for version, text in (("1", "one"), ("2", "two"), ("3", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "pool.yaml").write_text(text)
    link, file = tmp_path / "..data", tmp_path / "pool.yaml"
    link.symlink_to("1")
    file.symlink_to("..data/pool.yaml")
    watch = FileWatch(lambda: [file])

    def move(version: str) -> None:
        (tmp_path / "..new").symlink_to(version)
        (tmp_path / "..new").replace(link)

    move("2")
    assert [watch.changed(), watch.changed()] == [False, True]
    move("3")
    assert [watch.changed(), watch.changed()] == [False, False]


def test_a_file_that_vanishes_and_comes_back_changed_is_a_change(pool: Path) -> None:
    watch = FileWatch(lambda: [pool])
    pool.unlink()
    assert [watch.changed(), watch.changed()] == [False, True]
    pool.write_text("three")
    assert [watch.changed(), watch.changed()] == [False, True]


def test_every_file_that_a_reload_reads_is_looked_at(tmp_path: Path) -> None:
    config, versions = tmp_path / "config.yaml", tmp_path / "versions"
    write_tiny_artifact(versions / "1")
    settings = tiny_settings(tmp_path, predictor={"artifact": versions})
    files = files_of(config, settings)
    assert config in files
    assert settings.pool in files
    assert versions / "1" / "model.onnx" in files
    (versions / "1" / ".models.npz").write_bytes(b"half of a file that will take another's place")
    assert files_of(config, settings) == files
    write_tiny_artifact(versions / "2")
    assert versions / "2" / "model.onnx" in files_of(config, settings)
