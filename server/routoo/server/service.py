"""Puts the service together, serves until SIGTERM, and drains."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import grpc.aio
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from routoo.api.calls import Calls
from routoo.api.extproc.factory import open_processor
from routoo.api.http.proxy.factory import open_doors
from routoo.api.llm.metrics import ExchangeCounts
from routoo.api.memory.in_flight import InFlight
from routoo.api.overload import Overload
from routoo.api.peers import ANSWERED, OPTIONS, PeerGate, Peers
from routoo.api.security.entrance import Entrance
from routoo.api.service import SERVICE, RouterService
from routoo.engine.current import ActiveEngine
from routoo.engine.open_decisions import DecisionIds
from routoo.engine.shared import EngineThreads
from routoo.predictor.manager import Predictors
from routoo.routing.policies import learned_with_predictor
from routoo.server.assembly import EngineFactory, load_components, versions_of
from routoo.server.budgets import open_accounting
from routoo.server.file_watch import FileWatch, files_of
from routoo.server.health import Health
from routoo.server.heartbeat import beat
from routoo.server.predictor_watch import PredictorWatch
from routoo.server.reloader import Reloader
from routoo.server.removals import SettingsInUse
from routoo.server.resources.container import container_bytes
from routoo.server.resources.descriptors import COMPONENT, DescriptorWatch
from routoo.server.resources.heap import bound_heap
from routoo.server.resources.memory_need import MemoryNeed, memory_lack, memory_need
from routoo.server.resources.memory_watch import MemoryWatch, resident_bytes
from routoo.server.resources.metrics import ResourceMetrics
from routoo.server.sockets.grpc_servers import GrpcServers
from routoo.server.sockets.listeners import Listeners, channel_options, open_listeners
from routoo.server.sockets.metrics_page import MetricsPage, show_page
from routoo.server.trials import is_reverted, promise_states
from routoo.telemetry.budget_gauges import BudgetMetrics
from routoo.telemetry.correction_gauges import CorrectionMetrics
from routoo.telemetry.health_metrics import HealthMetrics
from routoo.telemetry.limit_gauges import LimitMetrics
from routoo.telemetry.logs import configure_logging, keep_values_out
from routoo.telemetry.telemetry import Telemetry
from routoo.telemetry.trial_gauges import TrialMetrics
from routoo.v1 import router_pb2

if TYPE_CHECKING:
    from routoo.api.extproc.service import Processor
    from routoo.api.http.proxy.doors import LlmDoors
    from routoo.api.worker_address import WorkerAddress
    from routoo.config.loading import SettingsSource
    from routoo.config.settings import Settings
    from routoo.engine.engine import Engine
    from routoo.routing.corrections.table import ModelCorrection
    from routoo.server.sockets.http_server import HttpServer

_log = structlog.get_logger("routoo.server")
# Streams and health watchers get so long to end after everything is answered.
STREAM_GRACE_S = 0.5
GIVE_UP_WITHIN_S = 5.0


def serve(source: SettingsSource, worker: WorkerAddress | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    SIGHUP reloads; SIGUSR1 does too, and lets go what the settings no longer mention.
    When the grace period ends before the last request, the process ends here, with exit code 1.

    Args:
        source: reads the settings.
        worker: address of this process among the workers of a service; None: there are none.

    Raises:
        ConfigError: the service cannot start; one line.
    """
    if not uvloop.run(_serve(source, worker)):
        # A thread that hangs in the predictor would keep the interpreter from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 0


async def _serve(source: SettingsSource, worker: WorkerAddress | None) -> bool:
    bound_heap()
    settings = source.read()
    configure_logging(settings.log.level)
    keep_values_out()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if worker is not None:
        # The supervisor never writes: stdin becomes readable when it has ended.
        loop.add_reader(sys.stdin.fileno(), stop.set)
    service = await Service.start(settings, worker)
    loop.add_signal_handler(signal.SIGHUP, service.reloader.start, source.read_finished)
    confirmed = partial(service.reloader.start, source.read, confirmed=True)
    loop.add_signal_handler(signal.SIGUSR1, confirmed)
    # Whoever has started this process may have held the signals back until they can be taken.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGUSR1})
    watching = service.watch_files(source) if settings.reload.watch else None
    # Objects that live until the end need not be visited by every garbage collection.
    gc.collect()
    gc.freeze()
    print(service.ready_line(), flush=True)  # noqa: T201 - what callers of ``routoo serve`` wait for
    if worker is not None:
        os.set_blocking(sys.stdout.fileno(), False)
        beat(loop, sys.stdout.fileno())
    ended = asyncio.create_task(service.ended())
    await asyncio.wait((asyncio.create_task(stop.wait()), ended), return_when="FIRST_COMPLETED")
    if ended.done():
        # The server cannot be opened again in this process: that causes a segmentation fault. The
        # workers' supervisor, or that of the container, starts the process again.
        await service.give_up()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    if watching is not None:
        watching.cancel()
    return await service.stop()


