"""Requests of LLM clients through the HTTP front: routed, forwarded, answered, and booked."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import anthropic
import brotli
import openai
import pytest
import yaml

from support.artifacts.zstd import zstd
from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, TEXT
from support.peers.proxied import KEY, proxied

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from support.peers.proxied import Proxied

MESSAGES: Any = [{"role": "user", "content": "easy"}]
BUDGET = {"name": "all", "usd": 10, "per": "1h"}
CHAT = {"model": "auto", "messages": MESSAGES}
AGREE = {"intercept": 0.0, "slope": 8.0}
CASCADE = {
    "format_version": 1,
    "predictor_version": "tiny-1",
    "corrections": [
        {
            "signal": "agreement",
            "answered_by": "small",
            "beside": "medium",
            "centre": 0.5,
            "models": {
                "small": AGREE,
                "medium": AGREE,
                "large": {"intercept": 0.0, "slope": 0.0},
            },
            "chance": {"intercept": 0.0, "answered_by": 0.5, "beside": 0.5},
        }
    ],
}


async def post(one: Proxied, path: str, body: Any, **headers: str) -> httpx.Response:
    """Posts JSON, or bytes, as a plain client does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with one.http() as client:
        if isinstance(body, bytes):
            return await client.post(path, content=body, headers=named)
        return await client.post(path, json=body, headers=named)


async def test_a_chat_is_routed_and_booked(tmp_path: Path) -> None:
    async with proxied(tmp_path, budgets=[BUDGET]) as one:
        raw = await one.openai().chat.completions.with_raw_response.create(
            model="auto", messages=MESSAGES, extra_headers={"x-routoo-tenant": "a"}
        )
        reply = raw.parse()
        assert reply.choices[0].message.content == TEXT
        chosen = raw.headers["x-routoo-model"]
        sent = one.upstream.last
        assert sent.json["model"] == chosen == reply.model
        assert raw.headers["x-routoo-decision-id"]
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        assert not [name for name in sent.headers if name.startswith("x-routoo")]
        assert sent.headers["accept-encoding"] == "identity"
        assert await one.replies() == {"read": 1}
        assert one.requests() == {"routed": 1}
        prices = {"small": (0.1, 0.2), "medium": (1.0, 2.0), "large": (10.0, 30.0)}[chosen]
        cost_usd = (INPUT_TOKENS * prices[0] + OUTPUT_TOKENS * prices[1]) * 1e-6
        ((budget, _),) = one.running.service.engine.accounting.budgets()
        assert budget.settled_usd == pytest.approx(cost_usd)


@pytest.mark.parametrize("streams", [False, True])
async def test_responses_and_completions_are_routed(tmp_path: Path, *, streams: bool) -> None:
    async with proxied(tmp_path) as one:
        client = one.openai()
        if streams:
            events = await client.responses.create(model="auto", input="easy", stream=True)
            kinds = [event.type async for event in events]
            assert kinds[-1] == "response.completed"
            pieces = await client.completions.create(model="auto", prompt="easy", stream=True)
            assert [piece async for piece in pieces]
        else:
            answered = await client.responses.create(model="auto", input="easy")
            assert answered.output_text == TEXT
            completed = await client.completions.create(model="auto", prompt="easy")
            assert completed.choices[0].text == TEXT
        assert [each.path for each in one.upstream.received] == ["/v1/responses", "/v1/completions"]
        ended = await one.replies()
        assert ended == ({"read": 1, "estimated": 1} if streams else {"read": 2})


@pytest.mark.parametrize("streams", [False, True])
async def test_messages_are_routed(tmp_path: Path, *, streams: bool) -> None:
    async with proxied(tmp_path) as one:
        client = one.anthropic()
        if streams:
            events = await client.messages.create(
                model="auto", max_tokens=100, messages=MESSAGES, stream=True
            )
            kinds = [event.type async for event in events]
            assert kinds[-1] == "message_stop"
        else:
            reply = await client.messages.create(model="auto", max_tokens=100, messages=MESSAGES)
            assert reply.content[0].text == TEXT  # type: ignore[union-attr]
        sent = one.upstream.last
        assert sent.path == "/v1/messages"
        assert sent.headers["anthropic-version"]
        assert "callers-key" not in str(sent.headers)
        assert await one.replies() == {"read": 1}


