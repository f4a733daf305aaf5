"""Starts the service for a load, with Triton, Redis or an Envoy where a run needs them."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.process import ServerProcess
from routoo.predictor.artifact import shipped_artifact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# Benchmarks start servers by the helpers of the tests.
TESTS = Path(__file__).resolve().parents[2] / "tests"
BUDGET = {"name": "all", "usd": 1e6, "per": "1h"}


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """A service that runs.

    Attributes:
        service: the process of ``routoo serve``.
        address: the address of its gRPC API.
        kill: kills the server that the fault is about; None: the fault is about no server.
        http_port: the port of an Envoy in front of it; None: there is none.
    """

    service: ServerProcess
    address: str
    kill: Callable[[], None] | None
    http_port: int | None

    @property
    def pid(self) -> int:
        """The process id of the service."""
        return int(self.service.field("pid"))


@asynccontextmanager
async def under_load(
    folder: Path, settings: dict[str, Any], fault: str, *, envoy: bool, arguments: list[str]
) -> AsyncIterator[UnderLoad]:
    """Starts the service and its peers on free ports of this machine, and stops them.

    Args:
        folder: gets their files.
        settings: the service's settings, beside its addresses.
        fault: "predictor" puts the predictor on Triton, "redis" the budgets into Redis.
        envoy: whether an Envoy with canned LLMs as upstreams stands in front of the service.
        arguments: further arguments of ``routoo serve``.
    """
    # Parts for Triton and Envoy are not installed everywhere, so they are imported when needed.
    settings = {
        "listen": "127.0.0.1:0",
        "http": {"listen": ""},
        "metrics": {"listen": "127.0.0.1:0"},
        **settings,
    }
    async with AsyncExitStack() as stack:
        kill = None
        if fault == "predictor":
            kill = stack.enter_context(_on_triton(folder, settings))
        if fault == "redis":
            kill = stack.enter_context(_on_redis(folder, settings))
        if envoy:
            settings["processor"] = {"enabled": True, "usage_from": "access_log"}
        config = folder / "routoo.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "routoo.cli", "serve", "--config", str(config)]
        service = ServerProcess.start([*command, *arguments], os.environ)
        if fault == "term":  # the run itself ends the service
            stack.callback(service.stop)
        else:
            stack.enter_context(service)
        http_port = None
        if envoy:
            port = int(service.address.rpartition(":")[2])
            http_port = await stack.enter_async_context(_envoy(folder, port))
        yield UnderLoad(service, service.address, kill, http_port)


@contextmanager
def _on_triton(folder: Path, settings: dict[str, Any]) -> Iterator[Callable[[], None]]:
    import signal  # noqa: PLC0415

    from harness.triton import (  # noqa: PLC0415
        make_repository,
        triton_server,
    )

    repository = make_repository(
        shipped_artifact(), folder / "repository", batching=False, threads=1
    )
    with triton_server(repository) as triton:
        settings["predictor"] = {
            "backend": "triton",
            "artifact": str(repository / "predictor"),
            "triton": {"url": triton.field("grpc")},
        }
        pid = int(triton.field("pid"))
        yield lambda: os.kill(pid, signal.SIGKILL)


@contextmanager
def _on_redis(folder: Path, settings: dict[str, Any]) -> Iterator[Callable[[], None]]:
    sys.path.append(str(TESTS))
    from support.peers.redis_server import RedisServer  # noqa: PLC0415

    redis = RedisServer(folder)
    settings["budgets"] = [BUDGET]
    settings["ledger"] = {"backend": "redis", "redis_url": redis.url}
    try:
        yield redis.stop
    finally:
        redis.stop()


@asynccontextmanager
async def _envoy(folder: Path, routoo_port: int) -> AsyncIterator[int]:
    sys.path.append(str(TESTS))
    from support.peers.llm_upstream import upstream  # noqa: PLC0415
    from support.peers.real_envoy import envoy_config, running_envoy  # noqa: PLC0415

    async with upstream() as llms:
        llms.received = deque(maxlen=1)  # by default it keeps all requests
        config, port = envoy_config(routoo=routoo_port, local=llms.port, hosted=llms.port)
        async with running_envoy(config, folder, port):
            yield port
