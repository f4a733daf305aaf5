"""Fixtures: the installed service, with the shipped predictor and pool."""

from __future__ import annotations

import selectors
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.processes.command_line import ROUTOO

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 120.0


@pytest.fixture(scope="session", autouse=True)
def _memory_of_a_service() -> Iterator[None]:
    """Has services in the process of the tests see the memory of a service, not that of all tests.

    What other tests leave behind would have them refuse calls.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routoo.server.service.resident_bytes", lambda: 200 * 1024 * 1024)
        yield


@pytest.fixture(scope="session", autouse=True)
def _whole_logs() -> Iterator[None]:
    """Has services in the process of the tests write all of a decision log before they end.

    On a machine that stalls, they would give up the rest after some seconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routoo.telemetry.decision_log.log._CLOSE_GRACE_S", STOP_TIMEOUT_S)
        yield


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The HOST:PORT of a ``routoo serve`` process; SIGTERM has to end it with exit code 0."""
    log = tmp_path_factory.mktemp("service") / "stderr.log"
    command = [ROUTOO, "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    command += ["--http-listen", ""]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        try:
            ready = _first_line(process)
            assert ready.startswith("ready "), f"{ready!r}, stderr: {log.read_text()}"
            yield ready.split()[1]
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert code == 0, log.read_text()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        # The line is written at once, so that what is readable is the whole of it.
        assert selector.select(START_TIMEOUT_S), f"not ready within {START_TIMEOUT_S} s"
    return process.stdout.readline().decode()
