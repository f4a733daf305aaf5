"""A service whose HTTP front is on, and a client of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

FREE_PORT = {"listen": "127.0.0.1:0"}


@dataclass(frozen=True, slots=True)
class Front:
    """A running service, and a client of its HTTP front.

    Attributes:
        running: the service.
        client: has the front's address as its base.
        address: HOST:PORT of the front.
    """

    running: Running
    client: httpx.AsyncClient
    address: str

    async def post(self, path: str, value: Any, **headers: str) -> httpx.Response:
        """Posts a value as JSON."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.client.post(path, json=value, headers=named)


@pytest.fixture
def fronts(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Front]]:
    """Starts a service with other settings than the defaults."""

    @asynccontextmanager
    async def start(*, http: dict[str, Any] | None = None, **changes: Any) -> AsyncIterator[Front]:
        settings = tiny_settings(tmp_path, http={**FREE_PORT, **(http or {})}, **changes)
        async with serving(settings) as running:
            address = running.service.http_address
            async with httpx.AsyncClient(
                base_url=f"http://{address}", timeout=HANG_S, trust_env=False
            ) as client:
                yield Front(running, client, address)

    return start
