"""A service behind a real Envoy with two providers, for tests in which one of them fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, Upstream, upstream
from support.peers.real_envoy import envoy_config, free_port, processor, running_envoy
from support.processor_stream import chat_body
from support.tiny_pool import LARGE, MEDIUM, SMALL
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.config.settings import Settings

CHAT = "/v1/chat/completions"
# Large enough that no price follows from it, and its period does not end during a test.
BUDGET = {"name": "all", "usd": 1e6, "per": "30d"}
# Tests wait as long for a provider that does not answer; one that does must be faster.
FIRST_BYTE_S = 5.0
STREAMED = chat_body("hard", stream=True, stream_options={"include_usage": True})
USD = {
    name: INPUT_TOKENS * read * 1e-6 + OUTPUT_TOKENS * written * 1e-6
    for name, read, written in (("small", 0.1, 0.2), ("medium", 1, 2), ("large", 10, 30))
}
"""The cost of one reply, by the model."""


@dataclass(frozen=True, slots=True)
class Site:
    """The service, its Envoy, and two providers: "large" at one, the other models at the other."""

    settings: Settings
    routoo: Running
    first: Upstream
    other: Upstream
    http: httpx.AsyncClient

    def reset(self) -> None:
        for one in (self.first, self.other):
            one.received.clear()
            one.answered.clear()
            one.hold.set()
            one.status, one.failures, one.headers, one.silent, one.breaks = 200, 0, "", False, False

    async def post(self, body: bytes, path: str = CHAT, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            path, content=body, headers={"content-type": "application/json", **named}
        )

    def metric(self, name: str, **labels: str) -> float:
        found = self.routoo.service.metrics.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    async def settled_usd(self) -> float:
        """Waits until all is booked, and returns what the ledger has booked in all."""
        found = self.routoo.service.processor
        assert found is not None
        async with asyncio.timeout(HANG_S):
            await found.settled()
        state = (await self.routoo.service.engine.budgets())[0][0]
        assert state.reserved_usd == 0.0
        return state.settled_usd


@asynccontextmanager
async def site_of(
    folder: Path, *, models: tuple[dict[str, Any], ...] = (), down: bool = False, **sections: Any
) -> AsyncIterator[Site]:
    settings = {"enabled": True, "first_byte_s": FIRST_BYTE_S, **sections.pop("processor", {})}
    specs = {"models": list(models or (SMALL, MEDIUM, LARGE))}
    (folder / "pool.yaml").write_text(yaml.safe_dump(specs), encoding="utf-8")
    async with AsyncExitStack() as all_of_it:
        first = await all_of_it.enter_async_context(upstream())
        other = await all_of_it.enter_async_context(upstream())
        made = tiny_settings(
            folder,
            processor=settings,
            corrections={"learn": False},
            health={"enabled": False, **sections.pop("health", {})},
            budgets=[BUDGET],
            **sections,
        )
        routoo = await all_of_it.enter_async_context(serving(made))
        config, port = envoy_config(
            routoo=int(routoo.service.address.rpartition(":")[2]),
            local=free_port() if down else first.port,
            hosted=other.port,
            local_models="large",
        )
        processor(config).update({"message_timeout": f"{HANG_S:.0f}s"})
        await all_of_it.enter_async_context(running_envoy(config, folder, port))
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S)
        )
        yield Site(made, routoo, first, other, http)
