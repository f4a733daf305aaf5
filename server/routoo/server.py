"""Puts the service together, serves until SIGTERM, and drains."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import secrets
import signal
import sys
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, start_http_server

from routoo import __version__
from routoo.api.service import SERVICE, RouterService
from routoo.calibration.start import with_price
from routoo.cascade_file import load_rule, rule_values
from routoo.current import Current
from routoo.engine import Engine
from routoo.errors import ConfigError
from routoo.extproc.opening import check_processor, open_processor
from routoo.health import Health
from routoo.listeners import Listeners, channel_options, open_listeners
from routoo.money import open_money
from routoo.operating_point import PricedSample
from routoo.policies import build_policies, learned_with_predictor
from routoo.pool import load_pool
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.predictor.chain import Watch
from routoo.predictor_watch import PredictorWatch
from routoo.predictors import Predictors, in_process
from routoo.reloader import Reloader
from routoo.security.entrance import Entrance
from routoo.telemetry import Metrics, configure_logging
from routoo.v1 import router_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config import Settings
    from routoo.extproc.service import Processor
    from routoo.policies import Policies
    from routoo.policy_settings import GuaranteeSettings
    from routoo.pool import Pool
    from routoo.predictor.artifact import Artifact

_log = structlog.get_logger("routoo.server")
# After everything is answered: streams and health watchers are told, then cut off.
STREAM_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is made of, checked against each other."""

    pool: Pool
    artifact: Artifact
    sample: PricedSample
    price: float
    policies: Policies


