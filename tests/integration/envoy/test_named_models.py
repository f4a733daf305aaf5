"""Requests that name their model: passed, booked in their tenant's budgets, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routoo.errors import ConfigError
from routoo.v1 import budget_pb2
from support.access_log import entry, tell
from support.logged_engine import lines_of
from support.processor_stream import (
    chat_body,
    headers_of,
    reply_body,
    reply_headers,
    request_body,
    request_headers,
    stream,
    usage_body,
)
from support.tiny_processor import all_ended, with_settings
from support.tiny_service import Running, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

STRICT = {"on_too_large": "refuse", "on_unreadable": "refuse"}
BOOK, REFUSE = ({"named_models": one, **STRICT} for one in ("book", "refuse"))
BUDGETS = [
    {"name": "everyone", "usd": 1000.0, "per": "365d"},
    {"name": "team-a", "tenant": "a", "usd": 0.01, "per": "365d"},
]
# By path, the body of each API that names a model.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hard"}]},
    "/v1/responses": {"input": "hard"},
    "/v1/completions": {"prompt": "hard"},
    "/v1/messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "hard"}]},
}


async def budgets(running: Running) -> dict[str, budget_pb2.Budget]:
    reply = await running.stub.GetBudget(budget_pb2.GetBudgetRequest())
    return {one.name: one for one in reply.budgets}


async def asked(
    running: Running, body: bytes, headers: dict[str, str] | None = None, **head: Any
) -> Any:
    """Sends a request and returns the answer to its body."""
    async with stream(running.channel) as one:
        await one.say(request_headers(headers, **head))
        return await one.say(request_body(body))


@pytest.mark.parametrize("path", BODIES)
async def test_a_named_model_is_booked_and_answers(tmp_path: Path, path: str) -> None:
    async with with_settings(tmp_path, processor=BOOK, budgets=BUDGETS) as running:
        body = b' {"model":"Medium", ' + orjson.dumps(BODIES[path])[1:]
        async with stream(running.channel) as one:
            sent = await one.routed(body, {"x-routoo-tenant": "a"}, path)
            changed = sent.request_body.response
            told = headers_of(changed.header_mutation)
            assert told["x-routoo-model"] == "medium"
            assert "x-routoo-tenant" in changed.header_mutation.remove_headers
            assert changed.body_mutation.body == body  # not a byte is another
            assert (await budgets(running))["team-a"].reserved_usd > 0.0
            await one.say(reply_headers())
            await one.say(reply_body(usage_body(1000, 100)))
        await all_ended(running)
        found = await budgets(running)
        assert found["team-a"].settled_usd == found["everyone"].settled_usd == 0.0012


async def test_a_spent_budget_refuses_the_model_that_is_named(tmp_path: Path) -> None:
    fallback = {"fallback_model": "small", "fallback_on": ["budget_spent"]}
    settings = {**BOOK, **fallback}
    async with with_settings(tmp_path, processor=settings, budgets=BUDGETS) as running:
        large = chat_body(model="large", max_tokens=1000)
        refused = (await asked(running, large, {"x-routoo-tenant": "a"})).immediate_response
        assert refused.status.code == 402
        error = orjson.loads(refused.body)["error"]
        assert error["code"] == "budget_spent"
        assert "team-a" in error["message"]
        # The common budget has enough, for another tenant; and a routed request falls back.
        assert (await asked(running, large)).HasField("request_body")
        routed = chat_body(max_tokens=1000)
        limits = {"x-routoo-tenant": "a", "x-routoo-allowed-models": "large"}
        sent = (await asked(running, routed, limits)).request_body.response
        assert headers_of(sent.header_mutation)["x-routoo-model"] == "small"


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [(REFUSE, 403, "may not be named here; send auto"), (BOOK, 400, "is not one of the pool")],
    ids=["refuse", "book"],
)
@pytest.mark.parametrize("path", BODIES)
async def test_a_refusal_is_in_the_format_of_the_api(
    tmp_path: Path, path: str, settings: dict[str, Any], status: int, words: str
) -> None:
    async with with_settings(tmp_path, processor=settings) as running:
        body = orjson.dumps({"model": "gpt-9", **BODIES[path]})
        refused = (await asked(running, body, path=path)).immediate_response
        assert refused.status.code == status
        found = orjson.loads(refused.body)
        assert words in found["error"]["message"]
        kind = "permission_error" if status == 403 else "invalid_request_error"
        assert found["error"]["type"] == kind
        if path == "/v1/messages":
            assert found["type"] == "error"
        else:
            assert (found["error"]["code"], found["error"]["param"]) == ("named_model", "model")
        route = orjson.dumps({"model": "auto", **BODIES[path]})
        assert (await asked(running, route, path=path)).HasField("request_body")


NAMELESS = {
    "no model": b'{"messages": []}',
    "a number": b'{"model": 1}',
    "empty": b'{"model": ""}',
    "two models": b'{"model": "small", "model": "large"}',
    "escaped twin": b'{"model": "small", "mod\\u0065l": "large"}',
    "a list": b'["model", "small"]',
    "not JSON": b'{"model": "large"',
    "UTF-16": '{"model": "large"}'.encode("utf-16"),
    "two in a large body": b'{"model": "small", "model": "large", "x": "%b"}' % (b"x" * 100_000),
    "a route and a model": b'{"model": "auto", "model": "large"}',
}


@pytest.mark.parametrize("case", NAMELESS)
@pytest.mark.parametrize("settings", [BOOK, REFUSE], ids=["book", "refuse"])
async def test_no_odd_body_gets_by(tmp_path: Path, case: str, settings: dict[str, Any]) -> None:
    async with with_settings(tmp_path, processor=settings) as running:
        for path in (
            "/v1/chat/completions",
            "/V1/chat%2Fcompletions",
            "//v1/Chat/Completions/?a=b",
        ):
            refused = (await asked(running, NAMELESS[case], path=path)).immediate_response
            assert 400 <= refused.status.code < 500
        async with stream(running.channel) as one:
            packed = await one.say(request_headers({"content-encoding": "compress"}))
            assert packed.immediate_response.status.code == 415


async def test_a_named_model_keeps_the_limits_of_its_headers(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=BOOK) as running:
        large = chat_body(model="large", max_tokens=1000)
        for name, value in (
            ("x-routoo-max-cost-usd", "0.001"),
            ("x-routoo-allowed-models", "small,medium"),
            ("x-routoo-denied-models", "large"),
        ):
            refused = (await asked(running, large, {name: value})).immediate_response
            assert refused.status.code == 400
            assert orjson.loads(refused.body)["error"]["code"] == "no_eligible_model"
        # Small has no vision, by the pool; whoever names it knows better.
        picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        seen = [{"role": "user", "content": [{"type": "text", "text": "easy"}, picture]}]
        body = orjson.dumps({"model": "small", "messages": seen})
        assert (await asked(running, body)).HasField("request_body")


async def test_by_default_a_named_model_passes_unpaid(tmp_path: Path) -> None:
    async with with_settings(tmp_path, budgets=BUDGETS) as running:
        assert await asked(running, chat_body(model="large"), {"x-routoo-tenant": "a"}) is None
        assert (await budgets(running))["everyone"].granted_requests == 0


async def test_envoys_log_settles_a_named_model_and_the_log_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    settings = {**BOOK, "usage_from": "access_log"}
    async with with_settings(
        tmp_path, processor=settings, budgets=BUDGETS, decision_log={"path": path}
    ) as running:
        sent = (await asked(running, chat_body(model="large"))).request_body.response
        decision_id = headers_of(sent.header_mutation)["x-routoo-decision-id"]
        usage = '{"prompt_tokens": 1000, "completion_tokens": 10}'
        await tell(running.channel, entry(decision_id, usage))
        await all_ended(running)
        assert (await budgets(running))["everyone"].settled_usd == 0.0103
        await asked(running, chat_body())
    named, routed = lines_of(path)
    assert (named["id"], named["model"], named["named"]) == (decision_id, "large", True)
    assert named["constraints"]["allowed_models"] == ["large"]
    assert "named" not in routed


@pytest.mark.parametrize("mode", ["book", "refuse"])
@pytest.mark.parametrize("passing", ["on_too_large", "on_unreadable"])
def test_settings_by_which_something_gets_by_are_refused(
    tmp_path: Path, mode: str, passing: str
) -> None:
    values = {"enabled": True, "named_models": mode, **STRICT, passing: "pass"}
    with pytest.raises(ConfigError, match=f"named_models: {mode} needs {passing} to be refuse"):
        tiny_settings(tmp_path, processor=values)
