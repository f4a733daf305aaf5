"""The supervisor starts the workers of ``routoo serve --workers N`` and restarts those that end.

It serves no request and loads no predictor. It holds the port that all workers share by
SO_REUSEPORT: each accepts connections of its own, and the kernel spreads connections over them. It
forwards SIGTERM and SIGHUP, prints the line ``ready``, and shows one page of all workers' metrics.
A worker that ends by itself, or whose event loop stands still, is started again, after a pause that
doubles as long as it keeps ending.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import orjson
import structlog
from prometheus_client import CollectorRegistry

from routoo.api.security.count_tables import end_calls
from routoo.api.worker_address import WorkerAddress
from routoo.config.address import Address
from routoo.config.checks import check_workers
from routoo.config.loading import SettingsSource
from routoo.server.heartbeat import falls_silent
from routoo.server.private_folder import private_folder
from routoo.server.sockets.metrics_page import MetricsPage, WorkerAwayError, read_page
from routoo.server.sockets.ports import shared_port
from routoo.telemetry.merged import MergedMetrics, Pages

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path

    from routoo.config.settings import Settings

_log = structlog.get_logger("routoo.supervisor")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
# The end of a worker that has lived so long has nothing to do with its start.
_LIVED_S = 60.0
_STOP_MARGIN_S = 5.0
_RELOADS = frozenset({signal.SIGHUP, signal.SIGUSR1})


class WorkerEndedError(Exception):
    """A worker ended before it served; it has reported the reason itself.

    Attributes:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exit code {code}")


def supervise(source: SettingsSource, settings: Settings) -> int:
    """Serves with ``settings.workers`` processes until SIGTERM; returns the exit code.

    Raises:
        ConfigError: the service cannot start; one line.
    """
    check_workers(settings)
    with private_folder() as folder:
        return asyncio.run(_Supervisor(source, settings, folder).run())