async def test_a_provider_of_messages_alone_gets_its_key_in_its_own_header(tmp_path: Path) -> None:
    one_form = {"apis": ["anthropic"]}
    async with proxied(tmp_path, provider=one_form) as one:
        await one.anthropic().messages.create(model="auto", max_tokens=9, messages=MESSAGES)
        assert one.upstream.last.headers["x-api-key"] == KEY
        assert "authorization" not in one.upstream.last.headers
        refused = await post(one, "/v1/chat/completions", CHAT)
        assert refused.status_code == 400
        assert "upstream" in refused.json()["error"]["message"]


async def test_models_are_listed_in_both_forms(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        listed = [model.id async for model in one.openai().models.list()]
        assert listed == ["auto", "small", "medium", "large"]
        assert [model.id async for model in one.anthropic().models.list()] == listed
        assert (await one.openai().models.retrieve("medium")).id == "medium"
        assert (await one.anthropic().models.retrieve("auto")).type == "model"
        with pytest.raises(openai.NotFoundError):
            await one.openai().models.retrieve("nobody/none")


async def test_tokens_are_counted_here_or_by_the_provider(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        client = one.anthropic()
        counted = await client.messages.with_raw_response.count_tokens(
            model="auto", messages=MESSAGES
        )
        assert 1 <= (await counted.parse()).input_tokens <= 30
        assert counted.headers["x-routoo-estimated"] == "input_tokens"
        assert one.upstream.received == []
        await post(
            one,
            "/v1/messages/count_tokens",
            {"model": "medium", "messages": MESSAGES},
            anthropic_version="2023-06-01",
        )
        assert one.upstream.last.path == "/v1/messages/count_tokens"
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.count_tokens(model="nobody", messages=MESSAGES)
        assert await one.replies() == {}


async def test_named_models_pass_by_the_rule(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        reply = await post(one, "/v1/chat/completions", {**CHAT, "model": "medium"})
        assert reply.status_code == 200
        assert "x-routoo-model" not in reply.headers
        assert one.upstream.last.json["model"] == "medium"
        assert await one.replies() == {}
        assert one.requests() == {"passed": 1}
        unknown = await post(one, "/v1/chat/completions", {**CHAT, "model": "nobody"})
        assert unknown.status_code == 400
        assert unknown.json()["error"]["param"] == "model"


async def test_named_models_are_booked_or_refused_where_settings_say_so(tmp_path: Path) -> None:
    strict = {"on_too_large": "refuse", "on_unreadable": "refuse"}
    booking = {"named_models": "book", **strict}
    async with proxied(tmp_path, processor=booking) as one:
        reply = await post(one, "/v1/chat/completions", {**CHAT, "model": "medium"})
        assert reply.headers["x-routoo-model"] == "medium"
        assert await one.replies() == {"read": 1}
    refusing = {"named_models": "refuse", **strict}
    async with proxied(tmp_path, processor=refusing) as one:
        reply = await post(one, "/v1/chat/completions", {**CHAT, "model": "medium"})
        assert reply.status_code == 403
        assert [model.id async for model in one.openai().models.list()] == ["auto"]


async def test_the_provider_gets_its_own_names_of_models(tmp_path: Path) -> None:
    provider = {"upstream_models": {"medium": "deployment-7"}}
    async with proxied(tmp_path, provider=provider) as one:
        body = {**CHAT, "model": "medium", "temperature": 0.5}
        await post(one, "/v1/chat/completions", body)
        assert one.upstream.last.json == {**body, "model": "deployment-7"}


async def test_a_model_without_a_provider_is_not_chosen(tmp_path: Path) -> None:
    async with proxied(tmp_path, entries={"medium": {}}) as one:
        for _ in range(3):
            reply = await post(one, "/v1/chat/completions", CHAT)
            assert reply.headers["x-routoo-model"] == "medium"
        listed = [model.id async for model in one.openai().models.list()]
        assert listed == ["auto", "medium"]
        refused = await post(
            one, "/v1/chat/completions", CHAT, x_routoo_allowed_models="small,large"
        )
        assert refused.status_code == 400


async def test_a_refusal_has_the_form_of_its_api(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        limits = {"x-routoo-max-cost-usd": "0.0000000001"}
        with pytest.raises(openai.BadRequestError) as told:
            await one.openai(default_headers=limits).chat.completions.create(
                model="auto", messages=MESSAGES
            )
        assert told.value.type == "invalid_request_error"
        with pytest.raises(anthropic.BadRequestError) as shown:
            await one.anthropic(default_headers=limits).messages.create(
                model="auto", max_tokens=10, messages=MESSAGES
            )
        assert shown.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
        assert one.upstream.received == []
        assert one.requests() == {"refused": 2}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"[1, 2]", 400),
        (b'{"model": "auto"', 400),
        (b'{"model": "auto", "messages": [], "messages": []}', 400),
        (b'{"messages": [{"role": "user", "content": "easy"}]}', 400),
        (b'{"model": 7, "messages": []}', 400),
        (
            b'{"model": "auto", "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 20000),
            413,
        ),
    ],
)
async def test_a_wrong_body_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with proxied(tmp_path, processor={"max_body_bytes": 16384}) as one:
        reply = await post(one, "/v1/chat/completions", body, content_type="application/json")
        assert reply.status_code == status
        assert reply.json()["error"]["message"]
        assert one.upstream.received == []


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_compressed_body_is_routed(tmp_path: Path, coding: str) -> None:
    plain = b'{"model": "auto", "messages": [{"role": "user", "content": "easy"}]}'
    make = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstd.compress}[coding]
    async with proxied(tmp_path) as one:
        reply = await post(one, "/v1/chat/completions", make(plain), content_encoding=coding)
        assert reply.status_code == 200
        assert one.upstream.last.json["model"] == reply.headers["x-routoo-model"]
        assert "content-encoding" not in one.upstream.last.headers
        counted = "/v1/messages/count_tokens"
        told = await post(one, counted, make(plain), content_encoding=coding)
        assert told.json()["input_tokens"] >= 1
        named = plain.replace(b"auto", b"medium")
        await post(one, counted, make(named), content_encoding=coding)
        assert one.upstream.last.body == named


