"""Failed calls and latencies when the Triton server dies, or a new version is rolled out.

Starts a real Triton server and the service before it, loads the service with Route calls, and in
the middle of the load does one thing to the server: kills it (SIGKILL), stops it (SIGSTOP, and
SIGCONT later), or has a new version loaded by a reload. Reports failed calls, and the latencies
before, in the second after, and in the rest.

With --outage, a provider of models behind an Envoy dies at a quarter of the time, and returns at
seven twelfths: it refuses connections, answers 503 or 429, or is silent. Reports failed requests,
the share of them that still went there two seconds after its death, how long it took until it
answered again, and what the budget has booked and the providers have billed, in nano-dollars.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import yaml
from rich.console import Console

from harness.command import make_parser, run
from harness.outage import DEATHS, Plan, measure_outage
from harness.process import ServerProcess, StartError
from harness.prompts import varied_prompts
from harness.triton import make_repository, triton_server
from routoo.predictor.artifact import shipped_artifact
from routoo.v1.route_pb2 import RouteRequest, RouteResponse

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

METHOD_PATH = "/routoo.v1.RouterService/Route"
CALLS_PER_CHANNEL = 8
PROMPTS = 128
CALL_TIMEOUT_S = 30.0
AFTER_S = 1.0
TROUBLES = ("kill", "hang", "rollout")


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        began_s: by ``perf_counter``.
        ended_s: by ``perf_counter``.
        reply: None: the call failed.
    """

    began_s: float
    ended_s: float
    reply: RouteResponse | None


async def load(
    address: str,
    concurrency: int,
    duration_s: float,
    events: Sequence[tuple[float, Callable[[], Any]]],
) -> tuple[list[Call], list[float]]:
    """Makes calls for ``duration_s`` seconds, and causes the events meanwhile.

    Args:
        address: of the service.
        concurrency: the number of callers.
        duration_s: the length of the load.
        events: pairs of a time, in seconds from the start, and a function.

    Returns:
        The calls, and the times of the events by ``perf_counter``.
    """
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.insecure_channel(address, options)
        for _ in range(-(-concurrency // CALLS_PER_CHANNEL))
    ]
    bodies = [RouteRequest(prompt=text).SerializeToString() for text in varied_prompts(PROMPTS)]
    calls: list[Call] = []
    until_s = perf_counter() + duration_s

    async def caller(number: int) -> None:
        call = channels[number % len(channels)].unary_unary(
            METHOD_PATH, None, RouteResponse.FromString
        )
        position = number
        while (began_s := perf_counter()) < until_s:
            position += 1
            try:
                reply = await call(bodies[position % len(bodies)], timeout=CALL_TIMEOUT_S)
                calls.append(Call(began_s, perf_counter(), reply))
            except grpc.aio.AioRpcError:
                calls.append(Call(began_s, perf_counter(), None))

    happened: list[float] = []

    async def happen() -> None:
        started_s = perf_counter()
        for at_s, event in events:
            await asyncio.sleep(at_s - (perf_counter() - started_s))
            happened.append(perf_counter())
            event()

    await asyncio.gather(happen(), *map(caller, range(concurrency)))
    for channel in channels:
        await channel.close(None)
    return calls, happened


def latencies(calls: Sequence[Call]) -> dict[str, float]:
    """Returns percentiles of the latencies of some calls, in milliseconds."""
    if not calls:
        return {"calls": 0}
    times_ms = [1e3 * (one.ended_s - one.began_s) for one in calls]
    p50_ms, p99_ms = np.percentile(times_ms, [50, 99]).tolist()
    return {"calls": len(calls), "p50_ms": p50_ms, "p99_ms": p99_ms, "worst_ms": max(times_ms)}


def summary(calls: Sequence[Call], event_s: float) -> dict[str, Any]:
    """Sums up calls that ended before the event, in the second after it, and later."""
    after_s = event_s + AFTER_S
    replies = [one.reply for one in calls if one.reply is not None]
    return {
        "calls": len(calls),
        "failed": len(calls) - len(replies),
        "degraded": sum(reply.degraded for reply in replies),
        "versions": sorted({reply.predictor_version for reply in replies}),
        "before": latencies([one for one in calls if one.ended_s < event_s]),
        "second_after": latencies([one for one in calls if event_s <= one.ended_s < after_s]),
        "rest": latencies([one for one in calls if one.ended_s >= after_s]),
    }


def measure_trouble(
    what: str, artifact: Path, concurrency: int, duration_s: float
) -> dict[str, Any]:
    """Loads a service and makes one kind of trouble meanwhile."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = make_repository(artifact, folder / "repository", batching=False, threads=1)
        with triton_server(repository) as triton:
            pid = int(triton.field("pid"))
            config = folder / "config.yaml"
            predictor = {
                "backend": "triton",
                "artifact": str(repository / "predictor"),
                "triton": {"url": triton.field("grpc"), "control": "explicit"},
            }
            settings = {
                "listen": "127.0.0.1:0",
                "http": {"listen": ""},
                "metrics": {"enabled": False},
                "predictor": predictor,
            }
            config.write_text(yaml.safe_dump(settings))
            command = [sys.executable, "-m", "routoo.cli", "serve", "--config", str(config)]
            with ServerProcess.start(command, os.environ) as service:
                service_pid = int(service.field("pid"))
                at_s = duration_s / 3
                events: dict[str, list[tuple[float, Callable[[], Any]]]] = {
                    "kill": [(at_s, lambda: os.kill(pid, signal.SIGKILL))],
                    "hang": [
                        (at_s, lambda: os.kill(pid, signal.SIGSTOP)),
                        (2 * at_s, lambda: os.kill(pid, signal.SIGCONT)),
                    ],
                    "rollout": [(at_s, lambda: os.kill(service_pid, signal.SIGHUP))],
                }
                if what == "rollout":
                    shutil.copytree(repository / "predictor" / "1", repository / "predictor" / "2")
                calls, happened = asyncio.run(
                    load(service.address, concurrency, duration_s, events[what])
                )
    return {"what": what, "concurrency": concurrency, **summary(calls, happened[0])}


def measure(options: Namespace) -> dict[str, Any]:
    """Measures each kind of trouble that the options name."""
    if options.outage:
        whole_s = options.duration_s
        plan = Plan(options.concurrency, whole_s / 4, whole_s * 7 / 12, whole_s)
        runs = []
        for how in options.outage:
            with TemporaryDirectory() as folder:
                runs.append(measure_outage(how, plan, Path(folder)))
        return {"load_1min": os.getloadavg()[0], "runs": runs}
    artifact = options.artifact or shipped_artifact()
    runs = [
        measure_trouble(what, artifact, options.concurrency, options.duration_s)
        for what in options.what or TROUBLES
    ]
    return {"load_1min": os.getloadavg()[0], "runs": runs}


def show(figures: dict[str, Any]) -> None:
    """Prints every run."""
    console = Console()
    for one in figures["runs"]:
        console.print(one)


def main() -> int:
    parser = make_parser(__doc__, whole=True)
    parser.add_argument("--what", choices=TROUBLES, action="append")
    parser.add_argument("--outage", choices=DEATHS, action="append", help="of a provider")
    parser.add_argument("--artifact", type=Path, help="version folder; default: the shipped one")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--duration-s", type=float, default=30.0)
    return run(parser.parse_args(), measure, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
