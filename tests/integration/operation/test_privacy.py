"""A service that runs leaves nothing outside its folders, and asks nobody for anything."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from routoo.client.aio import AsyncRouterClient
from support.processes.process import ENVIRONMENT, ROUTOO, line_of, write_tiny_config
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

# A traced call that names somebody: what it is sent to, by family and address.
_CALLED = re.compile(r'(?:connect|sendto|sendmmsg|sendmsg)\(.*?sa_family=(\w+)(.*?)"([0-9a-f.:]+)"')
_HOME = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


@pytest.fixture
def strace() -> str:
    """The program that tells which calls another one makes."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    return found


def _environment(home: Path) -> dict[str, str]:
    """The user's environment, as a fresh user has it, whose folders are all under ``home``."""
    kept = {name: value for name, value in ENVIRONMENT.items() if name not in _HOME}
    kept.pop("ORT_DISABLE_TELEMETRY", None)
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


async def _serve_once(folder: Path, home: Path, *before: str) -> None:
    """Starts the service, routes a prompt, and stops it."""
    config = write_tiny_config(folder)
    running = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, *ROUTOO, "serve", "--config", str(config)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=_environment(home),
    )
    try:
        address = re.findall(r"127\.0\.0\.1:\d+", await line_of(running, "ready"))[0]
        async with AsyncRouterClient(address) as client:
            await client.route("easy")
    finally:
        if running.returncode is None:
            running.terminate()
        async with asyncio.timeout(HANG_S):
            await running.communicate()


async def test_the_service_writes_nothing_into_the_home_of_its_user(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "service"
    home.mkdir()
    folder.mkdir()
    await _serve_once(folder, home)
    assert not list(home.rglob("*"))


async def test_the_service_calls_nobody(tmp_path: Path, strace: str) -> None:
    home, folder, calls = tmp_path / "home", tmp_path / "service", tmp_path / "calls"
    home.mkdir()
    folder.mkdir()
    await _serve_once(
        folder, home, strace, "-D", "-f", "-qq", "-e", "trace=%network", "-o", str(calls)
    )
    called = _CALLED.findall(calls.read_text(encoding="utf-8", errors="replace"))
    others = [
        one
        for one in called
        if one[0].startswith("AF_INET") and not one[2].startswith(("127.", "::1"))
    ]
    assert not others


def test_the_training_code_switches_off_the_reports_of_its_libraries() -> None:
    code = "import os, routoo_export; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == "1"
