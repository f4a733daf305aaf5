"""Latencies, errors and memory of the service under a load.

Starts the service on this machine, alone or behind an Envoy, and loads it by a profile:

  steady  so many callers, or calls per second, all the time
  ramp    from an eighth of that to twice of it
  burst   four times of it for a fifth of the time, a quarter in between
  soak    as steady, with prompts of 5 to 4,000 tokens; judges the memory

while nothing goes wrong, or one thing does:

  reload     its settings are read again every second
  predictor  the Triton server that predicts is killed after a third of the time
  redis      the Redis with its budgets is killed then
  vanish     twice a second, a client with 16 calls in flight loses its connection
  term       the service is told to stop at two thirds of the time

Everything stays on this machine, and ends after --seconds or --most-calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness import command, faults
from harness.callers import GrpcCaller, HttpCaller
from harness.memory import MemoryWatch, cpu_s
from harness.process import StartError
from harness.profiles import PROFILES, Calls, Load, make
from harness.prompts import varied_prompts
from harness.under_load import UnderLoad, under_load

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Awaitable

MOST_SECONDS = 7200.0
PROMPTS = 480
CALL_TIMEOUT_S = 10.0
WINDOWS = 10
# The soak's marks: minute 2, and the last third of a minute; of a shorter run, as early a share.
SETTLED_S, SETTLED_SHARE, MARK_S = 120.0, 0.2, 20.0
NO_FAILURES = {"OK", "REFUSED", "RESOURCE_EXHAUSTED", "NOBODY"}
"""Statuses that are no failures when the service stops: answered, or never accepted."""


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of one run."""

    profile: str
    fault: str
    envoy: bool
    load: Load
    settings: dict[str, Any]
    arguments: list[str]


def prompts_of(profile: str) -> list[str]:
    """Returns different prompts, the same in every run; the soak's have very different lengths."""
    texts = varied_prompts(PROMPTS)
    if profile != "soak":
        return texts
    # 1, 2, 4 ... 64 texts in one, the long ones as often as the short ones.
    return ["\n".join(texts[row : row + 2 ** (row % 7)]) for row in range(PROMPTS)]


async def measure(run: Run, folder: Path) -> dict[str, Any]:
    """Makes one run; the result is one JSON object.

    Raises:
        StartError: a server did not start or stop as it should.
    """
    texts = prompts_of(run.profile)
    calls = Calls()
    happened: list[float] = []
    async with under_load(
        folder, run.settings, run.fault, envoy=run.envoy, arguments=run.arguments
    ) as target:
        if target.http_port is None:
            caller: GrpcCaller | HttpCaller = GrpcCaller(
                target.address, texts, concurrency=run.load.concurrency, timeout_s=CALL_TIMEOUT_S
            )
        else:
            caller = HttpCaller(target.http_port, texts, timeout_s=CALL_TIMEOUT_S)
        with MemoryWatch(target.pid, interval_s=max(0.1, run.load.duration_s / 1000)) as memory:
            used_s = cpu_s(target.pid)
            load = make(run.load, caller, calls, lambda: target.service.has_ended)
            await faults.alongside(load, _faults_of(run, target, texts, happened))
            used_s = 0.0 if target.service.has_ended else cpu_s(target.pid) - used_s
        await caller.close()
        exit_code = target.service.stop() if run.fault == "term" else None
    return {
        "benchmark": "load",
        "profile": run.profile,
        "fault": run.fault,
        "through": "envoy" if run.envoy else "grpc",
        "concurrency": run.load.concurrency,
        "rate_per_s": run.load.rate_per_s,
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "load_1min": os.getloadavg()[0],
        **figures(run, calls),
        "degraded": getattr(caller, "degraded", None),
        "happened": len(happened),
        "exit_code": exit_code,
        "cpu_s_per_1000_calls": 1e3 * used_s / len(calls.took_s) if calls.took_s else None,
        "memory": memory_figures(memory, run.load.duration_s),
        "windows": windows(run, calls),
    }


def _faults_of(
    run: Run, target: UnderLoad, texts: list[str], happened: list[float]
) -> list[Awaitable[None]]:
    loop, duration_s = asyncio.get_running_loop(), run.load.duration_s

    def note() -> None:
        happened.append(loop.time())

    def kill() -> None:
        assert target.kill is not None
        target.kill()
        note()

    def send(number: signal.Signals) -> None:
        os.kill(target.pid, number)
        note()

    match run.fault:
        case "reload":
            return [faults.every(1.0, lambda: send(signal.SIGHUP))]
        case "predictor" | "redis":
            return [faults.once(duration_s / 3, kill)]
        case "vanish":
            return [faults.vanish(target.address, texts, note)]
        case "term":
            return [faults.once(duration_s * 2 / 3, lambda: send(signal.SIGTERM))]
    return []


def figures(run: Run, calls: Calls) -> dict[str, Any]:
    """Sums up the whole run; ``failed`` counts calls that were accepted and not answered."""
    by_status = calls.by_status()
    good = NO_FAILURES if run.fault == "term" else {"OK"}
    answered = by_status.get("OK", 0)
    lasted_s = max((b + t for b, t in zip(calls.began_s, calls.took_s, strict=True)), default=0.0)
    return {
        "calls": len(calls.took_s),
        "unsent": calls.unsent,
        "by_status": by_status,
        "failed": sum(n for status, n in by_status.items() if status not in good),
        "lasted_s": lasted_s,
        "answered_per_s": answered / lasted_s if lasted_s else 0.0,
        **calls.latencies(),
    }


