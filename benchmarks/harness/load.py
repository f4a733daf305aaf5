"""Two closed-loop load generators for one unary method: h2load, and a grpc.aio client process.

``h2load`` costs a tenth of what a Python client costs, so that on few cores it measures the server
and not itself; it repeats one body and sees only the HTTP status. The grpc.aio client sends many
bodies and sees the gRPC status. Run as a script, this file is that client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import grpc
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD_PATH = "/routoo.v1.RouterService/Route"
HTTP_PATH = "/v1/route"
STREAMS_PER_CONNECTION = 8
"""The most calls that share one connection at a time."""
HTTP_OK = "200"


class LoadError(Exception):
    """A load run without a valid result: calls failed, or the generator itself did."""


@dataclass(frozen=True, slots=True)
class Load:
    """The settings of one run.

    Attributes:
        concurrency: calls in flight at any time.
        warm_up_s: time before the measured part.
        duration_s: length of the measured part.
        per_connection: calls in flight on one connection, at most; 1 for HTTP/1.1.
    """

    concurrency: int
    warm_up_s: float
    duration_s: float
    per_connection: int = STREAMS_PER_CONNECTION

    @property
    def connections(self) -> int:
        return -(-self.concurrency // self.per_connection)

    @property
    def streams(self) -> int:
        """Calls in flight per connection."""
        return self.concurrency // self.connections


@dataclass(frozen=True, slots=True)
class Sample:
    """The results of one run: calls in the measured part, their rate and their latencies."""

    calls: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


class LoadGenerator(Protocol):
    """Sends bodies (serialized requests, without gRPC's prefix) to an address."""

    name: str

    def run(self, address: str, bodies: Sequence[bytes], load: Load) -> Sample:
        """Runs the load once.

        Raises:
            LoadError: a call failed, or none was made.
        """


class H2load:
    """nghttp2's h2load over cleartext HTTP/2."""

    name = "h2load"

    def __init__(self) -> None:
        found = shutil.which("h2load")
        if found is None:
            raise LoadError("h2load is not on the PATH; install nghttp2-client or --client grpc")
        self._path = found

    def run(self, address: str, bodies: Sequence[bytes], load: Load) -> Sample:
        """Runs the load once, with the first body only; see ``LoadGenerator.run``."""
        content = struct.pack(">BI", 0, len(bodies[0])) + bodies[0]
        options = ["--header", "content-type: application/grpc", "--header", "te: trailers"]
        return self.post(f"http://{address}{METHOD_PATH}", content, load, options)

    def post(self, url: str, content: bytes, load: Load, options: Sequence[str]) -> Sample:
        """Sends one body again and again.

        Raises:
            LoadError: a call failed, or none was made.
        """
        with TemporaryDirectory() as folder:
            body, log = Path(folder, "body"), Path(folder, "log")
            body.write_bytes(content)
            command = [
                *(self._path, f"--clients={load.connections}"),
                f"--max-concurrent-streams={load.streams}",
                f"--duration={round(load.duration_s * 1e3)}ms",
                f"--warm-up-time={round(load.warm_up_s * 1e3)}ms",
                *(*options, f"--data={body}", f"--log-file={log}", url),
            ]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=load.warm_up_s + load.duration_s + 30,
            )
            if done.returncode != 0 or not log.exists():
                raise LoadError(f"h2load failed: {' '.join(done.stderr.split())}")
            # One line per call of the measured part: start (us), HTTP status, latency (us).
            # Status 0 has a call that h2load itself has broken off at the end.
            rows = [line.split("\t") for line in log.read_text().splitlines()]
            rows = [row for row in rows if row[1] != "0"]
        failed = sum(status != HTTP_OK for _, status, _ in rows)
        if failed:
            raise LoadError(f"{failed} of {len(rows)} calls failed over HTTP")
        return _summarise([int(latency_us) * 1e-6 for *_, latency_us in rows], load.duration_s)


class HttpLoad(H2load):
    """nghttp2's h2load over cleartext HTTP/1.1, a call at a time on each connection."""

    name = "h2load --h1"

    def run(self, address: str, bodies: Sequence[bytes], load: Load) -> Sample:
        """Runs the load once, with the first body only; see ``LoadGenerator.run``."""
        options = ["--h1", "--header", "content-type: application/json"]
        return self.post(f"http://{address}{HTTP_PATH}", bodies[0], load, options)


class GrpcClient:
    """A grpc.aio client in a process of its own."""

    name = "grpc.aio"

    def run(self, address: str, bodies: Sequence[bytes], load: Load) -> Sample:
        """Runs the load once; each caller goes through all bodies, from a place of its own."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "bodies.json")
            file.write_text(json.dumps([body.hex() for body in bodies]))
            command = [
                *(sys.executable, __file__, f"--address={address}", f"--bodies={file}"),
                *(f"--concurrency={load.concurrency}", f"--warm-up-s={load.warm_up_s}"),
                f"--duration-s={load.duration_s}",
            ]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=load.warm_up_s + load.duration_s + 60,
            )
        if done.returncode != 0:
            raise LoadError((done.stderr.strip().splitlines() or ["the client died silently"])[-1])
        return Sample(**json.loads(done.stdout))


def _summarise(latencies_s: Sequence[float], duration_s: float) -> Sample:
    if not latencies_s:
        raise LoadError("no call was answered in the measured part")
    p50_s, p99_s = np.percentile(latencies_s, [50, 99])
    return Sample(
        calls=len(latencies_s),
        requests_per_s=len(latencies_s) / duration_s,
        p50_ms=float(p50_s) * 1e3,
        p99_ms=float(p99_s) * 1e3,
    )


async def _generate(address: str, bodies: Sequence[bytes], load: Load) -> Sample:
    # Without this option, equal channels would share one connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(load.connections)]
    latencies_s: list[float] = []
    measure_from_s = perf_counter() + load.warm_up_s
    measure_until_s = measure_from_s + load.duration_s

    async def call_until_the_end(caller: int) -> None:
        call = channels[caller % len(channels)].unary_unary(METHOD_PATH, None, None)
        position = caller * len(bodies) // load.concurrency
        while (started_s := perf_counter()) < measure_until_s:
            await call(bodies[position % len(bodies)])
            position += 1
            ended_s = perf_counter()
            if started_s >= measure_from_s and ended_s <= measure_until_s:
                latencies_s.append(ended_s - started_s)

    await asyncio.gather(*map(call_until_the_end, range(load.concurrency)))
    for channel in channels:
        await channel.close(None)
    return _summarise(latencies_s, load.duration_s)


def main() -> int:
    parser = argparse.ArgumentParser(description="Loads one unary method; prints one JSON object.")
    parser.add_argument("--address", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="JSON list of hex strings")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--warm-up-s", type=float, required=True)
    parser.add_argument("--duration-s", type=float, required=True)
    arguments = parser.parse_args()
    bodies = [bytes.fromhex(body) for body in json.loads(arguments.bodies.read_text())]
    load = Load(arguments.concurrency, arguments.warm_up_s, arguments.duration_s)
    try:
        sample = asyncio.run(_generate(arguments.address, bodies, load))
    except grpc.aio.AioRpcError as error:
        print(f"a call failed: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {
                "calls": sample.calls,
                "requests_per_s": sample.requests_per_s,
                "p50_ms": sample.p50_ms,
                "p99_ms": sample.p99_ms,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
