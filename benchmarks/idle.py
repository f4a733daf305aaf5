"""The predictor, or the whole service, hot and after some milliseconds of idleness.

Callers that come now and then find caches that other work has filled. Without an option, one prompt
of some 64 tokens and 32 of them, tokenising included, by the predictor in process on one core, for
the default pool where the artifact can be asked for some models. With several artifacts they take
turns call by call, and ratios to the first one are the medians of the pairs' ratios.

``--through grpc`` calls ``Route`` in turn with a bare grpc.aio server that answers as many bytes;
``--through envoy`` sends chats through an Envoy with the processor in turn with one without it. The
caller sleeps between its calls. The service's own processor time tells what a call costs, with
little effect of other work on the machine.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.command import make_parser, run
from harness.envoys import envoys
from harness.load import METHOD_PATH
from harness.process import ServerProcess, StartError
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.pool import load_pool
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from grpc import Channel

IDLE_S = 0.004
PAUSES_S = (0.0, 0.001, 0.004, 0.01)
PROMPT = (
    "Explain how the heart pumps blood through the body, and what happens when one of its valves"
    " does not close properly any more; what would a patient notice first, and which tests would a"
    " doctor order to find out? Please answer in plain words for a school class of twelve year old"
    " pupils, with one example each."
)
CHAT = json.dumps({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}).encode()
CASES = (("hot, 1 prompt", 1, 0.0), ("hot, 32 prompts", 32, 0.0), ("idle, 1 prompt", 1, IDLE_S))
TURN_CALLS = 20
"""Calls of one server before it is the other's turn."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Calls of the service, and of what it is compared with.

    Attributes:
        bare: calls the other server.
        service: calls the service.
        process: the service's process.
    """

    bare: Callable[[], object]
    service: Callable[[], object]
    process: ServerProcess


def predictor_of(folder: Path) -> OnnxPredictor:
    """Loads and warms up an artifact's predictor."""
    artifact = load_artifact(folder)
    models = None if artifact.table is None else load_pool().predictor_names
    predictor = OnnxPredictor(artifact, provider="cpu", graph=PaddedGraph(artifact, models))
    predictor.warm_up()
    return predictor


def seconds(call: Callable[[], object], idle_s: float) -> float:
    """Times one call after so much idleness."""
    if idle_s:
        sleep(idle_s)
    started_s = perf_counter()
    call()
    return perf_counter() - started_s


def measure_predictors(options: Namespace) -> dict[str, Any]:
    """Measures all cases with all artifacts in turns."""
    folders = options.artifact or [shipped_artifact()]
    predictors = [predictor_of(folder) for folder in folders]
    calls = 100 if options.quick else 1000
    rows = []
    for name, size, idle_s in CASES:
        prompts = [f"{PROMPT} {at}" for at in range(size)]
        asked = [partial(one.predict, prompts) for one in predictors]
        times = np.array([[seconds(one, idle_s) for one in asked] for _ in range(calls)])
        for column, predictor in enumerate(predictors):
            fast_s, middle_s = np.percentile(times[:, column], [10, 50]).tolist()
            rows.append(
                {
                    "case": name,
                    "predictor": predictor.version,
                    "p10_ms": 1e3 * fast_s,
                    "p50_ms": 1e3 * middle_s,
                    "ratio_to_first": float(np.median(times[:, column] / times[:, 0])),
                }
            )
    return {"through": None, "calls": calls, "idle_ms": 1e3 * IDLE_S, "rows": rows}


