"""One replica as a process that is started again whenever it has ended, as Kubernetes does."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes.process import ENVIRONMENT, ROUTOO

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

_CLOCK = Path(__file__).with_name("clock")
_AGAIN_S = 0.3
_LISTENS_S = 30.0
_UNLIMITED = resource.RLIM_INFINITY


class Replica:
    """A replica.

    Attributes:
        name: its name.
        folder: the folder with its settings and logs.
        port: its port on 127.0.0.1.
        is_up: whether it has said that it serves, and has not ended since.
        generation: the number of its starts.
        unasked: exits that nobody asked for, as "code N".
    """

    def __init__(self, name: str, folder: Path, port: int, changed: Callable[[str], None]) -> None:
        """Makes a replica that does not run yet.

        Args:
            name: its name.
            folder: the folder with ``config.yaml``.
            port: its port.
            changed: is called with its name when it has come up or gone.
        """
        self.name = name
        self.folder = folder
        self.port = port
        self.is_up = False
        self.generation = 0
        self.unasked: list[str] = []
        self._changed = changed
        self._process: Process | None = None
        self._wanted = asyncio.Event()
        self._files_are_good = asyncio.Event()
        self._files_are_good.set()
        self._up = asyncio.Event()
        self._asked = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    async def listens(self) -> None:
        """Waits until a connection can be made, at most ``_LISTENS_S``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LISTENS_S):
                while True:
                    with suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                        writer.close()
                        return
                    await asyncio.sleep(_AGAIN_S)

    def start(self) -> None:
        """Starts it, and again whenever it ends."""
        self._wanted.set()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def came_up(self) -> None:
        """Waits until it serves."""
        await self._up.wait()

    def kill(self, back_s: float = 0.0) -> None:
        """Ends it at once; it is started again after ``back_s`` seconds."""
        self._hold(back_s)
        self._send(signal.SIGKILL)

    def leave(self, back_s: float = 0.0) -> None:
        """Tells it to stop; it is started again after ``back_s`` seconds, or once it has ended."""
        self._hold(back_s)
        self._send(signal.SIGTERM)

    def stay_away(self) -> None:
        """Tells it to stop, and does not start it again before ``start``."""
        self._wanted.clear()
        self._asked = True
        self._send(signal.SIGTERM)

    def reload(self) -> None:
        """Has it read its settings again; not before it serves, as that would end it."""
        if self.is_up:
            self._send(signal.SIGHUP)

    def spoil(self, file: str, spoilt: Callable[[str], str]) -> None:
        """Overwrites a file that it reads, and has it read its files again.

        A process that starts cannot know what the file said before, so that a file is spoilt only
        while it serves, and none starts before ``repaired``.
        """
        if self.is_up:
            self._files_are_good.clear()
            path = self.folder / file
            path.write_text(spoilt(path.read_text(encoding="utf-8")), encoding="utf-8")
            self.reload()

    def repaired(self) -> None:
        """Notes that all its files are good again, and has it read them."""
        self._files_are_good.set()
        self.reload()

    def freeze(self) -> list[int]:
        """Stops the main process from running, until ``thaw``; returns its id."""
        return [self._stopped(self._process.pid)] if self._runs() and self._process else []

    def freeze_worker(self, number: int) -> list[int]:
        """Stops one of its workers from running, until ``thaw``; returns its id."""
        workers = self._serving()
        return [self._stopped(workers[number % len(workers)])] if workers else []

    def kill_worker(self, number: int) -> None:
        """Ends one of its workers at once."""
        workers = self._serving()
        if workers:
            with suppress(ProcessLookupError):
                os.kill(workers[number % len(workers)], signal.SIGKILL)

    def thaw(self, pids: list[int]) -> None:
        """Lets processes go on that ``freeze`` has stopped, unless they have ended."""
        ours = {*self.workers(), self._process.pid if self._process else 0}
        for pid in pids:
            if pid in ours:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def workers(self) -> list[int]:
        """Returns the ids of the processes of its workers."""
        if not self._runs() or self._process is None:
            return []
        pid = self._process.pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(child) for child in text.split()]

    def fill_disk(self, more_bytes: float) -> None:
        """Makes writes fail beyond the size that its logs have now and some bytes more.

        The limit is that of the size of files (RLIMIT_FSIZE): a write beyond it fails as one to a
        full disk does.
        """
        self._limit_files(int(max(self._sizes(), default=0) + more_bytes))

    def empty_disk(self) -> None:
        """Lets writes of any size succeed again."""
        self._limit_files(_UNLIMITED)

    def step_clock(self, seconds: float) -> None:
        """Sets the wall clock of all its processes off by so many seconds."""
        (self.folder / "clock").write_text(repr(seconds), encoding="ascii")

    async def close(self) -> None:
        """Ends it for good."""
        self._wanted.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._process is not None and self._process.returncode is None:
            # Its workers end with it: a worker's stdin is closed then. Frozen ones do not see that.
            for pid in (*self.workers(), self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self._process.wait()

    def _serving(self) -> list[int]:
        """Returns its workers once all serve: one that ends before has the supervisor end, too."""
        return self.workers() if self.is_up else []

    def _runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _send(self, number: signal.Signals) -> None:
        if self._runs() and self._process is not None:
            self._process.send_signal(number)

    def _hold(self, back_s: float) -> None:
        self._asked = True
        if self._wanted.is_set():
            self._wanted.clear()
            asyncio.get_running_loop().call_later(back_s, self._wanted.set)

    @staticmethod
    def _stopped(pid: int) -> int:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        return pid

    def _sizes(self) -> list[int]:
        return [file.stat().st_size for file in self.folder.iterdir() if file.is_file()]

    def _limit_files(self, most_bytes: int) -> None:
        if not self._runs() or self._process is None:
            return
        for pid in (self._process.pid, *self.workers()):
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, hard))

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            await self._files_are_good.wait()
            self._asked = False
            process = await self._spawn()
            line = await process.stdout.readline() if process.stdout else b""
            if line.startswith(b"ready "):
                self.is_up = True
                self.generation += 1
                self._up.set()
                self._changed(self.name)
            code = await process.wait()
            if not self._asked:
                self.unasked.append(f"code {code} at {time.strftime('%H:%M:%S')}")
            if self.is_up:
                self.is_up = False
                self._up.clear()
                self._changed(self.name)
            await asyncio.sleep(_AGAIN_S)

    async def _spawn(self) -> Process:
        path = os.pathsep.join([str(_CLOCK), os.environ.get("PYTHONPATH", "")])
        clock = {"CHAOS_CLOCK": str(self.folder / "clock"), "PYTHONPATH": path}
        with (self.folder / "stderr.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(*ROUTOO, "serve", "--config", str(self.folder / "config.yaml")),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                env={**ENVIRONMENT, **clock},
            )
        return self._process
