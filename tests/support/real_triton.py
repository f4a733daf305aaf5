"""A real Triton server on free ports, as `make triton` starts it, with the tiny artifact."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from routoo_export.repository import TritonConfig, write_config
from tiny_artifact import change_manifest, write_tiny_artifact

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".triton"
START_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Triton:
    """A server that runs, and the repository that it serves."""

    url: str
    repository: Path
    pid: int

    @property
    def artifact(self) -> Path:
        """The first version's folder."""
        return self.repository / "predictor" / "1"

    def send(self, number: signal.Signals) -> None:
        """A signal to the server itself."""
        os.kill(self.pid, number)


def tiny_repository(folder: Path, **config: Any) -> Path:
    """A repository with the tiny artifact as version 1, for the Python backend."""
    repository = folder / "repository"
    add_version(repository, 1, **config)
    return repository


def add_version(repository: Path, number: int, **config: Any) -> Path:
    """Another version of the tiny artifact; ``predictor_version`` is tiny-NUMBER."""
    version = repository / "predictor" / str(number)
    write_tiny_artifact(version)
    change_manifest(version, predictor_version=f"tiny-{number}")
    write_config(repository, TritonConfig(backend="python", **config))
    return version


@contextmanager
def real_triton(repository: Path, *arguments: str) -> Iterator[Triton]:
    """Starts a server, and stops it at the end; one that was killed meanwhile is no error."""
    if not (ENVIRONMENT / ".installed").exists() and not list(ENVIRONMENT.glob("lib/*")):
        pytest.skip("no Triton server in .triton; `make test` installs it")
    command = [sys.executable, str(ROOT / "deploy" / "triton" / "local.py")]
    log = repository.parent / f"{repository.name}.log"
    with subprocess.Popen(
        [*command, "--repository", str(repository), "--log", str(log), *arguments],
        stdout=subprocess.PIPE,
    ) as process:
        try:
            ready = _first_line(process)
            assert ready.startswith("ready "), f"{ready!r}, log: {log.read_text()}"
            values = dict(word.split("=") for word in ready.split()[1:])
            yield Triton(values["grpc"], repository, int(values["pid"]))
        finally:
            process.terminate()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_TIMEOUT_S), f"Triton not ready within {START_TIMEOUT_S} s"
    return process.stdout.readline().decode()
