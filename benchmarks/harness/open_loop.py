"""An open-loop client in a process of its own: it sends calls without waiting for answers.

The times of the calls are random (Poisson), from a seed. Run as a script, this file is that client;
it writes one line per call: the time it was sent (s, monotonic), its latency (s), its status, and
the milliseconds after which the service asked for a retry (-1: it did not).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

import grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD_PATH = "/routoo.v1.RouterService/Route"
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        sent_s: when it was sent, in seconds of the machine's monotonic clock.
        latency_s: in seconds.
        code: its gRPC status.
        retry_ms: after which the service asked for a retry; -1: it did not.
    """

    sent_s: float
    latency_s: float
    code: str
    retry_ms: int


class OpenLoop:
    """A running client; ``calls`` waits for its end."""

    def __init__(
        self, address: str, body: bytes, rate: float, duration_s: float, log: Path
    ) -> None:
        self._log = log
        body_file = log.with_suffix(".body")
        body_file.write_bytes(body)
        self._process = subprocess.Popen(
            [
                *(sys.executable, __file__, f"--address={address}", f"--body={body_file}"),
                *(f"--rate={rate}", f"--duration-s={duration_s}", f"--log={log}"),
            ]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def calls(self) -> list[Call]:
        """Waits for the client's end and returns all calls, in the order of sending.

        Raises:
            RuntimeError: the client failed.
        """
        if self._process.wait() != 0:
            raise RuntimeError("the open-loop client failed")
        rows = (line.split() for line in self._log.read_text().splitlines())
        found = [Call(float(at), float(took), code, int(ms)) for at, took, code, ms in rows]
        return sorted(found, key=lambda call: call.sent_s)


async def _send(
    address: str, body: bytes, offsets_s: Sequence[float], timeout_s: float
) -> list[Call]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(_CONNECTIONS)]
    methods = [channel.unary_unary(METHOD_PATH) for channel in channels]
    for channel in channels:
        await channel.channel_ready()
    calls: list[Call] = []

    async def one(number: int) -> None:
        sent_s = monotonic()
        code, retry_ms = "OK", -1
        try:
            await methods[number % len(methods)](body, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-retry-pushback-ms":
                    retry_ms = int(value)
        calls.append(Call(sent_s, monotonic() - sent_s, code, retry_ms))

    begun_s = monotonic()
    async with asyncio.TaskGroup() as running:
        for number, offset_s in enumerate(offsets_s):
            await asyncio.sleep(max(0.0, begun_s + offset_s - monotonic()))
            running.create_task(one(number))
    for channel in channels:
        await channel.close()
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(description="Sends calls at random times; logs each.")
    parser.add_argument("--address", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True, help="calls per second")
    parser.add_argument("--duration-s", type=float, required=True)
    parser.add_argument("--timeout-s", type=float, default=1.0)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    rng = random.Random(1)  # noqa: S311 - the same times in every run
    offsets_s, at_s = [], 0.0
    while (at_s := at_s + rng.expovariate(arguments.rate)) < arguments.duration_s:
        offsets_s.append(at_s)
    calls = asyncio.run(
        _send(arguments.address, arguments.body.read_bytes(), offsets_s, arguments.timeout_s)
    )
    arguments.log.write_text(
        "".join(f"{one.sent_s} {one.latency_s} {one.code} {one.retry_ms}\n" for one in calls)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
