"""A request enters few files of the code, so that a reader has to open few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.processor_stream import chat_body, reply_body, reply_headers, stream, usage_body
from support.tiny_processor import all_ended, with_settings
from support.tiny_service import serving, tiny_settings
from support.walk import walked

if TYPE_CHECKING:
    from pathlib import Path

# Of one that may not suffice, a price follows after a while, and with it a reason.
BUDGET = {"name": "all", "usd": 9e6, "per": "30d"}
WARM_UP = 3
SELDOM = {"interval_s": 3600.0}
"""What is learned of replies is taken up between requests, and is no part of the way of one."""
SOLVED_SELDOM = {"prices": {"resolve_interval_s": 3600.0}}
"""The sentence of a reason is made anew where the price is new, as it may be twice a second."""


@pytest.mark.parametrize(
    ("budgets", "most_files"), [([], 25), ([BUDGET], 32)], ids=["plain", "budget"]
)
async def test_a_route_enters_few_files(
    tmp_path: Path, budgets: list[dict[str, object]], most_files: int
) -> None:
    settings = tiny_settings(tmp_path, budgets=budgets, corrections=SELDOM, policy=SOLVED_SELDOM)
    async with serving(settings) as running:
        for _ in range(WARM_UP):
            await running.route("easy")
        async with walked(running.service) as walk:
            await running.route("easy")
    assert len(walk.files) <= most_files, sorted(walk.files)
    # The way begins in the API and ends with the inference.
    assert walk.way[0].startswith("api/")
    assert walk.way[-1].startswith("predictor/onnx.py")
    assert len(walk.way) <= 10, walk.way


async def test_an_exchange_with_envoy_enters_few_files(tmp_path: Path) -> None:
    async with with_settings(tmp_path, corrections=SELDOM) as running:

        async def exchange() -> None:
            async with stream(running.channel) as one:
                await one.routed(chat_body("easy"))
                await one.say(reply_headers())
                await one.say(reply_body(usage_body(10, 10)))
            await all_ended(running)

        for _ in range(WARM_UP):
            await exchange()
        async with walked(running.service) as walk:
            await exchange()
    # Five of them keep the session that the body tells, two the health of the model, five find
    # fallbacks and tell Envoy of the first, one looks whether a message is compressed, one is what
    # the HTTP front shares with Envoy, three are for gateways whose bodies come in several messages
    # (their modes, the memory that they hold, and the reply for itself), and one answers questions
    # that need no model.
    assert len(walk.files) <= 58, sorted(walk.files)
