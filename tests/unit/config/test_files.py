"""A file that the settings name is read whole, or refused with a reason in a bounded time."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Event

import pytest

from routoo.config import files
from routoo.config.files import read_file
from routoo.config.loading import load_settings
from routoo.errors import ConfigError
from routoo.routing.pool import load_pool


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    assert read_file(path) == path.read_bytes()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind, tmp_path / "pipe")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError, match=r".") as caught:
        read_file(path)
    assert caught.value.strerror
    assert caught.value.filename == str(path) or kind == "missing"


def test_a_pipe_is_named_by_settings_and_pool(tmp_path: Path) -> None:
    pipe = tmp_path / "routoo.yaml"
    os.mkfifo(pipe)
    for read in (load_settings, load_pool):
        with pytest.raises(ConfigError, match=r"routoo\.yaml: cannot be read: a pipe"):
            read(pipe)


def test_a_disk_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = Event()

    def hang(_: Path) -> bytes:
        back.wait()
        return b""

    monkeypatch.setattr(files, "_read", hang)
    with pytest.raises(OSError, match="no content within") as caught:
        read_file(tmp_path / "far", patience_s=0.01)
    assert caught.value.errno == errno.ETIMEDOUT
    back.set()
