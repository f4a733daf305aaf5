"""The cost of a decision over the bare gRPC call that carries it.

Starts the service and, in the same run, a grpc.aio server that answers stored bytes of the same
length, and a Starlette server of that kind beside the HTTP front. The same client loads both in
turn (echo, route, echo, route, ...) at concurrency 1, 16 and 64; every figure is the median of the
rounds, every ratio the median of the rounds' own ratios, so that other work on the machine affects
both alike.

The replies are checked by a gRPC client before and after, and the service's own counters have to
show that every call of the load was decided and none failed.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from harness.command import make_parser, progress, run, wide_console
from harness.load import HTTP_PATH, GrpcClient, H2load, HttpLoad, Load, LoadError, LoadGenerator
from harness.probe import ServiceProbe
from harness.process import ServerProcess, StartError
from harness.prompts import prompt_of, varied_prompts
from routoo.config.loading import load_settings
from routoo.errors import RoutooError
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from harness.load import Sample

CONCURRENCIES = (1, 16, 64)
VARIED_CONCURRENCY = 64
VARIED_PROMPTS = 512
PROMPT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Effort:
    """The number of rounds, starts and predictions, and the length of a round."""

    rounds: int
    varied_rounds: int
    warm_up_s: float
    duration_s: float
    starts: int
    predictions: int


# Many short rounds, not few long ones: a burst of other work spoils a round, not the median.
FULL = Effort(rounds=5, varied_rounds=5, warm_up_s=0.3, duration_s=1.0, starts=3, predictions=3000)
QUICK = Effort(rounds=1, varied_rounds=1, warm_up_s=0.2, duration_s=0.9, starts=1, predictions=1000)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure with a bound that it has to meet."""

    what: str
    measured: float | None
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the bound is met; None: the figure could not be measured here."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the two servers that are compared."""

    echo: str
    route: str


def compare(
    generator: LoadGenerator,
    servers: Servers,
    bodies: Sequence[bytes],
    load: Load,
    rounds: int,
) -> tuple[dict[str, Any], list[Sample]]:
    """Loads both servers in turn; returns the medians and the samples of the service."""
    echo: list[Sample] = []
    route: list[Sample] = []
    for _ in range(rounds):
        echo.append(generator.run(servers.echo, bodies, load))
        route.append(generator.run(servers.route, bodies, load))
    pairs = list(zip(echo, route, strict=True))

    def median(figure: Callable[[Sample, Sample], float]) -> float:
        return statistics.median(figure(one, other) for one, other in pairs)

    figures = {
        "client": generator.name,
        "concurrency": load.concurrency,
        "connections": load.connections,
        "rounds": rounds,
        "calls": sum(sample.calls for sample in route),
        "echo": _medians(echo),
        "route": _medians(route),
        "throughput_ratio": median(lambda e, r: r.requests_per_s / e.requests_per_s),
        "p50_ratio": median(lambda e, r: r.p50_ms / e.p50_ms),
        "p99_ratio": median(lambda e, r: r.p99_ms / e.p99_ms),
        "p50_difference_ms": median(lambda e, r: r.p50_ms - e.p50_ms),
    }
    return figures, route


def _medians(samples: Sequence[Sample]) -> dict[str, float]:
    return {
        name: statistics.median(getattr(sample, name) for sample in samples)
        for name in ("requests_per_s", "p50_ms", "p99_ms")
    }


