"""Sends malformed requests to every RPC of a service, and reports crashes, hangs and INTERNAL.

    PYTHONPATH=tests python -m fuzz.api --requests 1000000 --seed 1 --json

starts ``routoo serve`` on the tests' small predictor. Exit code 0: it neither crashed nor hung nor
answered INTERNAL, and SIGTERM stopped it with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc

from fuzz.bodies import REQUESTS, body_of, well_formed
from fuzz.http2 import connection_bytes, send_raw
from routoo.v1 import route_pb2
from support.processes.process import ROUTOO, line_of, process, write_tiny_config

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

PREFIX = "/routoo.v1.RouterService/"
# Far longer than any call takes here: a call that reaches it has hung.
HANG_S = 60.0
WORKERS = 32
CHANNELS = 4
CORPUS = 400
ALIVE_EVERY = 2000
# Statuses that a healthy service never answers: they mean a crash, a bug, or are not in its API.
WRONG = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"})
MOST_FAILURES = 20

BUDGETS = [
    {"name": "all", "usd": 1000, "per": "30d", "on_exhausted": "cheapest"},
    {"name": "easy", "tenant": "easy", "usd": 0.01, "per": "1h"},
]


@dataclass(slots=True)
class Tally:
    """The results of a run."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def answered(self, what: str, code: str, body: bytes, details: str | None = "") -> None:
        """Counts an answer; a wrong one is kept with the request that it answered."""
        self.statuses[code] += 1
        if code in WRONG and len(self.failures) < MOST_FAILURES:
            self.failures.append(f"{what}: {code} {details}, body {body[:300].hex()}")


class Fuzzer:
    """Attacks one address.

    Args:
        address: HOST:PORT of the service.
        seed: of the random generator.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.tally = Tally()
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._seed = seed
        self._channels = [
            grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(CHANNELS)
        ]
        self._decisions: list[str] = []
        rng = Random(seed)  # noqa: S311 - no secret
        self._corpus = {
            rpc: [well_formed(kind, rng, []).SerializeToString() for _ in range(CORPUS)]
            for rpc, kind in REQUESTS.items()
        }
        self._calls = {
            rpc: [channel.unary_unary(PREFIX + rpc) for channel in self._channels]
            for rpc in REQUESTS
            if rpc != "RouteStream"
        }
        self._streams = [channel.stream_stream for channel in self._channels]

    async def run(self, requests: int, progress: Callable[[int], None]) -> None:
        """Sends requests, some of them over streams or as raw HTTP/2."""
        numbers = iter(range(requests))

        async def work() -> None:
            for number in numbers:
                await self._one(number)
                self.tally.sent += 1
                if number % ALIVE_EVERY == 0:
                    progress(number)
                    await self._alive()

        await asyncio.gather(*(work() for _ in range(WORKERS)))
        await self._alive()

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()

    async def _one(self, number: int) -> None:
        rng = Random(self._seed * 1_000_003 + number)  # noqa: S311
        rpc = rng.choice(tuple(REQUESTS))
        kind = rng.random()
        if rpc == "RouteStream":
            await self._stream(PREFIX + rpc, number, rng)
        elif kind < 0.005:
            body = body_of(rpc, self._corpus, rng)
            sent = connection_bytes(rpc, body, rng)
            try:
                await send_raw(self._host, self._port, sent)
            except OSError as error:
                self.tally.answered(f"{number} by hand", "UNAVAILABLE", sent, error.strerror)
            else:
                self.tally.statuses["by hand"] += 1
        elif kind < 0.03:  # a unary call with no message, or several, or that is given up
            await self._stream(PREFIX + rpc, number, rng)
        else:
            await self._unary(rpc, number, rng)

    async def _unary(self, rpc: str, number: int, rng: Random) -> None:
        if rng.random() < 0.02:
            message = well_formed(REQUESTS[rpc], rng, self._decisions)
            body = message.SerializeToString()
        else:
            body = body_of(rpc, self._corpus, rng)
        metadata = _metadata(rng) if rng.random() < 0.05 else None
        call = rng.choice(self._calls[rpc])(body, metadata=metadata, timeout=HANG_S)
        try:
            reply = await call
        except grpc.aio.AioRpcError as error:
            self.tally.answered(f"{number} {rpc}", error.code().name, body, error.details())
            return
        self.tally.answered(f"{number} {rpc}", "OK", body)
        if rpc == "Route":
            self._decisions.append(route_pb2.RouteResponse.FromString(reply).decision_id)
            del self._decisions[:-100]

    async def _stream(self, path: str, number: int, rng: Random) -> None:
        """Sends good and bad messages on a stream, and half closes or cancels it."""
        call = rng.choice(self._streams)(path)(timeout=HANG_S)
        end = rng.random()
        body = b""
        rpc = path.removeprefix(PREFIX)
        try:
            for _ in range(rng.randrange(4)):
                body = body_of(rpc, self._corpus, rng)
                await call.write(body)
            if end < 0.15:
                call.cancel()
            else:
                await call.done_writing()
            async for reply in call:
                if rpc == "RouteStream":
                    failed = route_pb2.RouteResponse.FromString(reply).error.code
                    if failed == grpc.StatusCode.INTERNAL.value[0]:
                        self.tally.answered(f"{number} {rpc}", "INTERNAL", body, "in the stream")
            code, details = (await call.code()).name, await call.details()
        except asyncio.CancelledError:
            code, details = "CANCELLED", ""
        except (asyncio.InvalidStateError, grpc.aio.InternalError):
            # The service ended the call during a write.
            code, details = (await call.code()).name, await call.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details()
        if details == CLIENTS_OWN:
            code = "not answered: gRPC's client gave up"
        self.tally.answered(f"{number} stream {rpc}", code, body, details)

    async def _alive(self) -> None:
        request = route_pb2.RouteRequest(prompt="easy").SerializeToString()
        try:
            reply = await self._calls["Route"][0](request, timeout=HANG_S)
        except grpc.aio.AioRpcError as error:
            self.tally.answered("a good request", error.code().name, request, error.details())
            return
        if route_pb2.RouteResponse.FromString(reply).model != "small":
            self.tally.failures.append("a good request was answered with another model")


# The details of a call that gRPC's own client ended, because it was used in an unusual way.
CLIENTS_OWN = "Internal error from Core"


def _metadata(rng: Random) -> Any:
    """Returns odd metadata that gRPC's client still accepts."""
    name = rng.choice(("authorization", "x-routoo-tenant", "a", "x" * 100, "user-agent", "cookie"))
    text = rng.choice(("", "Bearer ", "Bearer " + "y" * 500, "v" * 3000, "a,b;c=d", "~" * 50))
    pairs: list[tuple[str, Any]] = [(name, text)] * rng.randrange(1, 4)
    if rng.random() < 0.5:
        pairs.append(("x-odd-bin", rng.randbytes(rng.randrange(200))))
    if rng.random() < 0.1:
        pairs.append(("x-large", "z" * 9000))
    return pairs


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