class Service:
    """A running service. ``start`` makes one, ``stop`` drains it."""

    def __init__(
        self,
        current: ActiveEngine,
        telemetry: Telemetry,
        reloader: Reloader,
        health: Health,
        entrance: Entrance,
        worker: WorkerAddress | None,
    ) -> None:
        """Not to be called directly: ``start`` also opens the ports."""
        self.current = current
        settings = current.settings
        self.telemetry = telemetry
        self.metrics = metrics = telemetry.metrics
        self.reloader = reloader
        self.address = ""
        self.addresses: tuple[str, ...] = ()
        self.metrics_address = ""
        self.http_address = ""
        self._settings = settings  # of the start; ports follow no reload
        self._entrance = entrance
        overload = Overload(settings.overload, settings.batching.max_batch)
        limits = settings.limits
        in_flight = InFlight(limits.max_in_flight_bytes, limits.max_message_bytes)
        self._calls = Calls(entrance.gate, overload, in_flight, metrics.answered)
        self._peers = None if worker is None else Peers(worker)
        tracing = telemetry.tracing
        self._router = RouterService(current, self._calls, tracing, self._peers)
        self._exchanges = ExchangeCounts(metrics.registry)
        self.processor: Processor | None = None
        if settings.processor.enabled:
            self.processor = open_processor(
                current, self._calls, self._exchanges, tracing, self._peers
            )
        self._health = health
        self._worker = worker
        self._private: grpc.aio.Server | None = None
        self._shown: asyncio.Server | None = None
        # The workers' supervisor sees to it that no other service shares their port.
        self._servers = GrpcServers(
            channel_options(settings), telemetry.interceptors, alone=worker is None
        )
        self._listeners: Listeners | None = None
        self._memory: MemoryWatch | None = None
        self._descriptors = DescriptorWatch(lambda left: health.component(COMPONENT, up=left))
        metrics.registry.register(ResourceMetrics(in_flight, self._descriptors))
        self._page: MetricsPage | None = None
        self._http: HttpServer | None = None
        self.proxy: LlmDoors | None = None

    @property
    def engine(self) -> Engine:
        """The engine that takes the next request."""
        return self.current.engine

    @classmethod
    async def start(cls, settings: Settings, worker: WorkerAddress | None = None) -> Service:
        """Loads everything, warms the predictor up, opens the ports, and serves.

        Args:
            settings: the settings to serve with.
            worker: address of this process among the workers of a service; None: there are none.

        Raises:
            ConfigError: a file is wrong, or a port is in use; one line.
        """
        parts = load_components(settings)
        folder = None if worker is None else worker.folder
        in_use = SettingsInUse.at_start(settings, parts.pool, folder)
        telemetry, health = Telemetry.open(settings.decision_log, settings.tracing), Health()
        metrics = telemetry.metrics
        entrance = Entrance.open(settings.security, metrics.registry, worker)
        watch = PredictorWatch(metrics.registry, health)
        predictors = Predictors(
            settings.predictor,
            parts.artifact,
            watch,
            models=parts.pool.predicted_names,
            learned_with_it=learned_with_predictor(settings.policy),
        )
        prefix = secrets.token_hex(5) if worker is None else worker.id_prefix()
        factory = EngineFactory(predictors, telemetry, EngineThreads(DecisionIds(prefix)))
        accounting = open_accounting(
            settings, parts, metrics.outcomes, worker=0 if worker is None else worker.index
        )
        engine = factory.engine(parts, accounting, settings)
        current = ActiveEngine(engine, settings)
        # A reload exchanges the engine, so it is looked up at each scrape.
        metrics.registry.register(BudgetMetrics(lambda: current.engine.accounting.budgets()))  # noqa: PLW0108
        metrics.registry.register(CorrectionMetrics(lambda: _corrections_of(current.engine)))
        metrics.registry.register(HealthMetrics(lambda: current.engine.health()))  # noqa: PLW0108
        metrics.registry.register(LimitMetrics(lambda: current.engine.accounting.limit_states()))  # noqa: PLW0108
        metrics.registry.register(
            TrialMetrics(
                lambda: promise_states(current.engine), lambda: is_reverted(current.engine)
            )
        )
        reloader = Reloader(current, parts, factory, watch, entrance.gate, in_use)
        service = cls(current, telemetry, reloader, health, entrance, worker)
        try:
            await engine.warm_up()
            await service._open()
        except BaseException:
            await service._close_private()
            await engine.close(0.0)
            await reloader.close()
            await asyncio.to_thread(telemetry.close)
            raise
        reloader.follow()
        return service

    def ready_line(self) -> str:
        """Returns the line that ``routoo serve`` prints when it serves."""
        engine = self.engine
        return (
            f"ready {self.address} predictor={engine.versions.predictor}"
            f" policy={engine.versions.policy} models={len(engine.pool.names)}"
            f" http={self.http_address or 'off'} metrics={self.metrics_address or 'off'}"
            f" pid={os.getpid()}"
        )

    def watch_files(self, source: SettingsSource) -> asyncio.Task[None]:
        """Reloads whenever the files have changed, until the task is cancelled."""
        watch = FileWatch(lambda: files_of(source.path, self.current.settings))
        following = watch.follow(
            self.current.settings.reload.interval_s,
            lambda: self.reloader.start(source.read_finished),
        )
        return asyncio.get_running_loop().create_task(following)

    async def ended(self) -> None:
        """Waits for the end of the gRPC server, by ``stop`` or by an error.

        Any client can end the server by a method name that is not UTF-8: grpc.aio decodes the name
        where an error ends the server. Do not cancel this call: that ends the server, too.
        """
        try:
            await self._servers.wait_for_termination()
        except Exception as error:  # noqa: BLE001 - whatever it was, it ended the server
            _log.error("the gRPC server ended by itself", exc_info=error)

    async def give_up(self) -> None:
        """Closes books and logs within ``GIVE_UP_WITHIN_S``; the gRPC server has ended already."""
        try:
            async with asyncio.timeout(GIVE_UP_WITHIN_S):
                await self.engine.close(0.0)
                await asyncio.to_thread(self.telemetry.close)
        except Exception as error:  # noqa: BLE001 - the process ends in any case
            _log.error("books or logs were not closed", exc_info=error)

    async def stop(self) -> bool:
        """Drains: health says NOT_SERVING, new calls are refused, accepted ones are answered.

        Returns:
            Whether all of them were answered before the grace period ended.
        """
        grace_s = self.current.settings.shutdown_grace_s
        deadline_s = monotonic() + grace_s
        _log.info("draining", grace_s=grace_s)
        self.metrics.draining()
        await self._health.servicer.enter_graceful_shutdown()
        if self.processor is not None:
            # First, as the engine books what its streams report.
            await self.processor.close(grace_s / 2)
        if self.proxy is not None:
            await self.proxy.close(max(0.0, deadline_s - monotonic()) / 2)
        if self._http is not None:
            await self._http.drain(max(0.0, deadline_s - monotonic()) / 2)
        left_s = max(0.0, deadline_s - monotonic())
        in_time = all(
            await asyncio.gather(self.engine.retire(left_s), self.reloader.settle(left_s))
        )
        in_time &= await self.engine.close(max(0.0, deadline_s - monotonic()))
        await self._calls.drained(max(0.0, deadline_s - monotonic()))
        stopping = self._servers.stop(STREAM_GRACE_S)
        await asyncio.sleep(0)  # from here on they take no calls
        self._calls.refuse_the_last()
        await stopping
        if self._http is not None:
            await self._http.close(STREAM_GRACE_S)
        self._calls.aside.close()
        if self._listeners is not None:
            self._listeners.remove_socket_files()
        await self._close_private()
        await self.reloader.close()
        await asyncio.to_thread(self.telemetry.close)
        _log.info("stopped", in_time=in_time)
        return in_time

    async def _open(self) -> None:
        settings = self._settings
        for server in self._servers.each:
            self._add_handlers(server)
        # Before the ports for calls: a server that was never started does not give them back.
        if settings.metrics.enabled:
            self._page = MetricsPage(settings.metrics.listen, self.metrics.registry)
            self.metrics_address = self._page.address
        if self._worker is not None:
            await self._open_private(self._worker)
        if settings.http.enabled:
            self._http = await self._open_http()
            self.http_address = self._http.address
        self._listeners = open_listeners(self._servers, settings, self._entrance.certificates)
        self.addresses = self._listeners.addresses
        self.address = self.addresses[0]
        await self._servers.start()
        self._memory = self._watch_memory()
        self._health.component(COMPONENT, up=True)
        self._descriptors.start()
        self.metrics.started(versions_of(self.engine), lambda: self.engine.price)
        await self._health.serving("", SERVICE)
        _log.info(
            "serving",
            addresses=self.addresses,
            http=self.http_address,
            metrics=self.metrics_address,
        )

    def _watch_memory(self) -> MemoryWatch:
        idle_bytes, limit_bytes = resident_bytes(), container_bytes()

        def need() -> MemoryNeed:
            return memory_need(self.current.settings, len(self.engine.pool.names), idle_bytes)

        def most_bytes() -> int:
            if limit_bytes is None:
                return need().total
            return min(need().total, limit_bytes // self._settings.workers)

        lack = memory_lack(need(), self._settings.workers, limit_bytes)
        if lack:
            _log.warning("there may be too little memory", reason=lack)
        watch = MemoryWatch(self._calls.in_flight, most_bytes, self._calls.relieve, resident_bytes)
        watch.start()
        return watch

    async def _open_http(self) -> HttpServer:
        # Imported where it serves: its libraries take memory and time.
        from routoo.server.sockets.http_server import open_http  # noqa: PLC0415

        if self._settings.proxy.enabled:
            tracing = self.telemetry.tracing
            self.proxy = open_doors(self.current, self._calls, self._exchanges, tracing)
        more = [] if self.proxy is None else self.proxy.doors()
        if self._settings.http.has_console:
            from routoo.api.http.console.doors import console_doors  # noqa: PLC0415

            gate, feed = self._entrance.gate, self.metrics.live
            more += console_doors(self.current, self._router, feed, gate)
        return await open_http(
            self.current,
            self._calls,
            self._router,
            self._entrance,
            self.metrics.registry,
            self._health.is_serving,
            more,
            alone=self._worker is None,
        )

    def _add_handlers(self, server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((self._router.handler(),))
        if self.processor is not None:
            server.add_generic_rpc_handlers(self.processor.handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        if self._settings.security.reflection:
            reflection.enable_server_reflection(
                (
                    router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,
                    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                    reflection.SERVICE_NAME,
                ),
                server,
            )

    async def _open_private(self, worker: WorkerAddress) -> None:
        """Takes calls of the other workers, and shows the supervisor the metrics."""
        # The worker that forwards a call has checked the caller's rights, and counts the call.
        calls = Calls(
            PeerGate(), self._calls.overload, self._calls.in_flight, lambda *_: None, ANSWERED
        )
        self._private = grpc.aio.server(options=OPTIONS)
        self._private.add_generic_rpc_handlers((RouterService(self.current, calls).handler(),))
        if self.processor is not None:
            self._private.add_generic_rpc_handlers((self.processor.peer_handlers(calls),))
        self._private.add_insecure_port(f"unix:{worker.calls_socket}")
        worker.calls_socket.chmod(0o600)
        await self._private.start()
        self._shown = await show_page(worker.metrics_socket, self.metrics.registry)

    async def _close_private(self) -> None:
        if self._memory is not None:
            self._memory.stop()
        self._descriptors.stop()
        if self._http is not None:
            await self._http.close(0.0)
        if self._shown is not None:
            self._shown.close()
        if self._peers is not None:
            await self._peers.close()
        if self._private is not None:
            await self._private.stop(STREAM_GRACE_S)
        if self._page is not None:
            await asyncio.to_thread(self._page.close)
            self._page = None


def _corrections_of(engine: Engine) -> dict[str, ModelCorrection]:
    found = engine.corrections()
    return {} if found is None else dict(zip(engine.pool.names, found, strict=True))
