"""The ``routoo`` command as a process of its own, on the tiny artifact and pool."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import yaml

from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_pool import write_tiny_pool
from support.watched import HANG_S

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

ROUTOO = ("-c", "import sys; from routoo.cli import main; sys.exit(main())")
HELD = (str(Path(__file__).with_name("held_serve.py")),)
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.upper().startswith("ROUTOO_")
}


def write_tiny_config(folder: Path, **changes: Any) -> Path:
    """Writes config, pool and artifact; ``changes`` replace whole sections."""
    write_tiny_artifact(folder / "predictor")
    write_tiny_pool(folder / "pool.yaml")
    values = {
        "listen": "127.0.0.1:0",
        "http": {"listen": ""},
        "metrics": {"enabled": False},
        "pool": "pool.yaml",
        "predictor": {"artifact": "predictor"},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Process]:
    """Starts a command with pipes, and kills it at the end if it still runs."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def line_of(running: Process, beginning: str, within_s: float = HANG_S) -> str:
    """Reads the next line of stdout; a line with another beginning fails the test."""
    assert running.stdout is not None
    async with asyncio.timeout(within_s):
        line = (await running.stdout.readline()).decode()
    if not line and running.stderr is not None:
        line = (await running.stderr.read()).decode()
    assert line.startswith(beginning), line
    return line.rstrip()


async def exit_code(running: Process) -> int:
    """Waits for the end and returns the exit code; a process that does not end fails the test."""
    async with asyncio.timeout(HANG_S):
        return await running.wait()
