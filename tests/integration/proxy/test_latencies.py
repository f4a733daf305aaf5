"""Times that the doors measure of replies are learned, as those of Envoy's log are."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from support.peers.proxied import proxied
from support.peers.raw_upstream import raw_upstream, silent

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hard"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
LEARNS = {"interval_s": 0.01}


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
        found = await one.running.learned_times("large", 1)
        assert (found.reports, found.first_token_reports) == (1, 1)


async def test_a_time_out_teaches_that_the_model_is_slow(tmp_path: Path) -> None:
    async with raw_upstream(silent) as provider:
        waits = {"base_url": f"http://127.0.0.1:{provider.port}/v1", "first_byte_timeout_s": 0.05}
        async with (
            proxied(tmp_path, entries={"large": waits}, corrections=LEARNS) as one,
            one.http() as client,
        ):
            assert (await client.post(PATH, json=CHAT)).status_code == 504
            assert (await one.running.learned_times("large", 1)).first_token_reports == 0
