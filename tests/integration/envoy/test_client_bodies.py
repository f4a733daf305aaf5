"""Bodies that clients really send are routed to models that can take it, or refused with a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import yaml

from support.processor_stream import headers_of, request_body, request_headers, stream
from support.tables.client_bodies import ClientBody, client_bodies
from support.tiny_pool import LARGE, MEDIUM, SMALL
from support.tiny_processor import with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.tiny_service import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = 12
BODIES = client_bodies()
ABLE = {
    "small": {"chat", "audio"},
    "medium": {"chat", "tools", "json"},
    "large": {"chat", "tools", "json", "vision"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("clients")
    specs = [
        {**spec, "capabilities": sorted(ABLE[spec["name"]])} for spec in (SMALL, MEDIUM, LARGE)
    ]
    pool = folder / "clients.yaml"
    pool.write_text(yaml.safe_dump({"models": specs}))
    async with with_settings(folder, pool=pool) as found:
        yield found


async def test_there_are_sixty_bodies_of_twelve_clients() -> None:
    assert len(BODIES) == 60
    assert len({one.client for one in BODIES}) == CLIENTS
    assert len({str(one) for one in BODIES}) == len(BODIES)


@pytest.mark.parametrize("one", BODIES, ids=str)
async def test_a_body_becomes_what_is_documented(running: Running, one: ClientBody) -> None:
    async with stream(running.channel) as said:
        await said.say(request_headers(one.headers, path=one.path))
        answer = await said.say(request_body(one.content))
        if one.outcome == "passed":
            assert answer is None or not answer.HasField("immediate_response")
            return
        if one.outcome != "routed":
            refused = answer.immediate_response
            assert refused.status.code == 400
            assert one.outcome in json.loads(refused.body)["error"]["message"]
            return
    routed = answer.request_body.response
    model = headers_of(routed.header_mutation)["x-routoo-model"]
    assert one.needs <= ABLE[model]
    # Nothing but the model has changed, to the byte.
    assert json.loads(routed.body_mutation.body) == one.sent_as(model)
    spaces = len(one.content) - len(b"auto")
    assert len(routed.body_mutation.body) == spaces + len(model)
