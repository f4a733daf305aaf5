"""A service with its HTTP front before a scripted provider, and clients of both SDKs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai

from support.peers.llm_upstream import Upstream, upstream
from support.tiny_processor import metric
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

KEY = "provider-key"


@dataclass(slots=True)
class Proxied:
    """A service that runs, and its provider.

    Attributes:
        running: the service.
        upstream: the provider of all models.
        before: counts of replies at the start.
    """

    running: Running
    upstream: Upstream
    stack: AsyncExitStack
    before: dict[str, float] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the HTTP front."""
        return f"http://{self.running.service.http_address}"

    def http(self, **more: Any) -> httpx.AsyncClient:
        """Makes a plain client, which waits for as long as only a service that hangs takes."""
        return httpx.AsyncClient(base_url=self.url, timeout=HANG_S, trust_env=False, **more)

    def openai(self, **more: Any) -> openai.AsyncOpenAI:
        """Makes a client of OpenAI's SDK, which does not retry by itself."""
        options: dict[str, Any] = {"api_key": "callers-key", "max_retries": 0, **more}
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", **options)
        self.stack.push_async_callback(client.close)
        return client

    def anthropic(self, **more: Any) -> anthropic.AsyncAnthropic:
        """Makes a client of Anthropic's SDK, which does not retry by itself."""
        options: dict[str, Any] = {"api_key": "callers-key", "max_retries": 0, **more}
        client = anthropic.AsyncAnthropic(base_url=self.url, **options)
        self.stack.push_async_callback(client.close)
        return client

    async def replies(self) -> dict[str, float]:
        """Waits until all requests are booked; returns how replies have ended, by result."""
        proxy = self.running.service.proxy
        assert proxy is not None
        async with asyncio.timeout(HANG_S):
            await proxy.settled()
        return {name: count for name, count in counts(self.running).items() if count}

    def requests(self) -> dict[str, float]:
        """Returns what was done with requests, by result."""
        found = {
            name: metric(self.running, "routoo_http_requests_total", result=name)
            for name in ("routed", "fallback", "passed", "refused")
        }
        return {name: count for name, count in found.items() if count}


def counts(running: Running) -> dict[str, float]:
    """Returns the counts of replies by result."""
    return {
        name: metric(running, "routoo_http_replies_total", result=name)
        for name in ("read", "estimated", "failed", "gone")
    }


def entry(folder: Path, port: int, **more: Any) -> Mapping[str, Any]:
    """Returns the settings of a provider on a port of this machine, and writes its key."""
    (folder / "provider.key").write_text(f"{KEY}\n")
    return {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "apis": ["openai", "anthropic"],
        "api_key_file": folder / "provider.key",
        **more,
    }


@asynccontextmanager
async def proxied(
    folder: Path,
    *,
    provider: Mapping[str, Any] | None = None,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    proxy: Mapping[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[Proxied]:
    """Starts a service with one provider.

    Args:
        folder: of the service's files.
        provider: further settings of the provider of all models.
        entries: the entries of the provider, with further settings of each, in the place of one
            entry for all models.
        proxy: settings of the section besides the upstreams.
        sections: replace other sections of the settings.
    """
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(upstream())
        every = {"*": provider or {}} if entries is None else entries
        section = {
            "known_providers": False,
            "upstreams": {name: entry(folder, one.port, **more) for name, more in every.items()},
            **(proxy or {}),
        }
        settings = tiny_settings(
            folder, **{"http": {"listen": "127.0.0.1:0"}, "proxy": section, **sections}
        )
        running = await stack.enter_async_context(serving(settings))
        yield Proxied(running, one, stack)
