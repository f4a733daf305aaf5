"""The processor asks for the chosen arm in the body of each API, and touches nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio
import yaml

from support.processor_stream import (
    CHAT,
    chat_body,
    headers_of,
    reply_body,
    reply_headers,
    stream,
    usage_body,
)
from support.tiny_pool import LARGE, MEDIUM, SMALL
from support.tiny_processor import all_ended, with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.tiny_service import Running

ARMS = [
    {"name": "plain"},
    {"name": "high", "effort": "high"},
    {"name": "thinks", "thinking_budget_tokens": 2048},
    {"name": "short", "effort": "low", "max_output_tokens": 50},
    {"name": "vendor", "body": {"chat": {"chat_template_kwargs": {"enable_thinking": True}}}},
]
PATHS = {
    "chat": CHAT,
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
}
SAID: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "hard"}]},
    "responses": {"input": "hard"},
    "completions": {"prompt": "hard"},
    "messages": {"messages": [{"role": "user", "content": "hard"}], "max_tokens": 4000},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def armed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("armed")
    specs = [SMALL, {**MEDIUM, "arms": ARMS}, LARGE]
    (folder / "pool.yaml").write_text(yaml.safe_dump({"models": specs}))
    fallback = {"fallback_model": "medium@high", "fallback_on": ["no_eligible_model"]}
    async with with_settings(folder, processor=fallback, policy={"offered": ["best"]}) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def asked(
    running: Running, api: str, arm: str, **fields: Any
) -> tuple[bytes, bytes, dict[str, str]]:
    """Returns the body as it came, as it leaves, and the headers that are set."""
    body = orjson.dumps({"model": "auto", **SAID[api], **fields})
    async with stream(running.channel) as one:
        reply = await one.routed(body, {"x-routoo-allowed-models": arm}, PATHS[api])
        routed = reply.request_body.response
        assert routed.clear_route_cache, reply
        await one.say(reply_headers())
        await one.say(reply_body(usage_body(10, 10)))
    await all_ended(running)
    return body, routed.body_mutation.body, headers_of(routed.header_mutation)


@pytest.mark.parametrize(
    ("api", "arm", "added"),
    [
        ("chat", "plain", b""),
        ("completions", "plain", b""),
        ("chat", "high", b',"reasoning_effort":"high"'),
        ("responses", "high", b',"reasoning":{"effort":"high"}'),
        ("messages", "high", b',"output_config":{"effort":"high"}'),
        ("messages", "thinks", b',"thinking":{"type":"enabled","budget_tokens":2048}'),
        ("chat", "vendor", b',"chat_template_kwargs":{"enable_thinking":true}'),
        ("chat", "short", b',"reasoning_effort":"low","max_completion_tokens":50'),
        ("responses", "short", b',"reasoning":{"effort":"low"},"max_output_tokens":50'),
    ],
)
async def test_the_arms_fields_are_added_and_no_other_byte_changes(
    armed: Running, api: str, arm: str, added: bytes
) -> None:
    came, left, headers = await asked(armed, api, f"medium@{arm}")
    assert left == came[:-1].replace(b'"auto"', b'"medium"') + added + b"}"
    assert headers["x-routoo-model"] == "medium"
    assert headers["x-routoo-arm"] == arm
    assert headers["content-length"] == str(len(left))


async def test_an_object_of_the_callers_gets_the_arms_fields(armed: Running) -> None:
    _, left, _ = await asked(armed, "responses", "medium@high", reasoning={"summary": "auto"})
    assert orjson.loads(left)["reasoning"] == {"summary": "auto", "effort": "high"}


@pytest.mark.parametrize(
    ("api", "own", "arm"),
    [
        ("chat", {"reasoning_effort": "high"}, "high"),
        ("chat", {"reasoning_effort": "minimal"}, "short"),
        ("responses", {"reasoning": {"effort": "xhigh"}}, "high"),
    ],
)
async def test_the_callers_own_effort_stands_and_chooses_the_arm(
    armed: Running, api: str, own: dict[str, Any], arm: str
) -> None:
    came, left, headers = await asked(armed, api, "medium", **own)
    assert headers["x-routoo-arm"] == arm
    limit = b"" if arm != "short" else b',"max_completion_tokens":50'
    assert left == came[:-1].replace(b'"auto"', b'"medium"') + limit + b"}"


async def test_the_smaller_longest_answer_is_sent(armed: Running) -> None:
    _, left, _ = await asked(armed, "chat", "medium@short", max_tokens=20)
    assert orjson.loads(left)["max_tokens"] == 20
    assert "max_completion_tokens" not in orjson.loads(left)
    _, left, _ = await asked(armed, "chat", "medium@short", max_tokens=2000)
    assert orjson.loads(left)["max_tokens"] == 50
    _, left, _ = await asked(armed, "messages", "medium@short")
    assert orjson.loads(left)["max_tokens"] == 50


async def test_an_arm_that_the_api_cannot_ask_for_is_not_chosen(armed: Running) -> None:
    _, _, headers = await asked(armed, "completions", "medium")
    assert headers["x-routoo-arm"] == "plain"
    _, _, headers = await asked(armed, "messages", "medium@thinks,medium@plain", temperature=0.3)
    assert headers["x-routoo-arm"] == "plain"


async def test_the_fallback_may_be_an_arm(armed: Running) -> None:
    headers = {"x-routoo-min-score": "1.0"}
    async with stream(armed.channel) as one:
        routed = (await one.routed(chat_body("hard"), headers)).request_body.response
    body = orjson.loads(routed.body_mutation.body)
    assert (body["model"], body["reasoning_effort"]) == ("medium", "high")
    assert headers_of(routed.header_mutation)["x-routoo-arm"] == "high"


async def test_a_caller_cannot_forge_the_arm(armed: Running) -> None:
    async with stream(armed.channel) as one:
        headers = {"x-routoo-arm": "high", "x-routoo-allowed-models": "small"}
        routed = (await one.routed(chat_body("easy"), headers)).request_body.response
        assert "x-routoo-arm" in routed.header_mutation.remove_headers
        assert "x-routoo-arm" not in headers_of(routed.header_mutation)


async def test_a_policy_that_asks_two_models_is_refused_here(armed: Running) -> None:
    async with stream(armed.channel) as one:
        reply = await one.routed(chat_body("easy"), {"x-routoo-policy": "cascade"})
        told = orjson.loads(reply.immediate_response.body)["error"]
        assert reply.immediate_response.status.code == 400
        assert "asks two models" in told["message"]


async def test_limits_of_models_by_api_name_arms_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("spoken")
    specs = [SMALL, {**MEDIUM, "arms": ARMS}, LARGE]
    (folder / "pool.yaml").write_text(yaml.safe_dump({"models": specs}))
    speak = {"messages_models": ["medium@thinks", "medium@plain", "large"]}
    async with with_settings(folder, processor=speak) as running:
        _, _, headers = await asked(running, "messages", "medium", temperature=0.5)
        assert headers["x-routoo-arm"] == "plain"


@pytest.mark.parametrize(("own", "arm"), [({}, "plain"), ({"reasoning_effort": "high"}, "high")])
async def test_a_body_that_names_its_model_is_booked_as_its_effort_says(
    tmp_path_factory: pytest.TempPathFactory, own: dict[str, Any], arm: str
) -> None:
    folder = tmp_path_factory.mktemp("named")
    # The last two cost less, and nobody would ask for them.
    arms = [
        {"name": "high", "effort": "high"},
        {"name": "plain"},
        {"name": "flex", "service_tier": "flex"},
        {"name": "short", "max_output_tokens": 1},
    ]
    specs = [SMALL, {**MEDIUM, "arms": arms, "service_tiers": {"flex": 0.5}}, LARGE]
    (folder / "pool.yaml").write_text(yaml.safe_dump({"models": specs}))
    booked = {"named_models": "book", "on_too_large": "refuse", "on_unreadable": "refuse"}
    body = chat_body("hard", model="Medium", **own)
    async with with_settings(folder, processor=booked) as running:
        costs = {}
        for name in ("high", "plain"):
            reply = await running.route("hard", allowed_models=[f"medium@{name}"])
            costs[name] = f"{reply.predicted_cost_usd:.6g}"
        async with stream(running.channel) as one:
            routed = (await one.routed(body)).request_body.response
        assert routed.body_mutation.body in (b"", body)
        headers = headers_of(routed.header_mutation)
        assert headers["x-routoo-model"] == "medium"
        assert "x-routoo-arm" not in headers
        assert costs["high"] != costs["plain"]
        assert headers["x-routoo-cost-usd"] == costs[arm]
