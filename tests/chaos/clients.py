"""Clients of the site: they ask at a steady mean rate, and write down what they are told."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import httpx

from chaos.records import NANO_PER_USD, OPEN, Call, Granted, Report
from chaos.site_files import JOURNAL, PRICES, TENANTS
from routoo.v1 import batch_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.records import Evidence
    from chaos.site_files import Tenant

DEADLINE_S = 12.0
_ALIVE_S = 12.0
_HIDDEN = "Internal error from Core"
"""The text of gRPC's client when it wrote to a stream that had ended; the status is not shown."""
_SPENT = frozenset({"RESOURCE_EXHAUSTED"})
_MOST_IN_FLIGHT = 48
_BATCH, _STREAM = 6, 4
_MODEL = "large"
_SHORTEST, _LONGEST = 20, 200
_READ_NANO, _WRITTEN_NANO = PRICES[_MODEL]
_MOST_INPUT = 400
_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.max_send_message_length", 64 << 20),
)


class Clients:
    """The clients of all tenants; their records go into the evidence.

    Args:
        seed: of what they ask for, and when.
        tokens: their tokens by tenant.
        evidence: takes the records.
        replicas: returns names and addresses of the replicas that the tenant may ask now.
    """

    def __init__(
        self,
        seed: int,
        tokens: dict[str, str],
        evidence: Evidence,
        replicas: Callable[[Tenant], Sequence[tuple[str, str]]],
    ) -> None:
        self._seed = seed
        self._tokens = tokens
        self._evidence = evidence
        self._replicas = replicas
        self._numbers = itertools.count()
        self._channels: dict[tuple[str, int], grpc.aio.Channel] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._http = httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False)
        self._envoy = ""

    async def load(self, seconds: float, envoy: str) -> None:
        """Asks for so many seconds.

        Args:
            seconds: duration.
            envoy: Envoy's address; empty: there is none.
        """
        self._envoy = envoy
        tenants = [one for one in TENANTS if envoy or one.door != "http"]
        await asyncio.gather(*(self._ask_steadily(one, seconds) for one in tenants))

    async def flood(self, name: str, address: str, bodies: int, size: int) -> None:
        """Sends bodies of so many bytes at once to a replica, and through Envoy."""
        pieces = "[],"
        prompt = pieces * (size // len(pieces))
        for at in range(bodies):
            call = self._begin("flood", "loose", name)
            self._spawn(self._route(call, address, prompt, 20))
            if self._envoy and at % 2:
                again = self._begin("flood", "web", "")
                self._spawn(self._post(again, prompt, 20, stream=False))

    async def refusing(self, names: Sequence[str]) -> dict[str, str]:
        """Asks each replica until it decides; returns the last refusal of each that does not.

        The calls are of the tenant that goes on without money, and belong to the evidence.
        """
        (loose,) = (one for one in TENANTS if one.name == "loose")
        (alone,) = (one for one in TENANTS if one.name == "alone")
        found = {}
        for name in names:
            tenant = alone if name == JOURNAL else loose
            address = dict(self._replicas(tenant))[name]
            end_s = time.monotonic() + _ALIVE_S
            while True:
                call = self._begin("route", tenant.name, name)
                await self._route(call, address, "hard", _SHORTEST)
                ended = self._evidence.calls[call.number]
                # The budget of the one replica that has no overdrafts may be spent.
                if ended.status == "OK" or (tenant is alone and ended.status in _SPENT):
                    break
                if time.monotonic() > end_s:
                    found[name] = f"{ended.status} {ended.detail}"
                    break
                await asyncio.sleep(0.1)
        return found

    async def ended(self) -> None:
        """Waits until every call has ended, and closes the connections."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close(None)
        await self._http.aclose()

    async def _ask_steadily(self, tenant: Tenant, seconds: float) -> None:
        chance = Random(f"client {self._seed} {tenant.name}")  # noqa: S311 - the same calls in every run
        loop = asyncio.get_running_loop()
        end_s = at_s = loop.time()
        end_s += seconds
        in_flight: set[asyncio.Task[Any]] = set()
        while True:
            at_s += chance.expovariate(tenant.calls_per_s)
            if at_s >= end_s:
                return
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            choice, pick, length = chance.random(), chance.random(), chance.random()
            words = chance.randint(1, 30)
            if len(in_flight) >= _MOST_IN_FLIGHT:
                continue
            tokens = round(_SHORTEST + length * (_LONGEST - _SHORTEST))
            task = self._spawn(self._ask(tenant, choice, pick, "hard " * words, tokens))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(
        self, tenant: Tenant, choice: float, pick: float, prompt: str, tokens: int
    ) -> None:
        if tenant.door == "http":
            call = self._begin("http", tenant.name, "")
            await self._post(call, prompt, tokens, stream=choice < 0.5)
            return
        replicas = self._replicas(tenant)
        name, address = replicas[int(pick * len(replicas))]
        if choice < 0.75:
            call = self._begin("route", tenant.name, name)
            await self._route(call, address, prompt, tokens)
        elif choice < 0.9:
            await self._stream(tenant.name, name, address, prompt, tokens)
        else:
            await self._batch(tenant.name, name, address, prompt, tokens)
        if tenant.reports:
            await self._report_some(tenant, choice)

    def _begin(self, door: Any, tenant: str, replica: str) -> Call:
        now_ns = time.time_ns()
        call = Call(next(self._numbers), door, tenant, replica, now_ns, 0, DEADLINE_S, OPEN)
        self._evidence.calls.append(call)
        return call

    def _end(self, call: Call, status: str, **told: Any) -> Call:
        ended = replace(call, ended_ns=time.time_ns(), status=status, **told)
        # A call's number is its place: the list is only ever appended to, in the same order.
        self._evidence.calls[call.number] = ended
        return ended

    def _stub(self, tenant: str, address: str, at: int = 0) -> tuple[Any, Any]:
        channel = self._channels.get((address, at))
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=_CHANNEL)
            self._channels[address, at] = channel
        shown = (("authorization", f"Bearer {self._tokens[tenant]}"),)
        return RouterServiceStub(channel), shown

    async def _route(self, call: Call, address: str, prompt: str, tokens: int) -> None:
        stub, shown = self._stub(call.tenant, address, call.number % 2)
        most = _most(tokens, len(prompt))
        try:
            reply = await stub.Route(_request(prompt, tokens), timeout=DEADLINE_S, metadata=shown)
        except grpc.aio.AioRpcError as error:
            self._end(call, error.code().name, detail=_line(error), most_nano_usd=most)
        else:
            self._end(call, "OK", granted=(_granted(call, reply),), most_nano_usd=most)

    async def _batch(self, tenant: str, name: str, address: str, prompt: str, tokens: int) -> None:
        call = self._begin("batch", tenant, name)
        stub, shown = self._stub(tenant, address)
        request = batch_pb2.RouteBatchRequest(requests=[_request(prompt, tokens)] * _BATCH)
        most = _BATCH * _most(tokens, len(prompt))
        try:
            reply = await stub.RouteBatch(request, timeout=DEADLINE_S, metadata=shown)
        except grpc.aio.AioRpcError as error:
            self._end(call, error.code().name, detail=_line(error), most_nano_usd=most)
        else:
            granted = tuple(_granted(call, one) for one in reply.responses)
            self._end(call, "OK", granted=granted, most_nano_usd=most)

    async def _stream(self, tenant: str, name: str, address: str, prompt: str, tokens: int) -> None:
        calls = {str(at): self._begin("stream", tenant, name) for at in range(_STREAM)}
        stub, shown = self._stub(tenant, address, 1)
        most = _most(tokens, len(prompt))
        status, detail = "OK", "the stream ended without a reply"
        requests = [_request(prompt, tokens, request_id=one) for one in calls]
        try:
            stream = stub.RouteStream(iter(requests), timeout=DEADLINE_S, metadata=shown)
            async for reply in stream:
                call = calls.pop(reply.request_id)
                if reply.HasField("error"):
                    code = grpc_name(reply.error.code)
                    self._end(call, code, detail=reply.error.message, most_nano_usd=most)
                else:
                    self._end(call, "OK", granted=(_granted(call, reply),), most_nano_usd=most)
        except grpc.aio.AioRpcError as error:
            status, detail = error.code().name, _line(error)
            if detail == _HIDDEN:
                status = "BROKEN"
        for call in calls.values():
            lost = "UNANSWERED" if status == "OK" else status
            self._end(call, lost, detail=detail, most_nano_usd=most)

    async def _post(self, call: Call, prompt: str, tokens: int, *, stream: bool) -> None:
        body = {
            "model": "auto",
            "max_tokens": tokens,
            "stream": stream,
            "messages": [{"role": "user", "content": prompt}],
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {
            "x-routoo-tenant": "web",
            "x-routoo-allowed-models": _MODEL,
            "x-chaos-call": str(call.number),
        }
        most = _most(tokens, len(prompt))
        told: dict[str, Any] = {"most_nano_usd": most}
        try:
            async with asyncio.timeout(DEADLINE_S):
                reply = await self._http.post(
                    f"http://{self._envoy}/v1/chat/completions", json=body, headers=headers
                )
        except TimeoutError:
            self._end(call, "DEADLINE_EXCEEDED", **told)
            return
        except httpx.HTTPError as error:
            self._end(call, "BROKEN", detail=repr(error), **told)
            return
        if reply.status_code != 200:
            told["detail"] = reply.text[:200]
        if decision_id := reply.headers.get("x-routoo-decision-id"):
            cost = round(float(reply.headers.get("x-routoo-cost-usd") or 0) * NANO_PER_USD)
            model = reply.headers.get("x-routoo-model", "")
            told["granted"] = (Granted(decision_id, model, cost, "", call.sent_ns, time.time_ns()),)
        self._end(call, str(reply.status_code), **told)

    async def _report_some(self, tenant: Tenant, choice: float) -> None:
        """Reports the decisions of this tenant that are still to be reported, but one in four."""
        reported = {report.decision_id for report in self._evidence.reports}
        for call in self._evidence.calls[-200:]:
            if call.tenant != tenant.name or call.status != "OK":
                continue
            for granted in call.granted:
                if granted.decision_id in reported or hash_of(granted.decision_id) % 4 == 0:
                    continue
                reported.add(granted.decision_id)
                cost = granted.cost_nano_usd * (hash_of(granted.decision_id) % 100) // 100
                await self._report(tenant, granted, cost, choice)

    async def _report(self, tenant: Tenant, granted: Granted, cost: int, pick: float) -> None:
        asked = outcome_pb2.ReportOutcomeRequest(
            decision_id=granted.decision_id, cost_usd=cost / NANO_PER_USD
        )
        replicas = dict(self._replicas(tenant))
        names = sorted(replicas)
        # Mostly to the replica that decided; now and then to another, which shares the books.
        name = granted.replica if granted.replica in replicas and pick < 0.6 else names[0]
        place = len(self._evidence.reports)
        doubtful = Report(granted.decision_id, cost, OPEN, name, 0)
        self._evidence.reports.append(doubtful)
        stub, shown = self._stub(tenant.name, replicas[name])
        try:
            reply = await stub.ReportOutcome(asked, timeout=DEADLINE_S, metadata=shown)
            status, accepted = "OK", reply.accepted
        except grpc.aio.AioRpcError as error:
            status, accepted = error.code().name, False
        ended = replace(doubtful, status=status, accepted=accepted, told_ns=time.time_ns())
        self._evidence.reports[place] = ended


def hash_of(text: str) -> int:
    """Returns a number that is the same in every process."""
    return int.from_bytes(text.encode()[-4:], "big")


def grpc_name(number: int) -> str:
    """Returns the name of a gRPC status."""
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def _most(tokens: int, characters: int) -> int:
    read = max(_MOST_INPUT, characters)
    return read * _READ_NANO + tokens * _WRITTEN_NANO


def _line(error: grpc.aio.AioRpcError) -> str:
    return (error.details() or "")[:300]


def _request(prompt: str, tokens: int, **more: Any) -> route_pb2.RouteRequest:
    return route_pb2.RouteRequest(
        prompt=prompt, allowed_models=[_MODEL], expected_output_tokens=tokens, **more
    )


def _granted(call: Call, reply: Any) -> Granted:
    return Granted(
        reply.decision_id,
        reply.model,
        round(reply.predicted_cost_usd * NANO_PER_USD),
        call.replica,
        call.sent_ns,
        time.time_ns(),
        alone=reply.degraded,
    )
