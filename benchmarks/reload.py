"""Failures and latencies of requests while the service reloads its files every second.

Starts the service on a copy of the shipped pool with a budget, calls ``Route`` all the time from
``--callers``, and every ``--interval-s`` writes other prices and another limit into the files and
sends SIGHUP. Each reload has to switch to them; the service's own count shows whether it did.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import grpc
import grpc.aio
import numpy as np
import yaml

from harness.command import make_parser, run, show_fields
from harness.process import ServerProcess, StartError
from harness.prompts import varied_prompts
from routoo.v1.route_pb2 import RouteRequest
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from argparse import Namespace

PROMPTS = 256
TIMEOUT_S = 10.0
_SETTLED_RELOADS = 10


class Files:
    """The files with the settings and the pool, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "routoo.yaml"
        self._pool = folder / "pool.yaml"
        shipped = resources.files("routoo.routing").joinpath("default_pool.yaml").read_text()
        self._models = yaml.safe_load(shipped)["models"]
        self.turn(0)

    def turn(self, number: int) -> None:
        """Writes prices and a limit that differ from those before."""
        share = 1.0 - 0.01 * (number % 10)
        models = [
            {**model, "usd_per_1m_output_tokens": model["usd_per_1m_output_tokens"] * share}
            for model in self._models
        ]
        _replace(self._pool, {"models": models})
        settings = {
            "listen": "127.0.0.1:0",
            "http": {"listen": ""},
            "metrics": {"listen": "127.0.0.1:0"},
            "pool": "pool.yaml",
            "budgets": [{"name": "day", "usd": 1e6 + number % 2, "per": "1d"}],
        }
        _replace(self.config, settings)


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Replaces a file in one step, so that a reload never reads half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(yaml.safe_dump(content))
    beside.replace(path)


async def call(
    address: str, callers: int, until: asyncio.Event
) -> tuple[Counter[str], list[float], set[str]]:
    """Makes calls until ``until`` is set; returns statuses, latencies (s) and policy versions."""
    prompts = varied_prompts(PROMPTS)
    statuses: Counter[str] = Counter()
    took_s: list[float] = []
    policies: set[str] = set()

    async def caller(number: int) -> None:
        async with grpc.aio.insecure_channel(
            address, [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub: Any = RouterServiceStub(channel)
            position = number * PROMPTS // callers
            while not until.is_set():
                request = RouteRequest(prompt=prompts[position % PROMPTS])
                position += 1
                began_s = perf_counter()
                try:
                    policies.add((await stub.Route(request, timeout=TIMEOUT_S)).policy_version)
                except grpc.aio.AioRpcError as error:
                    statuses[error.code().name] += 1
                else:
                    statuses["OK"] += 1
                    took_s.append(perf_counter() - began_s)

    await asyncio.gather(*map(caller, range(callers)))
    return statuses, took_s, policies


def reloads_of(metrics: str) -> dict[str, float]:
    """Returns the reloads by outcome, as the service counted them."""
    with urlopen(f"http://{metrics}/metrics") as page:
        lines = page.read().decode().splitlines()
    return {
        line.partition('outcome="')[2].partition('"')[0]: float(line.split()[-1])
        for line in lines
        if line.startswith("routoo_reloads_total{")
    }


async def measure(server: ServerProcess, files: Files, options: Namespace) -> dict[str, Any]:
    """Loads and reloads the service."""
    until = asyncio.Event()
    calling = asyncio.create_task(call(server.address, options.callers, until))
    pid = int(server.field("pid"))
    settled_mb = None
    times = round(options.seconds / options.interval_s)
    for number in range(1, times + 1):
        await asyncio.sleep(options.interval_s)
        files.turn(number)
        os.kill(pid, signal.SIGHUP)
        if number == _SETTLED_RELOADS:
            settled_mb = server.resident_mb()
    await asyncio.sleep(options.interval_s)
    until.set()
    statuses, took_s, policies = await calling
    outcomes = await asyncio.to_thread(reloads_of, server.field("metrics"))
    p50, p99 = np.percentile(took_s, [50, 99]) * 1e3
    failed = statuses.total() - statuses["OK"]
    return {
        "benchmark": "reload",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "seconds": options.seconds,
        "callers": options.callers,
        "asked_for": times,
        "reloads": outcomes,
        "policies_that_decided": len(policies),
        "calls": statuses.total(),
        "failed": failed,
        "statuses": dict(statuses),
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": max(took_s) * 1e3,
        "resident_mb_after_ten": settled_mb,
        "resident_mb": server.resident_mb(),
        "targets": {"failed requests: 0": failed == 0},
    }


def measure_service(options: Namespace) -> dict[str, Any]:
    """Starts the service, and measures it.

    Raises:
        StartError: the service did not start or stop as it should.
    """
    with TemporaryDirectory() as folder:
        files = Files(Path(folder))
        command = [sys.executable, "-m", "routoo.cli", "serve", "--config", str(files.config)]
        with ServerProcess.start(command, os.environ) as server:
            return asyncio.run(measure(server, files, options))


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval-s", type=float, default=1.0)
    parser.add_argument("--callers", type=int, default=16)
    return run(parser.parse_args(), measure_service, show_fields, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
