"""Fixtures for tests of the command line: a fake router, and runs in this process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from routoo.cli.app import main
from support.peers.fake_router import FakeRouter, fake_router
from support.processes.command_line import Ended, Run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRouter]:
    """A router on a free port; the command line finds it through ROUTOO_ADDRESS."""
    with fake_router() as fake:
        monkeypatch.setenv("ROUTOO_ADDRESS", fake.address)
        yield fake


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process; its output goes to no terminal."""

    def run_command(*arguments: str) -> Ended:
        capsysbinary.readouterr()
        # A start that fails leaves signals blocked, which later tests' processes would inherit.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            code = main(arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        captured = capsysbinary.readouterr()
        return Ended(code, captured.out.decode(), captured.err.decode())

    return run_command