def measure_service(options: Namespace) -> dict[str, Any]:
    """Measures the service and what it is compared with, in turns, after each pause.

    Raises:
        StartError: a server did not start or stop as it should.
    """
    turns = 5 if options.quick else 25
    rows = []
    with ExitStack() as running:
        open_pair = envoy_pair if options.through == "envoy" else grpc_pair
        pair = open_pair(running)
        for pause_s in PAUSES_S:
            times: list[list[float]] = [[], []]
            cpu_s = 0.0
            for _ in range(turns):
                for call, found in zip((pair.bare, pair.service), times, strict=True):
                    before_s = pair.process.cpu_s()
                    found += [seconds(call, pause_s) for _ in range(TURN_CALLS)]
                    cpu_s += pair.process.cpu_s() - before_s if call is pair.service else 0.0
            (bare, fast_bare), (service, fast) = (np.percentile(one, [50, 10]) for one in times)
            rows.append(
                {
                    "pause_ms": 1e3 * pause_s,
                    "bare_p50_ms": 1e3 * bare,
                    "service_p50_ms": 1e3 * service,
                    "added_p50_ms": 1e3 * (service - bare),
                    "added_p10_ms": 1e3 * (fast - fast_bare),
                    "cpu_ms": 1e3 * cpu_s / (turns * TURN_CALLS),
                }
            )
    return {"through": options.through, "calls": turns * TURN_CALLS, "rows": rows}


def service_process(running: ExitStack, **settings: str) -> ServerProcess:
    """Starts the service on a free port."""
    command = [sys.executable, "-c", "import sys; from routoo.cli import main; sys.exit(main())"]
    own = {
        "ROUTOO_LISTEN": "127.0.0.1:0",
        "ROUTOO_HTTP__LISTEN": "",
        "ROUTOO_METRICS__ENABLED": "false",
    }
    started = ServerProcess.start([*command, "serve"], os.environ | own | settings)
    return running.enter_context(started)


def grpc_pair(running: ExitStack) -> Pair:
    """Starts the service and a bare server that answers as many bytes."""
    service = service_process(running)
    body = RouteRequest(prompt=PROMPT).SerializeToString()

    def caller(address: str) -> Callable[[], bytes]:
        channel: Channel = running.enter_context(grpc.insecure_channel(address))
        method = channel.unary_unary(METHOD_PATH)
        return lambda: method(body)

    route = caller(service.address)
    script = str(Path(__file__).with_name("harness") / "echo_server.py")
    command = [sys.executable, script, f"--reply-bytes={len(route())}"]
    echo = running.enter_context(ServerProcess.start(command, os.environ))
    return Pair(caller(echo.address), route, service)


def envoy_pair(running: ExitStack) -> Pair:
    """Starts the service and two Envoys, of which one asks it."""
    service = service_process(running, ROUTOO_PROCESSOR__ENABLED="true")
    folder = Path(running.enter_context(TemporaryDirectory()))
    routed, plain = running.enter_context(envoys(folder, service.address))

    def caller(address: str) -> Callable[[], None]:
        connection = http.client.HTTPConnection(address)

        def call() -> None:
            headers = {"content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", CHAT, headers)
            reply = connection.getresponse()
            reply.read()
            if reply.status != http.client.OK:
                raise StartError(f"Envoy answered {reply.status}")

        return call

    return Pair(caller(plain), caller(routed), service)


def measure(options: Namespace) -> dict[str, Any]:
    """Measures what the command line asks for."""
    return measure_service(options) if options.through else measure_predictors(options)


HEADINGS = {
    "case": "case",
    "predictor": "predictor",
    "pause_ms": "pause ms",
    "p10_ms": "p10 ms",
    "p50_ms": "p50 ms",
    "ratio_to_first": "of the first",
    "bare_p50_ms": "p50 ms without",
    "service_p50_ms": "with",
    "added_p50_ms": "added",
    "added_p10_ms": "added at p10",
    "cpu_ms": "CPU ms a call",
}


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as a table."""
    table = Table(box=SIMPLE_HEAD)
    for name, value in figures["rows"][0].items():
        table.add_column(HEADINGS[name], justify="left" if isinstance(value, str) else "right")
    for row in figures["rows"]:
        table.add_row(*(one if isinstance(one, str) else f"{one:.3f}" for one in row.values()))
    Console().print(table)


def main() -> int:
    parser = make_parser(__doc__, quick="a tenth of the calls", whole=True)
    parser.add_argument("--artifact", type=Path, action="append", help="version folder; repeatable")
    parser.add_argument("--through", choices=("grpc", "envoy"), help="measure the whole service")
    return run(parser.parse_args(), measure, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
