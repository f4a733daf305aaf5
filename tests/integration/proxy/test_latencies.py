"""Times that the doors measure of replies are learned, as those of Envoy's log are."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from routoo.v1 import info_pb2
from support.peers.proxied import proxied
from support.peers.raw_upstream import raw_upstream, silent
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.proxied import Proxied

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hard"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
INTERVAL_S = 0.01
LEARNS = {"interval_s": INTERVAL_S}


async def times_of_large(one: Proxied) -> info_pb2.LearnedTimes:
    listed = await one.running.stub.ListModels(info_pb2.ListModelsRequest())
    found: info_pb2.LearnedTimes = next(
        model.learned_times for model in listed.models if model.name == "large"
    )
    return found


async def learned(one: Proxied, reports: int) -> info_pb2.LearnedTimes:
    """Waits until so many reports of the model large have been learned."""
    async with asyncio.timeout(HANG_S):
        while True:
            found = await times_of_large(one)
            if found.reports >= reports:
                return found
            await asyncio.sleep(INTERVAL_S)


async def test_the_first_piece_of_a_stream_is_timed(tmp_path: Path) -> None:
    async with (
        proxied(tmp_path, entries={"large": {}}, corrections=LEARNS) as one,
        one.http() as client,
    ):
        one.upstream.hold.clear()
        began_s = perf_counter()
        async with client.stream("POST", PATH, json=STREAM) as reply:
            pieces = reply.aiter_raw()
            await anext(pieces)
            # A stream is told by a first piece that came long before the last.
            await asyncio.sleep(3.0 * (perf_counter() - began_s))
            one.upstream.hold.set()
            assert [piece async for piece in pieces]
        assert await one.replies() == {"read": 1}
        found = await learned(one, 1)
        assert (found.reports, found.first_token_reports) == (1, 1)


async def test_a_time_out_teaches_that_the_model_is_slow(tmp_path: Path) -> None:
    async with raw_upstream(silent) as provider:
        waits = {"base_url": f"http://127.0.0.1:{provider.port}/v1", "first_byte_timeout_s": 0.05}
        async with (
            proxied(tmp_path, entries={"large": waits}, corrections=LEARNS) as one,
            one.http() as client,
        ):
            assert (await client.post(PATH, json=CHAT)).status_code == 504
            assert (await learned(one, 1)).first_token_reports == 0