def windows(run: Run, calls: Calls) -> list[dict[str, Any]]:
    """Returns the latencies of each tenth of the run."""
    length_s = run.load.duration_s / WINDOWS
    return [
        {"from_s": at * length_s, **calls.latencies(at * length_s, (at + 1) * length_s)}
        for at in range(WINDOWS)
    ]


def memory_figures(memory: MemoryWatch, duration_s: float) -> dict[str, Any]:
    """Returns the memory when it had settled, that at the end, and its growth in between."""
    settled_s = min(SETTLED_S, SETTLED_SHARE * duration_s)
    mark_s = min(MARK_S, SETTLED_SHARE * duration_s / 2)
    settled = memory.mean_mb(settled_s - mark_s / 2, settled_s + mark_s / 2)
    end = memory.mean_mb(duration_s - mark_s, duration_s)
    return {
        "settled_at_s": settled_s,
        "start_mb": memory.mb[0] if memory.mb else None,
        "settled_mb": settled,
        "end_mb": end,
        "growth": end / settled - 1.0 if settled and end else None,
        "at_s": memory.at_s,
        "mb": memory.mb,
    }


def plot(result: dict[str, Any], calls: Path) -> None:
    """Draws the latencies of the windows and the memory over time, as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - only for this

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 6), layout="constrained")
    at_s = [window["from_s"] for window in result["windows"]]
    for name in ("p50_ms", "p99_ms", "p99_9_ms"):
        above.plot(at_s, [window[name] for window in result["windows"]], marker="o", label=name)
    above.set(yscale="log", ylabel="latency of answered calls, ms")
    above.set_title(
        f"{result['profile']}, fault {result['fault']}, through {result['through']}:"
        f" {result['answered_per_s']:.0f} calls/s, {result['failed']} failed"
    )
    above.legend()
    memory = result["memory"]
    below.plot(memory["at_s"], memory["mb"])
    below.axvline(memory["settled_at_s"], linestyle=":", color="grey")
    below.set(xlabel="s", ylabel="resident, MB", ylim=(0, None))
    figure.savefig(calls, dpi=110)
    plt.close(figure)


def show(result: dict[str, Any]) -> None:
    """Prints the figures that people look at."""
    console = Console()
    statuses = ", ".join(f"{name} {n:,}" for name, n in result["by_status"].items()) or "none"
    console.print(
        f"{result['profile']} through {result['through']}, fault {result['fault']}"
        f" ({result['happened']} times), {result['lasted_s']:.0f} s\n"
        f"calls: {statuses}; failed {result['failed']:,}; {result['answered_per_s']:,.0f} answered"
        f" per second",
        highlight=False,
    )
    if result["p50_ms"] is not None:
        console.print(
            f"latency: p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.1f} ms, p99.9"
            f" {result['p99_9_ms']:.1f} ms, worst {result['worst_ms']:.0f} ms",
            highlight=False,
        )
    memory = result["memory"]
    if memory["growth"] is not None:
        console.print(
            f"memory: {memory['start_mb']:.0f} MB at the start, {memory['settled_mb']:.1f} MB at"
            f" {memory['settled_at_s']:.0f} s, {memory['end_mb']:.1f} MB at the end"
            f" ({memory['growth']:+.1%})",
            highlight=False,
        )
    if result["cpu_s_per_1000_calls"]:
        console.print(f"CPU of the service: {result['cpu_s_per_1000_calls']:.2f} s per 1,000 calls")


def measure_run(options: Namespace) -> dict[str, Any]:
    """Makes the run that the command line describes, and draws its plot.

    Raises:
        StartError: a server did not start or stop as it should.
    """
    run = Run(
        profile=options.profile,
        fault=options.fault,
        envoy=options.through == "envoy",
        load=Load(
            stages=PROFILES[options.profile](options.seconds),
            concurrency=options.concurrency,
            rate_per_s=options.rate,
            most_calls=options.most_calls,
        ),
        settings=options.settings,
        arguments=[] if options.workers is None else ["--workers", str(options.workers)],
    )
    with TemporaryDirectory() as folder:
        result = asyncio.run(measure(run, Path(folder)))
    if options.plot is not None:
        plot(result, options.plot)
    return result


def main() -> int:
    parser = command.make_parser(__doc__, whole=True)
    parser.add_argument("profile", choices=tuple(PROFILES))
    parser.add_argument("--fault", choices=faults.FAULTS, default="none")
    parser.add_argument("--through", choices=("grpc", "envoy"), default="grpc")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--concurrency", type=int, default=16, help="callers of the base load")
    parser.add_argument("--rate", type=float, help="calls per second instead of callers")
    parser.add_argument("--most-calls", type=int, default=5_000_000)
    parser.add_argument("--settings", type=json.loads, default={}, help="of the service, as JSON")
    parser.add_argument("--workers", type=int, help="processes of the service")
    parser.add_argument("--plot", type=Path, help="write a PNG there")
    options = parser.parse_args()
    if not (0 < options.seconds <= MOST_SECONDS and 1 <= options.concurrency <= 1024):
        parser.error(f"--seconds up to {MOST_SECONDS:.0f}, --concurrency from 1 to 1024")
    if options.rate is not None and options.rate <= 0:
        parser.error("--rate above 0")
    return command.run(options, measure_run, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
