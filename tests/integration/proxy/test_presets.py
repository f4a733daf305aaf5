"""Route names that tell a policy after a colon, for clients that can send no header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from support.peers.proxied import proxied

if TYPE_CHECKING:
    from pathlib import Path

HARD = [{"role": "user", "content": "hard " * 20}]


async def test_a_model_name_may_tell_the_policy(tmp_path: Path) -> None:
    settings = {
        "policy": {"offered": ["cheapest", "best", "quality"]},
        "processor": {
            "route_names": ["auto", "auto:cheapest", "auto:best", "auto:economy", "auto:x"]
        },
    }
    async with proxied(tmp_path, **settings) as one:
        client = one.openai()

        async def model(name: str, **more: object) -> str:
            reply = await client.chat.completions.create(model=name, messages=HARD, **more)
            return str(reply.model)

        listed = [entry.id for entry in (await client.models.list()).data]
        assert listed[:3] == ["auto", "auto:cheapest", "auto:best"]
        assert await model("auto:cheapest") == "small"
        assert await model("auto:best") == "large"
        assert await model("auto:x") == await model("auto")
        header = {"x-routoo-policy": "cheapest"}
        assert await model("auto:best", extra_headers=header) == "small"
        with pytest.raises(openai.BadRequestError, match="unknown policy 'economy'"):
            await model("auto:economy")
        with pytest.raises(openai.APIStatusError):
            await model("auto:quality")  # is no route name here
