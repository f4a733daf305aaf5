"""An outage of a provider: two scripted providers behind an Envoy, one of which dies and returns.

Callers send chats without a pause through an Envoy with deploy/envoy/envoy.yaml. Each provider
counts what it was asked and what it has answered, and to the nano-dollar what it bills for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import grpc.aio
import yaml

from harness.envoys import envoy, free_port, shipped
from harness.process import ServerProcess
from routoo.v1 import budget_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Death = Literal["refused", "503", "429", "silent"]
DEATHS: tuple[Death, ...] = ("refused", "503", "429", "silent")
INPUT_TOKENS, OUTPUT_TOKENS = 1000, 500
ANSWERS_AFTER_S = 0.02
FIRST_BYTE_S = 1.0
SETTLED_WITHIN_S = 10.0
# In USD per million tokens, by the model, in and out. The dead one is the better and cheaper.
PRICES = {"openai/gpt-5.2-2025-12-11": (0.5, 2.0), "google/gemini-3.5-flash": (1.0, 4.0)}
DYING, OTHER = PRICES
_REPLY = {
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
    ],
    "usage": {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS},
}


@dataclass(slots=True)
class Provider:
    """A provider that answers chats, until it is told to fail.

    Attributes:
        port: where it listens.
        failing: the way in which it fails; None: it works.
        asked_s: when each request came, by ``perf_counter``.
        answered: the models of the requests that it has answered.
        answered_s: when each answer went out.
    """

    port: int
    failing: Death | None = None
    asked_s: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self) -> None:
        """Takes connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def die(self, how: Death) -> None:
        """Begins to fail; where it refuses connections, those that are open break."""
        self.failing = how
        if how == "refused":
            await self.close()

    async def come_back(self) -> None:
        """Works again; whoever waits for an answer still does not get one."""
        was, self.failing = self.failing, None
        if was == "refused":
            await self.listen()

    async def close(self) -> None:
        """Takes no more connections, and breaks those that are open."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def billed_nano_usd(self) -> int:
        """Returns what all answers cost, in nano-dollars."""
        total = 0
        for model in self.answered:
            read, written = PRICES[model]
            total += round(INPUT_TOKENS * read * 1e3) + round(OUTPUT_TOKENS * written * 1e3)
        return total

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0])
                model = json.loads(await reader.readexactly(length))["model"]
                self.asked_s.append(perf_counter())
                if not await self._answer(model, writer):
                    await reader.read()  # until the proxy gives up
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the proxy has left, or the run is over
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, model: str, writer: asyncio.StreamWriter) -> bool:
        """Answers a request, or fails; False: the request is never answered."""
        if self.failing == "silent":
            return False
        if self.failing is not None:
            after = "retry-after: 2\r\n" if self.failing == "429" else ""
            writer.write(
                f"HTTP/1.1 {self.failing} -\r\n{after}content-length: 2\r\n"
                "content-type: application/json\r\n\r\n{}".encode()
            )
            await writer.drain()
            return True
        await asyncio.sleep(ANSWERS_AFTER_S)
        if self.failing == "silent":
            return False
        chunk = b"data: %s\n\n" % json.dumps({"model": model, **_REPLY}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%s"
            % (len(chunk), chunk)
        )
        await writer.drain()
        self.answered.append(model)
        self.answered_s.append(perf_counter())
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """The course of a run, in seconds from its start."""

    callers: int
    dies_s: float
    returns_s: float
    ends_s: float


def measure_outage(how: Death, plan: Plan, folder: Path) -> dict[str, Any]:
    """Runs a service, an Envoy and two providers, and makes one of these die and return."""
    pool = folder / "pool.yaml"
    pool.write_text(yaml.safe_dump({"models": [_spec(name) for name in PRICES]}))
    config = folder / "config.yaml"
    settings = {
        "listen": "127.0.0.1:0",
        "http": {"listen": ""},
        "metrics": {"enabled": True, "listen": "127.0.0.1:0"},
        "pool": str(pool),
        "policy": {"name": "cheapest"},
        "budgets": [{"name": "all", "usd": 1e6, "per": "1d"}],
        "corrections": {"learn": False},
        "processor": {"enabled": True, "usage_from": "access_log", "first_byte_s": FIRST_BYTE_S},
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "routoo.cli", "serve", "--config", str(config)]
    with ServerProcess.start(command, os.environ) as service:
        return asyncio.run(_run(how, plan, folder, service))


async def _run(how: Death, plan: Plan, folder: Path, service: ServerProcess) -> dict[str, Any]:
    dying, other = Provider(free_port()), Provider(free_port())
    for one in (dying, other):
        await one.listen()
    ports = {
        "routoo": int(service.address.rpartition(":")[2]),
        "local_models": dying.port,
        "hosted_models": other.port,
    }
    config, port = shipped(ports, local_models=DYING)
    statuses: list[int] = []
    with envoy(folder, config, port):
        began_s = perf_counter()

        async def course() -> float:
            await asyncio.sleep(plan.dies_s)
            await dying.die(how)
            await asyncio.sleep(plan.returns_s - plan.dies_s)
            await dying.come_back()
            return perf_counter()

        returned_s, *_ = await asyncio.gather(
            course(),
            *(_caller(port, began_s + plan.ends_s, statuses) for _ in range(plan.callers)),
        )
        booked = await _booked_nano_usd(service.address)
    for one in (dying, other):
        await one.close()
    dead_s = began_s + plan.dies_s + 2.0, began_s + plan.returns_s
    to_dead = _between(dying.asked_s, *dead_s)
    to_other = _between(other.asked_s, *dead_s)
    retries = _retries(service.field("metrics"))
    back_s = min((at for at in dying.answered_s if at >= returned_s), default=None)
    billed = dying.billed_nano_usd() + other.billed_nano_usd()
    return {
        "what": how,
        "callers": plan.callers,
        "requests": len(statuses),
        "failed": sum(status != 200 for status in statuses),
        "second_tries": retries,
        # Connections that are refused are not seen there, so that all second tries count.
        "share_to_the_dead": (retries["reset"] if how == "refused" else to_dead) / max(1, to_other),
        "back_after_s": None if back_s is None else back_s - returned_s,
        "answers": len(dying.answered) + len(other.answered),
        "billed_nano_usd": billed,
        "booked_nano_usd": booked,
    }


async def _caller(port: int, until_s: float, statuses: list[int]) -> None:
    """Sends chats one after the other, on one connection as long as it lasts."""
    body = json.dumps(
        {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Is it so?"}]}
    ).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while perf_counter() < until_s:
        writer.write(request)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].split(b"\r", 1)[0]
            if length:
                await reader.readexactly(int(length))
            else:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(size + 2)
                await reader.readexactly(2)
            statuses.append(int(head.split(b" ", 2)[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            statuses.append(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def _booked_nano_usd(address: str) -> int:
    """Returns what the budget has settled, once nothing is reserved any more."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = RouterServiceStub(channel)
        until_s = perf_counter() + SETTLED_WITHIN_S
        while True:
            reply = await stub.GetBudget(budget_pb2.GetBudgetRequest())
            (budget,) = reply.budgets
            if budget.reserved_usd == 0.0 or perf_counter() > until_s:
                return round(budget.settled_usd * 1e9)
            await asyncio.sleep(0.1)


def _retries(metrics: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith("routoo_http_retries_total{"):
            found[line.split('"')[1]] = int(float(line.rpartition(" ")[2]))
    return found


def _between(times: Sequence[float], start_s: float, end_s: float) -> int:
    return sum(start_s <= one < end_s for one in times)


def _spec(name: str) -> dict[str, Any]:
    read, written = PRICES[name]
    return {
        "name": name,
        "usd_per_1m_input_tokens": read,
        "usd_per_1m_output_tokens": written,
        "price_status": "assumed",
        "context_window_tokens": 128_000,
        "time_to_first_token_ms": 300,
        "time_per_output_token_ms": 5,
    }
