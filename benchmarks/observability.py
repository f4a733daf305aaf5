"""The cost of log, traces, exploring and learning per call, and the speed of a replay.

Starts the service once without them, once with each and once with some, and loads all in turn in
one run; a ratio is the median of the rounds' own ratios. Traces go to a collector in this process
that answers and keeps nothing. The log that was written meanwhile is then replayed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import grpc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.command import make_parser, run
from harness.load import GrpcClient, Load, LoadError
from harness.process import ServerProcess, StartError
from harness.prompts import varied_prompts
from routoo.telemetry.otlp_transport import EXPORT
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from harness.load import Sample

CONCURRENCIES = (1, 32)
# The same work for all: nothing is refused early.
PATIENCE = {"ROUTOO_OVERLOAD__MAX_WAIT_MS": "60000", "ROUTOO_OVERLOAD__OVERLOADED_WAIT_MS": "60000"}
PROMPTS = 256
# Money enough for the whole share.
EXPLORING = {
    "ROUTOO_BUDGETS": '[{"name": "x", "usd": 1e6, "per": "1d", "pays_for": "exploration"}]',
    "ROUTOO_POLICY__EXPLORE__SHARE": "0.02",
    "ROUTOO_POLICY__EXPLORE__BUDGET": "x",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """The sample of one run, and the service's processor time per call in it."""

    sample: Sample
    cpu_ms: float


@contextmanager
def collector() -> Iterator[str]:
    """Runs a collector that drops its spans, and yields its URL."""
    service, _, method = EXPORT[1:].partition("/")
    answer = grpc.unary_unary_rpc_method_handler(lambda _body, _context: b"", None, None)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: answer}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def modes(log: Path, endpoint: str) -> dict[str, dict[str, str]]:
    """Returns the settings to compare, as variables of the environment, by name."""
    logged = {"ROUTOO_DECISION_LOG__PATH": str(log)}
    traced = {"ROUTOO_TRACING__ENABLED": "true", "ROUTOO_TRACING__ENDPOINT": endpoint}
    every = {**traced, "ROUTOO_TRACING__SAMPLE_RATIO": "1"}
    return {
        "neither": {},
        "log, every decision": logged,
        "traces, 1 % of the calls": {**traced, "ROUTOO_TRACING__SAMPLE_RATIO": "0.01"},
        "traces, every call": every,
        "log and traces, everything": {**every, "ROUTOO_DECISION_LOG__PATH": f"{log}-both"},
        "exploring": EXPLORING,
        "exploring and log": {**EXPLORING, "ROUTOO_DECISION_LOG__PATH": f"{log}-explored"},
        "exploring, learning and log": {
            **EXPLORING,
            "ROUTOO_LEARNING__ENABLED": "true",
            "ROUTOO_DECISION_LOG__PATH": f"{log}-learned",
        },
    }


def measure(rounds: int, duration_s: float, folder: Path) -> dict[str, Any]:
    """Loads all services in turn.

    Raises:
        LoadError: a call failed.
        StartError: a service did not start or end well.
    """
    bodies = [RouteRequest(prompt=one).SerializeToString() for one in varied_prompts(PROMPTS)]
    samples: dict[str, dict[int, list[Measured]]] = {}
    log = folder / "decisions.jsonl"
    bare = {name: one for name, one in os.environ.items() if not name.startswith("ROUTOO_")}
    bare |= PATIENCE
    with ExitStack() as stack:
        endpoint = stack.enter_context(collector())
        command = [sys.executable, "-m", "routoo.cli", "serve", "--listen", "127.0.0.1:0"]
        command += ["--http-listen", ""]
        services = {
            name: stack.enter_context(
                ServerProcess.start(
                    [*command, "--metrics-listen", "127.0.0.1:0"],
                    {**bare, **settings},
                )
            )
            for name, settings in modes(log, endpoint).items()
        }
        for service in services.values():
            GrpcClient().run(service.address, bodies, Load(CONCURRENCIES[1], 0.0, 0.5))
        for _ in range(rounds):
            for concurrency in CONCURRENCIES:
                load = Load(concurrency, 0.0, duration_s)
                for name, service in services.items():
                    before_s = service.cpu_s()
                    sample = GrpcClient().run(service.address, bodies, load)
                    cpu_ms = (service.cpu_s() - before_s) * 1e3 / sample.calls
                    by_concurrency = samples.setdefault(name, {})
                    by_concurrency.setdefault(concurrency, []).append(Measured(sample, cpu_ms))
    return {"service": _compared(samples), "replay": _replayed(log)}


