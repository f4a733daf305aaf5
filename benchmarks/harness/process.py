"""A server under test, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0


class StartError(Exception):
    """The server did not start, or did not stop as it should."""


@dataclass(slots=True)
class ServerProcess:
    """A command that prints ``ready ADDRESS ...`` when it serves and ends on SIGTERM.

    Attributes:
        ready_line: the line that it printed.
        start_to_ready_s: the time from the start of the process to that line.
    """

    ready_line: str
    start_to_ready_s: float
    _process: subprocess.Popen[str]
    _log: IO[str]

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Starts the command and waits for its line.

        Raises:
            StartError: it ended or printed no such line; the message has its last line.
        """
        # A file, not a pipe: nothing reads during the load, and a full pipe stops the server.
        log = TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        started_s = perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(environment)
        )
        assert process.stdout is not None
        watchdog = threading.Timer(READY_WITHIN_S, process.kill)
        watchdog.start()
        line = process.stdout.readline().strip()
        ready_s = perf_counter() - started_s
        watchdog.cancel()
        if not line.startswith("ready "):
            process.kill()
            process.wait()
            log.seek(0)
            said = [line, *log.read().splitlines()]
            log.close()
            last = next((text for text in reversed(said) if text.strip()), "nothing")
            raise StartError(f"{' '.join(command)}: did not become ready; it said: {last}")
        return cls(line, ready_s, process, log)

    @property
    def address(self) -> str:
        """The address in the ready line, HOST:PORT."""
        return self.ready_line.split()[1]

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def field(self, name: str) -> str:
        """Returns the value of ``name=value`` in the ready line."""
        fields = dict(word.split("=", 1) for word in self.ready_line.split() if "=" in word)
        return fields[name]

    def resident_mb(self) -> float | None:
        """Returns the resident memory in MB (10^6 bytes); None where there is no /proc."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return None
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024 / 1e6

    def most_bytes(self) -> int:
        """Returns the most memory that the process has had, in bytes; Linux only."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024

    def cpu_s(self) -> float:
        """Returns the processor time so far, in user and system mode; Linux only."""
        after_name = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stops the server.

        Raises:
            StartError: it ends with an exit code that is not 0, and the block raised nothing.
        """
        code = self.stop()
        if kind is None and code != 0:
            raise StartError(f"exit code {code} after SIGTERM: {self.ready_line}")

    def stop(self) -> int:
        """Ends the server by SIGTERM and returns its exit code.

        Raises:
            StartError: it does not end.
        """
        self._process.terminate()
        try:
            code = self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise StartError(f"still running {STOPPED_WITHIN_S:.0f} s after SIGTERM") from None
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()
        return code
