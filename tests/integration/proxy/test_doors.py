"""Requests of LLM clients through the HTTP front: routed, forwarded, streamed, and booked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.peers.llm_upstream import TEXT
from support.peers.proxied import proxied

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = [{"role": "user", "content": "easy"}]


async def test_a_chat_is_routed_and_booked(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        client = one.openai()
        raw = await client.chat.completions.with_raw_response.create(
            model="auto", messages=MESSAGES
        )
        reply = raw.parse()
        assert reply.choices[0].message.content == TEXT
        chosen = raw.headers["x-routoo-model"]
        assert one.upstream.last.json["model"] == chosen
        assert raw.headers["x-routoo-decision-id"]
        assert one.upstream.last.headers["authorization"] == "Bearer provider-key"
        assert not [name for name in one.upstream.last.headers if name.startswith("x-routoo")]
        assert await one.replies() == {"read": 1}