def measure(
    config: Path | None, client: str, effort: Effort, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Measures everything; the result is one JSON object.

    Raises:
        LoadError: a call failed, or a reply was not a decision.
        RoutooError: the settings or the artifact are wrong.
        StartError: a server did not start or stop as it should.
    """
    generator = _generator(client)
    tell("predictor alone")
    predictor = _predictor(config)
    prompt = prompt_of(PROMPT_TOKENS, lambda text: int(predictor.predict([text]).input_tokens[0]))
    alone = _predictor_alone(predictor, prompt, effort.predictions)

    command = [str(Path(sys.executable).with_name("routoo")), "serve"]
    command += ["--config", str(config)] if config else []
    # The benchmark needs free ports and the counters; other settings are the user's.
    environment = os.environ | {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "127.0.0.1:0",
        "ROUTOO_METRICS__ENABLED": "true",
        "ROUTOO_METRICS__LISTEN": "127.0.0.1:0",
    }
    starts_s: list[float] = []
    for number in range(effort.starts - 1):
        tell(f"start {number + 1} of {effort.starts}")
        with ServerProcess.start(command, environment) as trial:
            starts_s.append(trial.start_to_ready_s)
    with ServerProcess.start(command, environment) as route:
        starts_s.append(route.start_to_ready_s)
        loaded = _load_both(route, generator, prompt, effort, tell)
        resident_mb = route.resident_mb()

    same = {row["concurrency"]: row for row in loaded["same_prompt"]}
    http = {row["concurrency"]: row for row in loaded["over_http"]}
    targets = [
        Target(
            "/v1/route / Starlette echo throughput at 64",
            http[64]["throughput_ratio"] if http else None,
            0.6,
            at_least=True,
        ),
        Target(
            "/v1/route - Starlette echo p50 at 1, ms",
            http[1]["p50_difference_ms"] if http else None,
            1.0,
        ),
        Target("Route / echo throughput at 64", same[64]["throughput_ratio"], 0.5, at_least=True),
        Target("Route - echo p50 at 1, ms", same[1]["p50_difference_ms"], 1.0),
        Target("predictor alone p50, ms", alone["p50_ms"], 0.3),
        Target("start to ready, s", statistics.median(starts_s), 3.0),
        Target("resident memory, MB", resident_mb, 300.0),
    ]
    return {
        "benchmark": "service",
        "machine": {"cpus": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "python": platform.python_version(),
        "prompt_tokens": PROMPT_TOKENS,
        **loaded,
        "predictor_alone": alone,
        "start_to_ready_s": {"median": statistics.median(starts_s), "all": starts_s},
        "resident_mb": resident_mb,
        "targets": [asdict(target) | {"met": target.met} for target in targets],
    }


def _load_both(
    route: ServerProcess,
    generator: LoadGenerator,
    prompt: str,
    effort: Effort,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    varied = varied_prompts(VARIED_PROMPTS)
    body = RouteRequest(prompt=prompt).SerializeToString()
    with ServiceProbe(route.address, route.field("metrics")) as probe:
        before = probe.decide([prompt, *varied])
        reply_bytes = probe.reply_bytes(prompt)
        echo_script = str(Path(__file__).with_name("harness") / "echo_server.py")
        with ServerProcess.start(
            [sys.executable, echo_script, f"--reply-bytes={reply_bytes}"], os.environ
        ) as echo:
            servers = Servers(echo.address, route.address)
            counted = probe.answered()
            samples: list[Sample] = []
            same_prompt = []
            for concurrency in CONCURRENCIES:
                tell(f"{generator.name}, concurrency {concurrency}")
                load = Load(concurrency, effort.warm_up_s, effort.duration_s)
                row, measured = compare(generator, servers, [body], load, effort.rounds)
                same_prompt.append(row)
                samples += measured
            client = GrpcClient()
            tell(f"{client.name}, {VARIED_PROMPTS} prompts, concurrency {VARIED_CONCURRENCY}")
            load = Load(VARIED_CONCURRENCY, effort.warm_up_s, effort.duration_s)
            bodies = [RouteRequest(prompt=text).SerializeToString() for text in varied]
            varied_row, measured = compare(client, servers, bodies, load, effort.varied_rounds)
            samples += measured
        over_http, measured = _load_http(route, prompt, effort, tell)
        samples += measured
        probe.check_answered(counted, sum(sample.calls for sample in samples))
        after = probe.decide([prompt, *varied])
    if before.models != after.models:
        raise LoadError("the same prompts were decided otherwise after the load than before it")
    return {
        "request_bytes": len(body),
        "reply_bytes": reply_bytes,
        "same_prompt": same_prompt,
        "varied_prompts": varied_row | {"prompts": VARIED_PROMPTS},
        "over_http": over_http,
        "models_chosen": before.shares(),
        "phases_at_concurrency_1_us": before.phases_us,
    }


def _load_http(
    route: ServerProcess, prompt: str, effort: Effort, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[Sample]]:
    """Loads the HTTP front and a bare Starlette echo in turn; none without h2load."""
    rows: list[dict[str, Any]] = []
    samples: list[Sample] = []
    if shutil.which("h2load") is None:
        return rows, samples
    generator = HttpLoad()
    address = route.field("http")
    body = orjson.dumps({"prompt": prompt})
    request = Request(f"http://{address}{HTTP_PATH}", body)
    with urlopen(request, timeout=10) as reply:  # noqa: S310 - the scheme is http
        reply_bytes = len(reply.read())
    echo_script = str(Path(__file__).with_name("harness") / "echo_server.py")
    with ServerProcess.start(
        [sys.executable, echo_script, "--http", f"--reply-bytes={reply_bytes}"], os.environ
    ) as echo:
        for concurrency in CONCURRENCIES:
            tell(f"{generator.name}, concurrency {concurrency}")
            load = Load(concurrency, effort.warm_up_s, effort.duration_s, per_connection=1)
            servers = Servers(echo.address, address)
            row, measured = compare(generator, servers, [body], load, effort.rounds)
            rows.append(row)
            samples += measured
    return rows, samples


def _generator(client: str) -> LoadGenerator:
    if client == "grpc" or (client == "auto" and shutil.which("h2load") is None):
        return GrpcClient()
    return H2load()


def _predictor(config: Path | None) -> OnnxPredictor:
    settings = load_settings(config).predictor
    predictor = OnnxPredictor(
        load_artifact(settings.artifact or shipped_artifact()),
        provider=settings.provider,
        intra_op_threads=settings.intra_op_threads,
    )
    predictor.warm_up()
    return predictor


def _predictor_alone(predictor: OnnxPredictor, prompt: str, times: int) -> dict[str, float]:
    """Measures the latency of one prompt, tokenising included; the first tenth warms up."""
    spent_ms = []
    for _ in range(times):
        started_ns = perf_counter_ns()
        predictor.predict([prompt])
        spent_ms.append((perf_counter_ns() - started_ns) * 1e-6)
    quantiles = statistics.quantiles(spent_ms[times // 10 :], n=100)
    return {"p50_ms": quantiles[49], "p99_ms": quantiles[98]}


def measure_with_progress(options: Namespace) -> dict[str, Any]:
    """Measures as the command line asks; raises what ``measure`` raises."""
    with progress() as tell:
        return measure(options.config, options.client, QUICK if options.quick else FULL, tell)


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables."""
    console = wide_console()
    table = Table(
        title=f"Route and a bare echo, {result['request_bytes']} bytes in,"
        f" {result['reply_bytes']} out",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("prompts", no_wrap=True)
    for column in (
        *("calls\nat once", "echo | Route\nreq/s", "ratio"),
        *("echo | Route\np50 ms", "echo | Route\np99 ms"),
    ):
        table.add_column(column, justify="right", no_wrap=True)
    rows = [(1, row) for row in result["same_prompt"]]
    rows.append((result["varied_prompts"]["prompts"], result["varied_prompts"]))
    rows += [(1, row) for row in result["over_http"]]
    for prompts, row in rows:
        echo, route = row["echo"], row["route"]
        table.add_row(
            f"{prompts}, {row['client']}",
            str(row["concurrency"]),
            f"{echo['requests_per_s']:,.0f} | {route['requests_per_s']:,.0f}",
            f"{row['throughput_ratio']:.2f}",
            f"{echo['p50_ms']:.3g} | {route['p50_ms']:.3g}",
            f"{echo['p99_ms']:.3g} | {route['p99_ms']:.3g}",
        )
    console.print(table)
    targets = Table(title=f"Numbers to reach, {result['machine']['cpus']} CPUs", box=SIMPLE_HEAD)
    for column in ("what", "measured", "reach", ""):
        targets.add_column(column, justify="left" if column == "what" else "right")
    for target in result["targets"]:
        measured = "-" if target["measured"] is None else f"{target['measured']:.3g}"
        sign = ">=" if target["at_least"] else "<="
        verdict = {True: "met", False: "missed", None: "not measured"}[target["met"]]
        targets.add_row(target["what"], measured, f"{sign} {target['bound']:g}", verdict)
    console.print(targets)
    phases = ", ".join(
        f"{name} {spent_us:.0f}" for name, spent_us in result["phases_at_concurrency_1_us"].items()
    )
    console.print(f"Inside the service at concurrency 1, median us: {phases}")


def main() -> int:
    parser = make_parser(__doc__, quick="under 20 s instead of under 90 s")
    parser.add_argument("--config", type=Path, help="the service's config file")
    parser.add_argument("--client", choices=("auto", "h2load", "grpc"), default="auto")
    errors = (LoadError, RoutooError, StartError)
    return run(parser.parse_args(), measure_with_progress, show, errors=errors)


if __name__ == "__main__":
    sys.exit(main())
