"""Callers that leave, time-outs, odd bytes and an Envoy that is killed lose no booking."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from routoo.v1 import budget_pb2
from support.peers.held_upstream import INPUT_TOKENS, OUTPUT_TOKENS, TEXT_BYTES, held_upstream
from support.peers.real_envoy import envoy_config, free_port, manager, processor, running_envoy
from support.tiny_processor import all_ended, metric, replies, with_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.peers.held_upstream import HeldUpstream
    from support.tiny_service import Running

BODY = (
    b'{"model":"auto","max_tokens":4000,"stream":true,'
    b'"messages":[{"role":"user","content":"hard"}]}'
)
READ_USD, WRITTEN_USD = 10e-6, 30e-6  # per token of the large model
SERVED_USD = INPUT_TOKENS * READ_USD + OUTPUT_TOKENS * WRITTEN_USD
FLOWED_USD = INPUT_TOKENS * READ_USD + TEXT_BYTES // 4 * WRITTEN_USD
both_ways = pytest.mark.parametrize("usage_from", ["reply", "access_log"])


@dataclass(frozen=True, slots=True)
class Site:
    """A service, its Envoy, a provider, and a client of the Envoy."""

    routoo: Running
    upstream: HeldUpstream
    http: httpx.AsyncClient
    envoy: AsyncExitStack

    async def post(self, **headers: Any) -> httpx.Response:
        return await self.http.post("/v1/messages", content=BODY, headers=headers)

    def cost_usd(self, kind: str = "reported") -> float:
        return metric(self.routoo, f"routoo_{kind}_cost_usd_total", model="large")


@asynccontextmanager
async def site_of(
    folder: Path, usage_from: str, *, timeout_s: float = 600.0, up: bool = True, **sections: Any
) -> AsyncIterator[Site]:
    settings = {"usage_from": usage_from, **sections.pop("processor", {})}
    async with AsyncExitStack() as all_of_it:
        upstream = await all_of_it.enter_async_context(held_upstream())
        routoo = await all_of_it.enter_async_context(
            with_settings(folder, processor=settings, **sections)
        )
        port = upstream.port if up else free_port()
        config, at = envoy_config(
            routoo=int(routoo.service.address.rpartition(":")[2]), local=port, hosted=port
        )
        processor(config).update({"message_timeout": f"{HANG_S:.0f}s"})
        for route in manager(config)["route_config"]["virtual_hosts"][0]["routes"]:
            route["route"]["timeout"] = f"{timeout_s}s"
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{at}", timeout=HANG_S)
        )
        envoy = await all_of_it.enter_async_context(AsyncExitStack())
        await envoy.enter_async_context(running_envoy(config, folder, at))
        yield Site(routoo, upstream, http, envoy)


@both_ways
async def test_a_caller_that_leaves_pays_what_has_flowed(tmp_path: Path, usage_from: str) -> None:
    async with site_of(tmp_path, usage_from) as site:
        async with site.http.stream("POST", "/v1/messages", content=BODY) as reply:
            size = 0
            async for piece in reply.aiter_bytes():
                size += len(piece)
                if size > TEXT_BYTES:
                    break
        await all_ended(site.routoo)
        assert replies(site.routoo)["gone"] == 1
        assert site.cost_usd() >= FLOWED_USD - 1e-9
        assert site.cost_usd("estimated") == site.cost_usd()


@both_ways
@pytest.mark.parametrize("setting", ["estimate", "zero"])
async def test_a_time_out_of_the_gateway(tmp_path: Path, usage_from: str, setting: str) -> None:
    processor = {"failed_upstream": setting}
    async with site_of(tmp_path, usage_from, timeout_s=0.3, processor=processor) as site:
        site.upstream.answers = False
        reply = await site.post()
        assert reply.status_code == 504
        async with asyncio.timeout(HANG_S):
            await site.upstream.arrived.wait()
        await all_ended(site.routoo)
        assert replies(site.routoo)["failed"] == 1
        assert (site.cost_usd("estimated") > 0) == (setting == "estimate")


@both_ways
async def test_an_upstream_that_was_never_reached_costs_nothing(
    tmp_path: Path, usage_from: str
) -> None:
    async with site_of(tmp_path, usage_from, up=False) as site:
        assert (await site.post()).status_code == 503
        await all_ended(site.routoo)
        assert replies(site.routoo)["failed"] == 1
        assert site.cost_usd("estimated") == 0


@both_ways
async def test_an_odd_byte_in_a_header_loses_no_booking(tmp_path: Path, usage_from: str) -> None:
    async with site_of(tmp_path, usage_from) as site:
        site.upstream.go_on.set()
        odd = {"x-request-id": b"caf\xe9", "user-agent": b"caf\xe9", "referer": b"\xff\xfe"}
        sent = [site.post(**(odd if number == 2 else {})) for number in range(6)]
        found = await asyncio.gather(*sent)
        assert [reply.status_code for reply in found] == [200] * 6
        await all_ended(site.routoo)
        assert replies(site.routoo)["read"] == 6
        assert site.cost_usd() == pytest.approx(site.upstream.served * SERVED_USD)


@both_ways
async def test_an_envoy_that_is_killed(tmp_path: Path, usage_from: str) -> None:
    budgets = [{"name": "all", "usd": 1000.0, "per": "365d"}]
    # The processor has seen the text, and books it; otherwise nobody reports the reply.
    ledger = {} if usage_from == "reply" else {"reservation_ttl_s": 1.0}
    async with site_of(tmp_path, usage_from, budgets=budgets, ledger=ledger) as site:
        async with site.http.stream("POST", "/v1/messages", content=BODY) as reply:
            await anext(reply.aiter_bytes())
            await site.envoy.aclose()
        async with asyncio.timeout(HANG_S):
            while True:
                (state,) = (await site.routoo.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
                if state.settled_usd > 0 and not state.reserved_usd:
                    break
        assert state.granted_requests == 1
        if usage_from == "reply":
            assert state.settled_usd >= FLOWED_USD - 1e-9