@pytest.mark.parametrize(("coding", "status"), [("gzip", 400), ("compress", 415)])
async def test_a_body_in_no_known_coding_is_refused(
    tmp_path: Path, coding: str, status: int
) -> None:
    async with proxied(tmp_path) as one:
        for path in ("/v1/chat/completions", "/v1/messages/count_tokens"):
            reply = await post(one, path, b"\0\1", content_encoding=coding)
            assert reply.status_code == status
            assert reply.json()["error"]["message"]


async def test_other_methods_and_upgrades_are_refused(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        shown = await client.get("/v1/chat/completions")
        assert (shown.status_code, shown.headers["allow"]) == (405, "POST")
        assert (await client.head("/v1/models")).status_code == 200
        upgrade = {"connection": "upgrade", "upgrade": "websocket"}
        asked = await client.get("/v1/responses", headers=upgrade)
        assert asked.status_code == 426
        assert (await client.get("/v1/unknown")).status_code == 404


async def test_a_cascade_is_refused_unless_a_request_names_its_policy(tmp_path: Path) -> None:
    rule = tmp_path / "rule.yaml"
    rule.write_text(yaml.safe_dump(CASCADE))
    policy = {"name": "cascade", "cascade": rule, "offered": ["cheapest"]}
    async with proxied(tmp_path, policy=policy) as one:
        refused = await post(one, "/v1/chat/completions", CHAT)
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert error["param"] == "x-routoo-policy"
        assert "policy.name" in error["message"]
        assert one.upstream.received == []
        named = await post(one, "/v1/chat/completions", CHAT, x_routoo_policy="cheapest")
        assert named.headers["x-routoo-model"] == "small"
        direct = await post(one, "/v1/chat/completions", {**CHAT, "model": "medium"})
        assert direct.status_code == 200


async def test_headers_of_accounts_and_pages_go_neither_way(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        one.upstream.headers = (
            "access-control-allow-origin: *\r\nopenai-organization: ours\r\nx-served-by: 7\r\n"
        )
        reply = await post(
            one,
            "/v1/chat/completions",
            CHAT,
            openai_project="theirs",
            x_goog_api_key="theirs",
            openai_beta="kept",
        )
        assert "theirs" not in one.upstream.last.headers.values()
        assert one.upstream.last.headers["openai-beta"] == "kept"
        assert reply.headers["x-served-by"] == "7"
        assert not {"access-control-allow-origin", "openai-organization"} & set(reply.headers)


async def test_replies_that_were_given_are_kept_elsewhere(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        with pytest.raises(openai.NotFoundError, match="the provider that gave this reply has it"):
            await one.openai().responses.retrieve("resp_1")
        with pytest.raises(openai.NotFoundError, match="the provider that gave this reply has it"):
            await one.openai().responses.cancel("resp_1")
        with pytest.raises(openai.NotFoundError):
            await one.openai().responses.delete("resp_1")
        assert one.upstream.received == []