class _Supervisor:
    def __init__(self, source: SettingsSource, settings: Settings, folder: Path) -> None:
        self._source = source
        self._settings = settings
        self._folder = folder
        self._run_id = secrets.token_hex(4)
        self._workers: dict[int, Process] = {}
        self._stop = asyncio.Event()
        self._restarts = 0
        self._shown: dict[int, tuple[int, str]] = {}  # by worker: its process, its last page

    async def run(self) -> int:
        settings = self._settings
        with ExitStack() as held:
            texts = (settings.listen, *(listener.address for listener in settings.listeners))
            addresses = []
            for address in map(Address.parse, texts):
                port = held.enter_context(shared_port(address)).getsockname()[1]
                addresses.append(str(Address(address.host, port)))
            http = ""
            if settings.http.enabled:
                address = Address.parse(settings.http.listen)
                port = held.enter_context(shared_port(address, "http.listen")).getsockname()[1]
                http = str(Address(address.host, port))
            self._source = _for_workers(self._source, settings, addresses, http)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
            for number in _RELOADS:
                loop.add_signal_handler(number, self._tell_all, number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RELOADS)
            try:
                return await self._serve(addresses[0])
            except WorkerEndedError as error:
                return error.code
            finally:
                for worker in self._workers.values():
                    if worker.returncode is None:
                        worker.kill()
                        await worker.wait()

    async def _serve(self, listen: str) -> int:
        settings = self._settings
        page = self._open_page() if settings.metrics.enabled else None
        try:
            # The first one alone, so that a wrong configuration is reported once.
            said = await self._start(0)
            await asyncio.gather(*map(self._start, range(1, settings.workers)))
            fields = [
                word for word in said.split()[2:] if not word.startswith(("metrics=", "pid="))
            ]
            metrics = "off" if page is None else page.address
            print(  # noqa: T201 - the line that callers of ``routoo serve`` wait for
                f"ready {listen} {' '.join(fields)} metrics={metrics} pid={os.getpid()}"
                f" workers={settings.workers}",
                flush=True,
            )
            keeping = [asyncio.create_task(self._keep(index)) for index in range(settings.workers)]
            await self._stop.wait()
            for task in keeping:
                task.cancel()
            return await self._end()
        finally:
            if page is not None:
                await asyncio.to_thread(page.close)

    async def _start(self, index: int) -> str:
        """Starts a worker, waits until it serves, and returns its line ``ready``.

        Raises:
            WorkerEndedError: it ended before.
        """
        # A worker inherits that these are held back, until it can take them: they would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _RELOADS)
        try:
            # The worker ends when its stdin is closed, so it does not outlive this process.
            worker = await asyncio.create_subprocess_exec(
                *arguments(self._source, self._address(index)), stdin=PIPE, stdout=PIPE
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RELOADS)
        self._workers[index] = worker
        assert worker.stdout is not None  # noqa: S101 - a pipe was asked for
        line = (await worker.stdout.readline()).decode()
        if not line.startswith("ready "):
            raise WorkerEndedError(await worker.wait())
        return line

    def _address(self, index: int) -> WorkerAddress:
        return WorkerAddress(self._folder, self._run_id, index, self._settings.workers)

    async def _keep(self, index: int) -> None:
        """Starts a worker again whenever it has ended, and ends it when it is frozen."""
        pause_s, started_s = _FIRST_PAUSE_S, monotonic()
        while True:
            worker = self._workers[index]
            assert worker.stdout is not None  # noqa: S101 - a pipe was asked for
            if worker.returncode is None and await falls_silent(worker.stdout):
                _log.error("worker is frozen, and is ended", worker=index)
                worker.kill()
            code = await worker.wait()
            # Its clients may call the other workers instead, at once.
            end_calls(self._address(index).counts_file, index, self._settings.workers)
            if monotonic() - started_s > _LIVED_S:
                pause_s = _FIRST_PAUSE_S
            _log.error("worker ended", worker=index, exit_code=code, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._restarts += 1
            started_s = monotonic()
            try:
                await self._start(index)
            except WorkerEndedError:
                continue
            _log.info("worker serves again", worker=index)

    async def _end(self) -> int:
        """Tells all workers to drain, waits for them, and returns the exit code."""
        self._tell_all(signal.SIGTERM)
        waiting = [asyncio.create_task(one.wait()) for one in self._workers.values()]
        _, hung = await asyncio.wait(
            waiting, timeout=self._settings.shutdown_grace_s + _STOP_MARGIN_S
        )
        for task in hung:
            task.cancel()
        return 1 if hung or any(one.returncode for one in self._workers.values()) else 0

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.returncode is None:
                worker.send_signal(number)

    def _open_page(self) -> MetricsPage:
        registry = CollectorRegistry()
        registry.register(
            MergedMetrics(self._pages, self._settings.workers, lambda: self._restarts)
        )
        return MetricsPage(self._settings.metrics.listen, registry)

    def _pages(self) -> Pages:
        """Reads the metrics pages of the workers, all at once; on the scraping thread."""
        pages, up = [], 0
        with ThreadPoolExecutor(self._settings.workers) as readers:
            read = readers.map(self._page, range(self._settings.workers))
            for index, (pid, page) in enumerate(read):
                up += page is not None
                if page is not None:
                    self._shown[index] = pid, page
                # The counters of a process that runs but does not answer are what they were: left
                # out, they would seem to have begun anew.
                last_pid, last = self._shown.get(index, (0, None))
                if last is not None and last_pid == pid:
                    pages.append(last)
        return Pages(pages, up)

    def _page(self, index: int) -> tuple[int, str | None]:
        """Returns a worker's process and its page; None: it does not answer."""
        worker = self._workers.get(index)
        pid = 0 if worker is None or worker.returncode is not None else worker.pid
        try:
            return pid, read_page(self._address(index).metrics_socket)
        except WorkerAwayError as error:
            _log.warning("worker does not tell its metrics", worker=index, detail=str(error))
            return pid, None


def _for_workers(
    source: SettingsSource, settings: Settings, addresses: Sequence[str], http: str
) -> SettingsSource:
    """Returns the settings of workers: with the shared ports, and without metrics pages."""
    overrides = {
        **source.overrides,
        "listen": addresses[0],
        "listeners": [
            {**listener.model_dump(), "address": address}
            for listener, address in zip(settings.listeners, addresses[1:], strict=True)
        ],
        "http": {**source.overrides.get("http", {}), "listen": http},
        "metrics": {**source.overrides.get("metrics", {}), "enabled": False},
    }
    return SettingsSource(source.path, overrides)


def arguments(source: SettingsSource, worker: WorkerAddress) -> list[str]:
    """Returns the command line of a worker."""
    said = {
        "config": None if source.path is None else str(source.path.resolve()),
        "overrides": source.overrides,
        "folder": str(worker.folder),
        "run": worker.run,
        "index": worker.index,
        "workers": worker.workers,
    }
    return [sys.executable, "-m", "routoo.cli.worker", orjson.dumps(said).decode()]
