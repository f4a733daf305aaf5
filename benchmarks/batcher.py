"""The gain of Triton's dynamic batcher with several services before one server.

Each front end is a process with the service's Triton predictor, as ``routoo serve`` has it, and
sends its next batch when the last is answered. Two servers hold the same artifact, one with the
dynamic batcher and one without; the front ends turn from one to the other within a round, so that
other work on the machine affects both alike. Every ratio is the median of the rounds' ratios.

Without --artifact: the whole of MiniLM at int8 with made-up heads. A predictor that is given its
models' rows, as the shipped one, has no batcher on Triton.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.artifacts import artifacts_or_defaults
from harness.command import make_parser, run
from harness.process import StartError
from harness.prompts import distinct_prompts
from harness.triton import make_repository, triton_server
from routoo.config.sections.predictor import PredictorSettings, TritonSettings
from routoo.predictor.artifact import load_artifact
from routoo.predictor.backends import load_backends
from routoo.predictor.triton import TritonServer

if TYPE_CHECKING:
    from argparse import Namespace
    from multiprocessing.connection import Connection

FRONTS = (1, 2, 4)
SIZES = (1, 8)
TOKENS = 64
PATIENCE_S = 120.0
SETTINGS = PredictorSettings(
    backend="triton",
    fallbacks=("onnx",),
    provider="cpu",
    triton=TritonSettings(timeout_ms=1e3 * PATIENCE_S),
)
OFF, ON = "off", "on"


@dataclass(frozen=True, slots=True)
class Effort:
    """The number of rounds, and the length of a server's turn in one."""

    rounds: int
    turn_s: float


FULL = Effort(rounds=5, turn_s=3.0)
QUICK = Effort(rounds=2, turn_s=1.0)


def front(artifact: Path, urls: dict[str, str], orders: Connection) -> None:
    """Runs a front end: it answers each order (server, prompts a batch, seconds) with times."""
    remotes = {}
    for name, url in urls.items():
        backends = load_backends(load_artifact(artifact), SETTINGS, TritonServer(url))
        assert backends.remote is not None
        backends.remote.verify(backends.sample)
        remotes[name] = backends.remote
    encoder = backends.local[0].graph.encoder  # type: ignore[attr-defined]
    prompts = distinct_prompts(
        max(SIZES), TOKENS, lambda text: int(encoder.encode([text]).input_tokens[0])
    )
    orders.send("ready")
    while (order := orders.recv()) is not None:
        name, size, turn_s = order
        batch, times, until_s = prompts[:size], [], perf_counter() + turn_s
        while (started_s := perf_counter()) < until_s:
            remotes[name].predict(batch)
            times.append(perf_counter() - started_s)
        orders.send(times)


def measure(pipes: list[Connection], size: int, effort: Effort) -> dict[str, Any]:
    """Measures both servers with one front end per pipe; figures by server."""
    times: dict[str, list[float]] = {OFF: [], ON: []}
    rates: dict[str, list[float]] = {OFF: [], ON: []}
    for number in range(effort.rounds):
        for name in (OFF, ON) if number % 2 else (ON, OFF):
            for pipe in pipes:
                pipe.send((name, size, effort.turn_s))
            taken = [time_s for pipe in pipes for time_s in pipe.recv()]
            times[name] += taken
            rates[name].append(size * len(taken) / effort.turn_s)
    found: dict[str, Any] = {}
    for name, all_s in times.items():
        p50_s, p99_s = np.percentile(all_s, [50, 99]).tolist()
        found[name] = {
            "calls": len(all_s),
            "prompts_per_s": statistics.median(rates[name]),
            "p50_ms": 1e3 * p50_s,
            "p99_ms": 1e3 * p99_s,
        }
    found["on_over_off"] = statistics.median(
        on / off for on, off in zip(rates[ON], rates[OFF], strict=True)
    )
    return found


def measure_artifact(folder: Path, effort: Effort) -> dict[str, Any]:
    """Measures an artifact with all numbers of front ends and all sizes of batches."""
    artifact = load_artifact(folder)
    rows = []
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        urls = {}
        for name in (OFF, ON):
            repository = make_repository(
                artifact.folder, Path(scratch, name), batching=name == ON, threads=1
            )
            urls[name] = stack.enter_context(triton_server(repository)).field("grpc")
        pipes = []
        for _ in range(max(FRONTS)):
            mine, theirs = context.Pipe()
            process = context.Process(target=front, args=(folder, urls, theirs), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(mine.send, None)
            pipes.append(mine)
        for pipe in pipes:
            pipe.recv()
        for fronts in FRONTS:
            for size in SIZES:
                found = measure(pipes[:fronts], size, effort)
                rows.append({"front_ends": fronts, "prompts_a_call": size, **found})
    return {"predictor": artifact.manifest.predictor_version, "rows": rows}


def show(figures: dict[str, Any]) -> None:
    """Prints the figures of each artifact as a table."""
    console = Console()
    for one in figures["artifacts"]:
        table = Table(title=f"{one['predictor']}, prompts of {TOKENS} tokens", box=SIMPLE_HEAD)
        headings = ("front ends", "prompts a call", "prompts/s off", "on", "on / off")
        for heading in (*headings, "p50 ms off", "on", "p99 ms off", "on"):
            table.add_column(heading, justify="right")
        for row in one["rows"]:
            table.add_row(
                str(row["front_ends"]),
                str(row["prompts_a_call"]),
                *(f"{row[name]['prompts_per_s']:.0f}" for name in (OFF, ON)),
                f"{row['on_over_off']:.2f}",
                *(f"{row[name]['p50_ms']:.2f}" for name in (OFF, ON)),
                *(f"{row[name]['p99_ms']:.2f}" for name in (OFF, ON)),
            )
        console.print(table)


def measure_all(options: Namespace) -> dict[str, Any]:
    """Measures all artifacts."""
    effort = QUICK if options.quick else FULL
    with artifacts_or_defaults(options.artifact, shipped=False) as folders:
        artifacts = [measure_artifact(one, effort) for one in folders]
    return {"machine": {"cpus": os.cpu_count()}, "artifacts": artifacts}


def main() -> int:
    parser = make_parser(__doc__, quick="two short rounds", whole=True)
    parser.add_argument("--artifact", type=Path, action="append", help="version folder; repeatable")
    return run(parser.parse_args(), measure_all, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
