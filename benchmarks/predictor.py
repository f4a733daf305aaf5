"""The cost of each way to the predictor: in process, on Triton, in PyTorch.

The same prompts through the same artifact: the bare onnxruntime session on ids that are padded
already (the yardstick), the predictor in process, on a real Triton server over gRPC (its batcher
off, and on), with its inputs through shared memory, and PyTorch in eager mode at fp32. They take
turns within a round, so that other work on the machine affects all alike; every figure is the
median over all calls, every ratio the median of the rounds' ratios. One thread each.

Without --artifact: the shipped predictor, and the whole of MiniLM at int8 with made-up heads.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from transformers import AutoModel
from tritonclient.utils import shared_memory

from harness.artifacts import artifacts_or_defaults
from harness.command import make_parser, run
from harness.process import StartError
from harness.prompts import distinct_prompts
from harness.triton import make_repository, triton_server
from routoo.config.sections.predictor import PredictorSettings, TritonSettings
from routoo.predictor.artifact import INPUT, load_artifact
from routoo.predictor.backends import load_backends
from routoo.predictor.triton import TritonServer
from routoo.routing.pool import load_pool
from routoo_export.backbones.packages import minilm_folder

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.backends import Backends
    from routoo.predictor.base import Feed

BATCHES = (1, 8, 32, 128)
LENGTHS_TOKENS = (32, 64, 128, 256)
DTYPES = {"int64": "INT64", "float32": "FP32"}
YARDSTICK = "session"
IN_PROCESS = "in process"
PATIENCE_S = 120.0
SETTINGS = PredictorSettings(
    backend="triton",
    fallbacks=("onnx",),
    provider="cpu",
    triton=TritonSettings(timeout_ms=1e3 * PATIENCE_S),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """The limits of a measurement: it ends after a number of rounds or of seconds."""

    most_rounds: int
    longest_s: float


FULL = Effort(most_rounds=300, longest_s=12.0)
QUICK = Effort(most_rounds=40, longest_s=8.0)


class SharedMemory:
    """Inference of one shape with inputs and outputs in memory that client and Triton share."""

    def __init__(
        self, server: TritonServer, feed: Feed, outputs: dict[str, tuple[int, ...]]
    ) -> None:
        self._memory = shared_memory
        self._server = server
        library = server.library
        self._regions = []
        self._inputs, self._filled, self._outputs, self._views = [], [], [], {}
        for name, values in feed.items():
            region = self._region(f"in-{name}", values.nbytes)
            self._filled.append((region, values))
            tensor = library.InferInput(name, list(values.shape), DTYPES[values.dtype.name])
            tensor.set_shared_memory(f"in-{name}", values.nbytes)
            self._inputs.append(tensor)
        for name, shape in outputs.items():
            size = math.prod(shape) * np.dtype(np.float32).itemsize
            self._views[name] = (self._region(name, size), shape)
            output = library.InferRequestedOutput(name)
            output.set_shared_memory(name, size)
            self._outputs.append(output)

    def _region(self, name: str, size: int) -> Any:
        key = f"/routoo-{os.getpid()}-{name}"
        region = self._memory.create_shared_memory_region(name, key, size)
        self._server.client.register_system_shared_memory(name, key, size)
        self._regions.append((name, region))
        return region

    def infer(self) -> None:
        """Makes one inference and reads its figures."""
        for region, values in self._filled:
            self._memory.set_shared_memory_region(region, [values])
        self._server.client.infer("predictor", self._inputs, outputs=self._outputs)
        for region, shape in self._views.values():
            self._memory.get_contents_as_numpy(region, np.float32, shape).copy()

    def close(self) -> None:
        """Frees the shared memory."""
        for name, region in self._regions:
            self._server.client.unregister_system_shared_memory(name)
            self._memory.destroy_shared_memory_region(region)


def ways_of(
    stack: ExitStack, backends: Backends, servers: dict[str, TritonServer], prompts: list[str]
) -> dict[str, Callable[[], object]]:
    """Returns the ways that are compared, by name."""
    graph = backends.local[0].graph  # type: ignore[attr-defined]
    # Prompts of one length in tokens may have other numbers of rows: then there are several.
    feeds = graph.questions(prompts).inputs
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        str(backends.artifact.model_path), options, providers=["CPUExecutionProvider"]
    )
    ways: dict[str, Callable[[], object]] = {
        YARDSTICK: lambda: [session.run(graph.outputs, feed) for feed in feeds],
        IN_PROCESS: partial(backends.local[0].predict, prompts),
    }
    for name, server in servers.items():
        remote = load_backends(backends.artifact, SETTINGS, server, backends.models).remote
        assert remote is not None
        remote.verify(backends.sample)
        ways[name] = partial(remote.predict, prompts)
    if len(feeds) == 1:
        (feed,) = feeds
        shapes = {name: graph.shape(name, len(feed[INPUT])) for name in graph.outputs}
        memory = SharedMemory(servers["triton"], feed, shapes)
        stack.callback(memory.close)
        ways["triton, shared memory, inputs alone"] = memory.infer
        ways["triton, gRPC, inputs alone"] = partial(
            servers_infer, servers["triton"], feed, graph.outputs
        )
        if backends.artifact.manifest.backbone in {"encoder", "decoder"}:
            ways["torch eager fp32"] = eager(feed[INPUT])
    return ways


def servers_infer(server: TritonServer, feed: Feed, outputs: Sequence[str]) -> None:
    """Makes one inference over gRPC, without reading prompts."""
    tensors = []
    for name, values in feed.items():
        tensor = server.library.InferInput(name, list(values.shape), DTYPES[values.dtype.name])
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    result = server.client.infer("predictor", tensors)
    for name in outputs:
        result.as_numpy(name)


def eager(ids: NDArray[np.int64]) -> Callable[[], object]:
    """Makes a call of MiniLM as transformers runs it, without the heads."""
    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(minilm_folder()).eval()
    tensor = torch.from_numpy(ids)
    mask = torch.ones_like(tensor)

    def run() -> object:
        with torch.inference_mode():
            return model(input_ids=tensor, attention_mask=mask)

    return run


def measure(ways: dict[str, Callable[[], object]], batch: int, effort: Effort) -> dict[str, Any]:
    """Measures all ways with one batch."""
    for way in ways.values():
        way()
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, float] = dict.fromkeys(ways, 0.0)
    until_s = perf_counter() + effort.longest_s
    for _ in range(effort.most_rounds):
        for name, way in ways.items():
            cpu_s, started_s = process_time(), perf_counter()
            way()
            wall[name].append(perf_counter() - started_s)
            cpu[name] += process_time() - cpu_s
        if perf_counter() > until_s:
            break
    found = {}
    for name, times in wall.items():
        p50_s, p99_s = np.percentile(times, [50, 99]).tolist()
        found[name] = {
            "rounds": len(times),
            "p50_ms": p50_s * 1e3,
            "p99_ms": p99_s * 1e3,
            "prompts_per_s": batch / p50_s,
            "client_cpu_s_per_1000": 1000.0 * cpu[name] / (batch * len(times)),
            "ratio_to_session": statistics.median(
                base / time for base, time in zip(wall[YARDSTICK], times, strict=True)
            ),
            "added_ms_p50": 1e3
            * statistics.median(
                time - base for base, time in zip(wall[IN_PROCESS], times, strict=True)
            ),
        }
    return found


def measure_artifact(
    artifact: Artifact, shapes: list[tuple[int, int]], wanted: list[str] | None, effort: Effort
) -> Any:
    """Measures all shapes of an artifact; ``wanted``: ways beside the yardsticks, None: all."""
    models = None if artifact.table is None else load_pool().predictor_names
    backends = load_backends(artifact, PredictorSettings(provider="cpu"), None, models)
    encoder = backends.local[0].graph.encoder  # type: ignore[attr-defined]

    def count(text: str) -> int:
        return int(encoder.encode([text]).input_tokens[0])

    rows = []
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        servers = {}
        # A graph that is given its models' rows has no batcher there.
        batchers = (False, True) if artifact.table is None else (False,)
        for batching in batchers:
            name = "triton, batcher on" if batching else "triton"
            folder = Path(scratch, "on" if batching else "off")
            repository = make_repository(artifact.folder, folder, batching=batching, threads=1)
            process = stack.enter_context(triton_server(repository))
            servers[name] = TritonServer(process.field("grpc"))
            stack.callback(servers[name].close)
        for batch, tokens in shapes:
            with ExitStack() as inner:
                ways = ways_of(inner, backends, servers, distinct_prompts(batch, tokens, count))
                chosen = {
                    name: way
                    for name, way in ways.items()
                    if wanted is None or name in {YARDSTICK, IN_PROCESS, *wanted}
                }
                found = measure(chosen, batch, effort)
            rows.append({"batch": batch, "tokens": tokens, "ways": found})
    manifest = artifact.manifest
    return {
        "predictor": manifest.predictor_version,
        "precision": manifest.precision,
        "models": len(backends.models),
        "shapes": rows,
    }


def show(figures: dict[str, Any]) -> None:
    """Prints the figures of each artifact as a table."""
    console = Console()
    for one in figures["artifacts"]:
        table = Table(title=f"{one['predictor']}, {one['precision']}", box=SIMPLE_HEAD)
        for heading in ("batch x tokens", "way"):
            table.add_column(heading)
        for heading in ("p50 ms", "p99 ms", "prompts/s", "CPU s/1000", "of session", "added ms"):
            table.add_column(heading, justify="right")
        for shape in one["shapes"]:
            for name, row in shape["ways"].items():
                table.add_row(
                    f"{shape['batch']} x {shape['tokens']}",
                    name,
                    f"{row['p50_ms']:.2f}",
                    f"{row['p99_ms']:.2f}",
                    f"{row['prompts_per_s']:.0f}",
                    f"{row['client_cpu_s_per_1000']:.2f}",
                    f"{row['ratio_to_session']:.3f}",
                    f"{row['added_ms_p50']:+.2f}",
                )
        console.print(table)


def measure_all(options: Namespace) -> dict[str, Any]:
    """Measures all artifacts."""
    shapes = [(batch, tokens) for batch in BATCHES for tokens in LENGTHS_TOKENS]
    if options.shape:
        shapes = [tuple(map(int, shape.split("x"))) for shape in options.shape]
    effort = QUICK if options.quick else FULL
    with artifacts_or_defaults(options.artifact) as folders:
        artifacts = [
            measure_artifact(load_artifact(one), shapes, options.way, effort) for one in folders
        ]
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_1min": os.getloadavg()[0],
        },
        "artifacts": artifacts,
    }


def main() -> int:
    parser = make_parser(__doc__, quick="a tenth of the calls", whole=True)
    parser.add_argument("--artifact", type=Path, action="append", help="version folder; repeatable")
    parser.add_argument("--shape", action="append", metavar="BATCHxTOKENS", help="repeatable")
    parser.add_argument("--way", action="append", help="only these, repeatable; default: all")
    return run(parser.parse_args(), measure_all, show, errors=(StartError,))


if __name__ == "__main__":
    sys.exit(main())
