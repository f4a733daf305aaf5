"""The service under load, with what it depends on: Triton, Redis, or an Envoy before it."""

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

# The servers that tests start are the ones that benchmarks start.
TESTS = Path(__file__).resolve().parents[2] / "tests"
BUDGET = {"name": "all", "usd": 1e6, "per": "1h"}


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """What runs.

    Attributes:
        service: the process of ``routoo serve``.
        address: of its gRPC API.
        kill: ends what the fault is about; None where the fault is about nothing else.
        http_port: of an Envoy before it; None: there is none.
    """

    service: ServerProcess
    address: str
    kill: Callable[[], None] | None
    http_port: int | None

    @property
    def pid(self) -> int:
        """Of the service."""
        return int(self.service.field("pid"))


@asynccontextmanager
async def under_load(
    folder: Path, settings: dict[str, Any], fault: str, *, envoy: bool, arguments: list[str]
) -> AsyncIterator[UnderLoad]:
    """Starts all of it on free ports of this machine, and stops it.

    Args:
        folder: for its files.
        settings: of the service, beside its addresses.
        fault: "predictor" puts the predictor on Triton, "redis" the budgets into Redis.
        envoy: whether an Envoy with canned LLMs behind it is before the service.
        arguments: further ones of ``routoo serve``.
    """
    # Only what this run needs is imported: Triton's and Envoy's parts are not installed everywhere.
    settings = {
        "listen": "127.0.0.1:0",
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
        if fault == "term":  # its end is a part of the run
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
        llms.received = deque(maxlen=1)  # it would keep them all
        config, port = envoy_config(routoo=routoo_port, local=llms.port, hosted=llms.port)
        async with running_envoy(config, folder, port):
            yield port