async def fuzz(
    requests: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Starts a service, attacks it, stops it, and returns the results."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_tiny_config(Path(folder), budgets=BUDGETS, limits=LIMITS)
        async with process(*ROUTOO, "serve", "--config", str(config)) as running:
            return await _attack(running, requests, seed, progress)


LIMITS = {"max_message_bytes": 1024 * 1024, "max_prompt_chars": 20_000}


async def _attack(
    running: Process, requests: int, seed: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    address = (await line_of(running, "ready ")).split()[1]
    assert running.stderr is not None
    log = asyncio.create_task(running.stderr.read())
    fuzzer = Fuzzer(address, seed)
    started, before = perf_counter(), resident_bytes(running.pid)
    try:
        await fuzzer.run(requests, progress)
        elapsed_s, after = perf_counter() - started, resident_bytes(running.pid)
    finally:
        await fuzzer.close()
        running.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(running.wait(), HANG_S)
        written = await log
    tally = fuzzer.tally
    lines = written.decode(errors="replace").splitlines()
    failures = [
        *tally.failures,
        *([f"exit code {code}"] if code else []),
        *[line for line in lines if _tells_of_trouble(line)][:MOST_FAILURES],
    ]
    return {
        "requests": tally.sent,
        "seed": seed,
        "elapsed_s": round(elapsed_s, 1),
        "statuses": dict(tally.statuses.most_common()),
        "memory_before_mb": before // 2**20,
        "memory_after_mb": after // 2**20,
        "failures": failures,
    }


def _tells_of_trouble(line: str) -> bool:
    if not line.startswith("{"):
        return True
    logged = json.loads(line)
    text = logged.get("text", "")
    # gRPC logs these when it drops headers that are not text, and when it cannot tell a caller who
    # has left that there is no such method. Of our methods it is trouble.
    left = text.startswith("ExecuteBatchError raised in") and "[/routoo.v1." not in text
    return logged["level"] == "error" and text != "Invalid encoding on %s" and not left


def main() -> int:
    """Runs the command line; returns 1 if there were failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="Print one JSON object, no progress.")
    arguments = parser.parse_args()

    def progress(sent: int) -> None:
        if not arguments.json:
            print(f"\r{sent:,} of {arguments.requests:,}", end="", file=sys.stderr, flush=True)

    found = asyncio.run(fuzz(arguments.requests, arguments.seed, progress))
    print(json.dumps(found, indent=None if arguments.json else 2))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
