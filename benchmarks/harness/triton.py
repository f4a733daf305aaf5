"""A Triton server of this machine, as ``make triton`` starts it, on a copy of an artifact."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.process import ServerProcess
from routoo_export.artifact.triton_repository import DynamicBatching, TritonConfig, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = Path(__file__).resolve().parents[2] / "deploy" / "triton" / "local.py"
LONGEST_WAIT_US = 200


def make_repository(artifact: Path, folder: Path, *, batching: bool, threads: int) -> Path:
    """Makes a repository for the Python backend with the artifact under its own number, else 1."""
    version = artifact.name if artifact.name.isdigit() else "1"
    shutil.copytree(artifact, folder / "predictor" / version)
    config = TritonConfig(
        backend="python",
        threads_per_instance=threads,
        batching=DynamicBatching(longest_wait_us=LONGEST_WAIT_US) if batching else None,
    )
    write_config(folder, config)
    return folder


@contextmanager
def triton_server(repository: Path, *arguments: str) -> Iterator[ServerProcess]:
    """Runs a Triton server; its ready line has the fields grpc, http, metrics and pid."""
    log = repository.parent / f"{repository.name}.log"
    command = [sys.executable, str(LOCAL), "--repository", str(repository), "--log", str(log)]
    server = ServerProcess.start([*command, *arguments], os.environ)
    try:
        yield server
    finally:
        server.stop()
