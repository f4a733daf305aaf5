"""Sends ten thousand malformed requests to every RPC; ``make fuzz`` sends a million."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from fuzz.api import fuzz
from fuzz.bodies import REQUESTS
from support.tiny_service import refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_no_crash_no_hang_and_nothing_internal() -> None:
    found = await fuzz(10_000, seed=20)
    assert found["failures"] == []
    assert found["requests"] == 10_000
    # Many requests have to be malformed, and many have to be good.
    assert found["statuses"]["INVALID_ARGUMENT"] > 3000
    assert found["statuses"]["OK"] > 1500


async def test_a_call_that_ends_without_its_message_is_answered(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        for rpc in sorted(set(REQUESTS) - {"RouteStream"}):
            call = running.channel.stream_unary(f"/routoo.v1.RouterService/{rpc}")(timeout=60)
            await call.done_writing()
            assert await refusal(call) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "the call carries no message; send one",
            )