def load_parts(settings: Settings) -> Parts:
    """Reads pool and artifact and finds the price in force.

    Raises:
        ConfigError: any of them is wrong or they do not fit; one line.
    """
    pool = load_pool(settings.pool)
    if settings.processor.enabled:
        check_processor(settings.processor, pool)
    artifact = load_artifact(find_artifact(settings.predictor.artifact))
    columns = pool.columns_in(artifact.manifest.models)
    sample = PricedSample(artifact.calibration_sample(), pool, columns)
    price = sample.price_for(settings.policy.max_mean_cost_usd)
    version = artifact.manifest.predictor_version
    guarantee = with_price(
        settings, pool, sample, version, lambda: in_process(settings.predictor, artifact)
    )
    policy = settings.policy.model_copy(update={"guarantee": guarantee})
    rule = None if policy.cascade is None else load_rule(policy.cascade, pool, version)
    identity = "|".join(
        (
            policy.model_dump_json(exclude={"cascade"}),
            version,
            *(model.model_dump_json() for model in pool.models),
            # What the file says and not where it lies.
            "" if rule is None else str(rule_values(rule, pool, version)),
        )
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    policies = build_policies(policy, pool, digest, rule)
    return Parts(pool, artifact, sample, price, policies)


def check(settings: Settings) -> list[str]:
    """Checks everything that a start would, without serving; one line per finding.

    Raises:
        ConfigError: the service would not start; one line.
    """
    Entrance.open(settings.security, CollectorRegistry())
    parts = load_parts(settings)
    predictors = Predictors(settings.predictor, parts.artifact, Watch())
    try:
        predictors.chain.warm_up()
        predictor = predictors.chain
    finally:
        predictors.close()
    point = parts.sample.point_at(parts.price, parts.policies.in_force)
    budgets = [f"{one.name} ${one.usd:g} per {one.per}" for one in settings.budgets]
    most_usd = settings.policy.max_mean_cost_usd
    away = f"warning: Triton at {settings.predictor.triton.url} does not answer"
    busiest = max(zip(point.shares.tolist(), parts.pool.names, strict=True))
    return [
        f"pool: {len(parts.pool.names)} models",
        f"predictor: {predictor.version} on {predictor.backend}, {len(predictor.models)} models",
        *([away] if predictor.degraded else []),
        f"policy: {parts.policies.version}, at most ${most_usd:g} a request",
        *_promise(settings.policy.guarantee),
        f"budgets: {', '.join(budgets) or 'none'}",
        f"shadow price: {parts.price:.6g} score per USD, where no budget sets it",
        f"expected: mean score {point.mean_score:.3f} at ${point.mean_cost_usd:.3g} a request",
        f"busiest model: {busiest[1]}, {busiest[0]:.0%} of the requests",
    ]


def _promise(guarantee: GuaranteeSettings | None) -> list[str]:
    """What the guarantee says, should there be one."""
    if guarantee is None:
        return []
    drop, reference = f"{guarantee.max_drop:g}", guarantee.reference
    said = f"mean score at most {drop} below {reference}, at confidence {guarantee.confidence:g}"
    return [f"guarantee: {said}"]


def serve(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    When the grace period ends before the last request, the process ends here, with exit code 1.

    Args:
        settings: what serves.
        read_settings: reads them again for a reload, which SIGHUP asks for.

    Raises:
        ConfigError: the service cannot start; one line.
    """
    if not asyncio.run(_serve(settings, read_settings)):
        # A thread that hangs in the predictor would keep the interpreter from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    return 0


async def _serve(settings: Settings, read_settings: Callable[[], Settings]) -> bool:
    configure_logging(settings.log.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = await Service.start(settings)
    loop.add_signal_handler(signal.SIGHUP, service.reloader.start, read_settings)
    # What lives from here to the end need not be looked at by every garbage collection.
    gc.collect()
    gc.freeze()
    print(  # noqa: T201 - the line that callers of `routoo serve` wait for
        f"ready {service.address} predictor={service.engine.versions.predictor}"
        f" policy={service.engine.versions.policy} models={len(service.engine.pool.names)}"
        f" metrics={service.metrics_address or 'off'} pid={os.getpid()}",
        flush=True,
    )
    await stop.wait()
    return await service.stop()


class Service:
    """A running service. ``start`` makes one, ``stop`` drains it."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        metrics: Metrics,
        reloader: Reloader,
        health: Health,
        entrance: Entrance,
    ) -> None:
        """Not to be called directly: ``start`` also opens the ports."""
        self.current = Current(engine, settings)
        self.metrics = metrics
        self.reloader = reloader
        self.address = ""
        self.addresses: tuple[str, ...] = ()
        self.metrics_address = ""
        self._settings = settings
        self._entrance = entrance
        self._router = RouterService(self.current, metrics, entrance.gate)
        self.processor: Processor | None = None
        if settings.processor.enabled:
            self.processor = open_processor(self.current, metrics, entrance.gate)
        self._health = health
        # With port sharing on, a second service would take half the calls instead of failing.
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), *channel_options(settings)]
        )
        self._listeners: Listeners | None = None
        self._metrics_server: tuple[object, object] | None = None

    @property
    def engine(self) -> Engine:
        """What answers the next request."""
        return self.current.engine

    @classmethod
    async def start(cls, settings: Settings) -> Service:
        """Loads everything, warms the predictor up, opens the ports, and serves.

        Raises:
            ConfigError: a file is wrong, or a port is in use; one line.
        """
        parts = load_parts(settings)
        metrics, health = Metrics(), Health()
        entrance = Entrance.open(settings.security, metrics.registry)
        money = open_money(settings, parts.pool, parts.sample, parts.price, metrics.registry)
        watch = PredictorWatch(metrics.registry, health)
        predictors = Predictors(
            settings.predictor,
            parts.artifact,
            watch,
            learned_with_it=learned_with_predictor(settings.policy),
        )
        engine = Engine(
            predictor=predictors.chain,
            pool=parts.pool,
            sample=parts.sample,
            policies=parts.policies,
            money=money,
            batching=settings.batching,
            id_prefix=secrets.token_hex(5),
            metrics=metrics,
        )
        reloader = Reloader(predictors, watch)
        service = cls(settings, engine, metrics, reloader, health, entrance)
        try:
            await engine.warm_up()
            await service._open()
        except BaseException:
            await service._close_metrics()
            await engine.close(0.0)
            await reloader.close()
            raise
        reloader.follow(settings)
        return service

    async def stop(self) -> bool:
        """Drains: health says NOT_SERVING, new calls are refused, accepted ones are answered.

        Returns:
            Whether all of them were answered before the grace period ended.
        """
        grace_s = self._settings.shutdown_grace_s
        deadline_s = monotonic() + grace_s
        _log.info("draining", grace_s=grace_s)
        self.metrics.draining()
        await self._health.servicer.enter_graceful_shutdown()
        if self.processor is not None:
            # First: what its streams learn is booked by the engine.
            await self.processor.close(grace_s / 2)
        in_time = await self.engine.close(max(0.0, deadline_s - monotonic()))
        await self._router.drained(max(0.0, deadline_s - monotonic()))
        await self._server.stop(STREAM_GRACE_S)
        if self._listeners is not None:
            self._listeners.remove_socket_files()
        await self._close_metrics()
        await self.reloader.close()
        _log.info("stopped", in_time=in_time)
        return in_time

    async def _open(self) -> None:
        settings = self._settings
        self._server.add_generic_rpc_handlers((self._router.handler(),))
        if self.processor is not None:
            self._server.add_generic_rpc_handlers((self.processor.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        if settings.security.reflection:
            reflection.enable_server_reflection(
                (
                    router_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,
                    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                    reflection.SERVICE_NAME,
                ),
                self._server,
            )
        # Before the port for calls, which a server that was never started does not give back.
        if settings.metrics.enabled:
            self._open_metrics()
        self._listeners = open_listeners(self._server, settings, self._entrance.certificates)
        self.addresses = self._listeners.addresses
        self.address = self.addresses[0]
        await self._server.start()
        engine = self.engine
        self.metrics.started(
            {
                "version": __version__,
                "predictor": engine.versions.predictor,
                "backend": engine.predictor.backend,
                "policy": engine.versions.policy,
            },
            lambda: engine.price,
        )
        await self._health.serving("", SERVICE)
        _log.info("serving", addresses=self.addresses, metrics=self.metrics_address)

    def _open_metrics(self) -> None:
        listen = self._settings.metrics.listen
        host, _, port = listen.rpartition(":")
        try:
            http, thread = start_http_server(int(port), host, self.metrics.registry)
        except OSError as error:
            raise ConfigError(
                f"cannot serve metrics on {listen}: {error.strerror}; set another address with"
                " metrics.listen or metrics.enabled to false"
            ) from None
        self._metrics_server = (http, thread)
        self.metrics_address = f"{host}:{http.server_port}"

    async def _close_metrics(self) -> None:
        if self._metrics_server is not None:
            http, thread = self._metrics_server
            await asyncio.to_thread(http.shutdown)  # type: ignore[attr-defined]
            http.server_close()  # type: ignore[attr-defined]
            thread.join()  # type: ignore[attr-defined]
            self._metrics_server = None