def _compared(samples: dict[str, dict[int, list[Measured]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, by_concurrency in samples.items():
        pairs = {
            concurrency: list(zip(runs, samples["neither"][concurrency], strict=True))
            for concurrency, runs in by_concurrency.items()
        }
        one, many = (pairs[concurrency] for concurrency in CONCURRENCIES)
        found[name] = {
            "p50_ms": median(on.sample.p50_ms for on, _ in one),
            "p50_added_ms": median(on.sample.p50_ms - off.sample.p50_ms for on, off in one),
            "requests_per_s": median(on.sample.requests_per_s for on, _ in many),
            "requests_per_s_ratio": median(
                on.sample.requests_per_s / off.sample.requests_per_s for on, off in many
            ),
            "p99_ms": median(on.sample.p99_ms for on, _ in many),
            "cpu_ms_per_call": median(on.cpu_ms for on, _ in many),
            "cpu_ratio": median(on.cpu_ms / off.cpu_ms for on, off in many),
        }
    return found


def _replayed(log: Path) -> dict[str, Any]:
    """Replays the log of this run.

    Raises:
        LoadError: a decision was not reproduced bit for bit.
    """
    command = [sys.executable, "-m", "routoo.cli", "replay", str(log), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadError(f"the log of this run does not replay: {done.stderr or done.stdout[:300]}")
    found = json.loads(done.stdout)
    return {
        "decisions": found["decisions"],
        "seconds": found["seconds"],
        "decisions_per_s": found["decisions"] / found["seconds"],
        "bytes_per_decision": log.stat().st_size / found["decisions"],
    }


def show(found: dict[str, Any]) -> None:
    """Prints both parts."""
    table = Table(box=SIMPLE_HEAD, title="prompts that differ, grpc.aio client")
    many = CONCURRENCIES[1]
    headers = ("p50, 1 at a time", "added", f"calls/s, {many}", "ratio", "p99", "CPU/call", "ratio")
    table.add_column("on")
    for header in headers:
        table.add_column(header, justify="right")
    for name, figures in found["service"].items():
        table.add_row(
            name,
            f"{figures['p50_ms']:.2f} ms",
            f"{figures['p50_added_ms']:+.2f} ms",
            f"{figures['requests_per_s']:,.0f}",
            f"{figures['requests_per_s_ratio']:.2f}",
            f"{figures['p99_ms']:.1f} ms",
            f"{figures['cpu_ms_per_call']:.2f} ms",
            f"{figures['cpu_ratio']:.2f}",
        )
    console = Console()
    console.print(table)
    replay = found["replay"]
    console.print(
        f"replay: {replay['decisions']:,} decisions in {replay['seconds']:.2f} s,"
        f" {replay['decisions_per_s']:,.0f} a second; {replay['bytes_per_decision']:.0f} bytes each"
    )


def measure_services(options: Namespace) -> dict[str, Any]:
    """Measures as the command line asks; raises what ``measure`` raises."""
    with TemporaryDirectory() as folder:
        return measure(options.rounds, options.duration_s, Path(folder))


def main() -> int:
    parser = make_parser(__doc__, whole=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--duration-s", type=float, default=1.0)
    return run(parser.parse_args(), measure_services, show, errors=(LoadError, StartError))


if __name__ == "__main__":
    sys.exit(main())
