"""Bodies of real clients through the HTTP front go where they go through an Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from support.peers.proxied import Proxied, proxied
from support.tables.client_bodies import ABLE, ClientBody, client_bodies, pool_of_clients
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxied]:
    folder = tmp_path_factory.mktemp("clients")
    async with proxied(folder, pool=pool_of_clients(folder)) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(front: Proxied) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=front.url, timeout=HANG_S, trust_env=False) as found:
        yield found


@pytest.mark.parametrize("one", client_bodies(), ids=str)
async def test_a_body_becomes_what_is_documented(
    front: Proxied, caller: httpx.AsyncClient, one: ClientBody
) -> None:
    front.upstream.received.clear()
    sent = {"content-type": "application/json", **one.headers}
    reply = await caller.post(one.path, content=one.content, headers=sent)
    if one.outcome != "routed":
        assert reply.status_code == 400
        assert not front.upstream.received
        words = "" if one.outcome == "passed" else one.outcome
        assert words in reply.json()["error"]["message"]
        return
    assert reply.status_code == 200, reply.text
    model = reply.headers["x-routoo-model"]
    assert one.needs <= ABLE[model]
    (received,) = front.upstream.received
    assert received.path == one.path
    assert received.json == one.sent_as(model)
    for name, value in one.headers.items():
        assert received.headers.get(name) == value
