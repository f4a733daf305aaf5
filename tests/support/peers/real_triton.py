"""A real Triton server on free ports, as ``make triton`` starts it, with the tiny artifact."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routoo_export.artifact.triton_repository import TritonConfig, write_config
from support.artifacts.tiny_artifact import change_manifest, write_tiny_artifact
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.peers.ports import free_port
from support.processes.tools import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = ROOT / ".triton"
START_TIMEOUT_S = 200.0


@dataclass(frozen=True, slots=True)
class Triton:
    """A server that runs, and the repository that it serves."""

    url: str
    repository: Path
    pid: int

    @property
    def artifact(self) -> Path:
        """The folder of the first version."""
        return self.repository / "predictor" / "1"

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the server itself."""
        os.kill(self.pid, number)


def add_version(repository: Path, number: int, *, max_batch: int = 64, **artifact: Any) -> Path:
    """Adds a version of the tiny artifact, for the Python backend, with the name tiny-NUMBER."""
    version = repository / "predictor" / str(number)
    write_tiny_artifact(version, **artifact)
    change_manifest(version, predictor_version=f"tiny-{number}")
    write_config(repository, TritonConfig(backend="python", max_batch_size=max_batch))
    return version


def add_table_version(repository: Path, number: int) -> Path:
    """Adds a version of the tiny artifact that is given its models' rows."""
    version = write_tiny_table_artifact(repository / "predictor" / str(number))
    write_config(repository, TritonConfig(backend="python"))
    return version


def make_moody(version: Path) -> None:
    """Makes a version obey its file ``mood``; ``moody_model`` describes the moods."""
    model = version / "model.py"
    moody = Path(__file__).with_name("moody_model.py").read_text(encoding="utf-8")
    model.write_text(f"{model.read_text(encoding='utf-8')}\n\n{moody}", encoding="utf-8")


@contextmanager
def real_triton(repository: Path, *arguments: str, log: Path | None = None) -> Iterator[Triton]:
    """Starts a server, and stops it at the end; one that was killed meanwhile is no error.

    Args:
        repository: the repository that it serves.
        arguments: further arguments of deploy/triton/local.py.
        log: the server's log; None: a file beside the repository.
    """
    if not ENVIRONMENT.exists():
        missing("no Triton server in .triton; `make test` installs it")
    command = [sys.executable, str(ROOT / "deploy" / "triton" / "local.py")]
    # The server takes seconds to start, in which others would get ports that the system gives.
    for name in ("grpc", "http", "metrics"):
        command += [f"--{name}-port", str(free_port())]
    log = log or repository.parent / f"{repository.name}.log"
    with subprocess.Popen(
        [*command, "--repository", str(repository), "--log", str(log), *arguments],
        stdout=subprocess.PIPE,
    ) as process:
        values: dict[str, str] = {}
        try:
            ready = _first_line(process)
            assert ready.startswith("ready "), f"{ready!r}, log: {log.read_text()}"
            values = dict(word.split("=") for word in ready.split()[1:])
            yield Triton(values["grpc"], repository, int(values["pid"]))
        finally:
            # The server is killed first: its parent waits for it, and a clean stop takes seconds.
            if values:
                with suppress(ProcessLookupError):
                    os.kill(int(values["pid"]), signal.SIGKILL)
            process.terminate()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_TIMEOUT_S), f"Triton not ready within {START_TIMEOUT_S} s"
    return process.stdout.readline().decode()
