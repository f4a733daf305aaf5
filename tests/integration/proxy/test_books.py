"""Replies whose usage other gateways have read wrong are booked at the provider's word."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.peers.proxied import proxied
from support.peers.raw_upstream import raw_upstream, sends
from support.tiny_pool import LARGE, SPECS

if TYPE_CHECKING:
    from pathlib import Path

PRICES = {
    "usd_per_1m_input_tokens": 5,
    "usd_per_1m_output_tokens": 15,
    "usd_per_1m_cached_input_tokens": 0.5,
    "usd_per_1m_cache_write_tokens": 6.25,
}
BUDGET = {"name": "all", "usd": 10, "per": "1h"}
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %s\r\n\r\n%s"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
NOTHING = dict.fromkeys(USAGE, 0)
TEXT = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hello"}}
DONE = b"data: [DONE]\n\n"


def chat(usage: dict[str, Any], text: str = "hello") -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
    return json.dumps({"model": "large", "choices": [choice], "usage": usage}).encode()


def events(*values: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def chunk(usage: dict[str, Any] | None = None, *choices: dict[str, Any]) -> dict[str, Any]:
    return {"model": "large", "choices": choices, **({} if usage is None else {"usage": usage})}


def messages(start: dict[str, Any], delta: dict[str, Any]) -> bytes:
    return events(
        {"type": "message_start", "message": {"model": "large", "usage": start}},
        TEXT,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta},
        {"type": "message_stop"},
    )


SAID = {"index": 0, "delta": {"content": "hello"}}
CACHED = {**USAGE, "prompt_tokens_details": {"cached_tokens": 900}}
WRITTEN = {
    "input_tokens": 100,
    "cache_read_input_tokens": 9000,
    "cache_creation_input_tokens": 500,
    "output_tokens": 100,
}
ROWS: list[tuple[str, bytes, float]] = [
    (
        "a last delta without input",
        messages(
            {"input_tokens": 1000, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 100}
        ),
        0.0065,
    ),
    (
        "a cache that the first event alone tells",
        messages(
            {"input_tokens": 5, "cache_read_input_tokens": 995, "output_tokens": 1},
            {"input_tokens": 5, "output_tokens": 100},
        ),
        (5 * 5 + 995 * 0.5 + 100 * 15) * 1e-6,
    ),
    ("zeros at the end", events(chunk(None, SAID), chunk(USAGE), chunk(NOTHING)) + DONE, 0.0065),
    (
        "reasoning beside the completion",
        chat(
            {**USAGE, "total_tokens": 1500, "completion_tokens_details": {"reasoning_tokens": 400}}
        ),
        0.0125,
    ),
    (
        "usage in a choice",
        events(chunk(None, SAID), chunk(None, {"index": 0, "delta": {}, "usage": USAGE})) + DONE,
        0.0065,
    ),
    ("a cache of OpenAI", chat(CACHED), (100 * 5 + 900 * 0.5 + 100 * 15) * 1e-6),
    (
        "a cache of Anthropic",
        json.dumps({"type": "message", "model": "large", "usage": WRITTEN}).encode(),
        (100 * 5 + 9000 * 0.5 + 500 * 6.25 + 100 * 15) * 1e-6,
    ),
    ("a cost that is told", chat({**USAGE, "cost": 0.0001}), 0.0001),
]


@pytest.mark.parametrize(("what", "reply", "cost_usd"), ROWS, ids=[row[0] for row in ROWS])
async def test_the_providers_word_is_booked(
    tmp_path: Path, what: str, reply: bytes, cost_usd: float
) -> None:
    large = {**LARGE, **PRICES, "trust_reported_cost": what == "a cost that is told"}
    settled_usd, ended = await booked(tmp_path, reply, large)
    assert ended == {"read": 1}
    assert settled_usd == pytest.approx(cost_usd)


async def test_zeros_beside_a_long_text_are_not_believed(tmp_path: Path) -> None:
    large = {**LARGE, **PRICES}
    settled_usd, ended = await booked(tmp_path, chat(NOTHING, "long " * 2000), large)
    assert ended == {"estimated": 1}
    assert settled_usd > 2000 * 15e-6


async def booked(
    folder: Path, reply: bytes, large: dict[str, Any]
) -> tuple[float, dict[str, float]]:
    """Asks once; returns what is booked, and how the reply has ended."""
    (folder / "pool.yaml").write_text(yaml.safe_dump({"models": [*SPECS[:-1], large]}))
    streams = reply.startswith(b"data:")
    kind = b"text/event-stream" if streams else b"application/json"
    of_anthropic = b"message_start" in reply or b'"type": "message"' in reply
    path = "/v1/messages" if of_anthropic else "/v1/chat/completions"
    body = {"model": "auto", "messages": [{"role": "user", "content": "easy"}], "max_tokens": 300}
    async with raw_upstream(sends(HEAD % (kind, reply))) as provider:
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(folder, entries=entries, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            answered = await client.post(path, json={**body, "stream": streams})
            assert answered.content == reply
            ended = await one.replies()
            ((budget, _),) = one.running.service.engine.accounting.budgets()
            assert budget.reserved_usd == 0
            return budget.settled_usd, ended
