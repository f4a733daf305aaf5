"""The official client calls two upstreams through a real Envoy with deploy/envoy/envoy.yaml."""

from __future__ import annotations

import asyncio
import base64
import gzip
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
import pytest_asyncio

from routoo.api.extproc import access_log
from routoo.api.extproc.exchange import Exchange
from routoo.v1 import budget_pb2
from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, TEXT, Upstream, upstream
from support.peers.real_envoy import envoy_config, free_port, processor, running_envoy
from support.processor_stream import chat_body
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
USD = {
    name: INPUT_TOKENS * read * 1e-6 + OUTPUT_TOKENS * written * 1e-6
    for name, read, written in (("small", 0.1, 0.2), ("medium", 1, 2), ("large", 10, 30))
}
BODY_BYTES = 64 * 1024
ENVOY_BYTES = 128 * 1024
SHORT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that run: the service, its Envoy, two providers, and clients of the Envoy."""

    routoo: Running
    local: Upstream
    hosted: Upstream
    http: httpx.AsyncClient
    ai: openai.AsyncOpenAI

    def metric(self, name: str, **labels: str) -> float:
        found = self.routoo.service.metrics.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    async def settled(self) -> None:
        """Waits until no stream is open and all outcomes are booked."""
        found = self.routoo.service.processor
        assert found is not None
        async with asyncio.timeout(HANG_S):
            await found.settled()

    def reset(self) -> None:
        for one in (self.local, self.hosted):
            one.received.clear()
            one.arrived.clear()
            one.hold.set()
            one.status, one.compressed, one.usage, one.piece_bytes = 200, False, True, 0

    async def post(
        self, content: bytes, headers: dict[str, str] | None = None, path: str = CHAT
    ) -> httpx.Response:
        return await self.http.post(
            path, content=content, headers={"content-type": "application/json", **(headers or {})}
        )


@asynccontextmanager
async def site_of(folder: Path, **sections: Any) -> AsyncIterator[Site]:
    settings = {"enabled": True, "max_body_bytes": BODY_BYTES, **sections.pop("processor", {})}
    async with AsyncExitStack() as all_of_it:
        local = await all_of_it.enter_async_context(upstream())
        hosted = await all_of_it.enter_async_context(upstream())
        routoo = await all_of_it.enter_async_context(
            # Learned, the lengths of these replies would change what is chosen.
            serving(
                tiny_settings(folder, processor=settings, corrections={"learn": False}, **sections)
            )
        )
        config, port = envoy_config(
            routoo=int(routoo.service.address.rpartition(":")[2]),
            local=local.port,
            hosted=hosted.port,
            local_models="small",
        )
        listener = config["static_resources"]["listeners"][0]
        listener["per_connection_buffer_limit_bytes"] = ENVOY_BYTES
        # Everything runs in this process, on a machine that may be busy.
        processor(config).update({"message_timeout": f"{HANG_S:.0f}s"})
        await all_of_it.enter_async_context(running_envoy(config, folder, port))
        url = f"http://127.0.0.1:{port}"
        http = await all_of_it.enter_async_context(httpx.AsyncClient(base_url=url, timeout=HANG_S))
        ai = await all_of_it.enter_async_context(
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0, timeout=HANG_S)
        )
        yield Site(routoo, local, hosted, http, ai)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["reply", "access_log"])
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    processor = {"usage_from": request.param}
    async with site_of(tmp_path_factory.mktemp("envoy"), processor=processor) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    running.reset()
    yield running
    running.reset()
    await running.settled()


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(("text", "model"), [("easy", "small"), ("hard", "large")])
async def test_the_model_picks_the_cluster(site: Site, text: str, model: str) -> None:
    cost = site.metric("routoo_reported_cost_usd_total", model=model)
    raw = await site.ai.chat.completions.with_raw_response.create(model="auto", messages=user(text))
    reply = raw.parse()
    assert (reply.model, reply.choices[0].message.content) == (model, TEXT)
    took, other = (site.local, site.hosted) if model == "small" else (site.hosted, site.local)
    assert took.last.json["model"] == model
    assert not other.received
    assert raw.headers["x-routoo-model"] == took.last.headers["x-routoo-model"] == model
    for name in ("x-routoo-decision-id", "x-routoo-score", "x-routoo-cost-usd"):
        assert raw.headers[name] == took.last.headers[name]
    assert took.last.headers["authorization"] == "Bearer key"
    await site.settled()
    settled = site.metric("routoo_reported_cost_usd_total", model=model) - cost
    assert settled == pytest.approx(USD[model])


async def test_a_body_survives_to_the_byte(site: Site) -> None:
    body = (
        '{ "temperature":1.50,"seed" : 12345678901234567890, "user":"\\u0041\\/é",\r\n'
        '"model"\t: "auto","x":{"model":"auto"},"model":"auto","messages":[{"content":"easy"}],'
        '"model_":1e5,"n":-0.0 }'
    ).encode()
    reply = await site.post(body)
    assert reply.status_code == 200
    expected = body.replace(b'"auto","x"', b'"small","x"').replace(b'"auto","m', b'"small","m')
    assert site.local.last.body == expected
    assert site.local.last.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize("usage", [True, False])
async def test_a_streamed_chat(site: Site, usage: bool) -> None:  # noqa: FBT001
    before = site.metric("routoo_http_replies_total", result="read")
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    stream = await site.ai.chat.completions.create(
        model="auto", messages=user("hard"), stream=True, **options
    )
    text = ""
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text == TEXT
    await site.settled()
    read = site.metric("routoo_http_replies_total", result="read") - before
    assert read == usage


async def test_a_streamed_reply_is_not_held_back(site: Site) -> None:
    site.hosted.hold.clear()
    stream = await site.ai.chat.completions.create(model="auto", messages=user("hard"), stream=True)
    first = await anext(stream)
    assert first.choices[0].delta.role == "assistant"  # the upstream still holds back the rest
    site.hosted.hold.set()
    assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("piece_bytes", [1, 5, 40])
async def test_a_streamed_reply_in_small_pieces(site: Site, piece_bytes: int) -> None:
    cost = site.metric("routoo_reported_cost_usd_total", model="large")
    site.hosted.piece_bytes = piece_bytes
    for kind in ("chat", "messages"):
        body = (
            b'{"model":"auto","max_tokens":100,"stream":true,"stream_options":{"include_usage":true'
            b'},"messages":[{"role":"user","content":"hard"}]}'
        )
        path = CHAT if kind == "chat" else "/v1/messages"
        reply = await site.post(body, path=path)
        assert reply.text.count("data:") > 2
    await site.settled()
    settled = site.metric("routoo_reported_cost_usd_total", model="large") - cost
    assert settled == pytest.approx(2 * USD["large"])


async def test_responses_and_completions(site: Site) -> None:
    before = site.metric("routoo_http_replies_total", result="read")
    response = await site.ai.responses.create(model="auto", input="hard")
    assert (response.model, response.output_text) == ("large", TEXT)
    stream = await site.ai.responses.create(model="auto", input="easy", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.completed"
    completion = await site.ai.completions.create(model="auto", prompt="easy")
    assert (completion.model, completion.choices[0].text) == ("small", TEXT)
    await site.settled()
    assert site.metric("routoo_http_replies_total", result="read") - before == 3


@pytest.mark.parametrize("streamed", [b"false", b"true"])
async def test_messages(site: Site, streamed: bytes) -> None:
    cost = site.metric("routoo_reported_cost_usd_total", model="large")
    body = (
        b'{"model":"auto","max_tokens":100,"stream":%s,"messages":[{"role":"user",'
        b'"content":[{"type":"text","text":"hard"}]}]}' % streamed
    )
    reply = await site.post(body, path="/v1/messages")
    assert reply.headers["x-routoo-model"] == "large"
    await site.settled()
    settled = site.metric("routoo_reported_cost_usd_total", model="large") - cost
    assert settled == pytest.approx(USD["large"])


async def test_constraints_in_headers(site: Site) -> None:
    reply = await site.ai.chat.completions.create(
        model="auto",
        messages=user("hard"),
        extra_headers={"x-routoo-max-cost-usd": "0.001", "x-routoo-tenant": "acme"},
    )
    assert reply.model == "medium"
    assert "x-routoo-tenant" not in site.hosted.last.headers


async def test_a_request_that_names_its_model_is_untouched(site: Site) -> None:
    body = b'{"model":"gpt-4o", "messages":[]}'
    forged = {"x-routoo-model": "small", "x-routoo-score": "1"}
    reply = await site.post(body, forged)
    assert reply.status_code == 200
    assert not any(name.startswith("x-routoo") for name in reply.headers)
    assert not site.local.received  # the forged header did not pick the cluster
    assert site.hosted.last.body == body
    assert not any(name.startswith("x-routoo") for name in site.hosted.last.headers)


async def test_a_refusal_is_an_error_of_the_client_library(site: Site) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await site.ai.chat.completions.create(
            model="auto", messages=user("hard"), extra_headers={"x-routoo-min-score": "1"}
        )
    assert caught.value.code == "no_eligible_model"
    assert "min_score" in caught.value.message
    assert not site.local.received
    assert not site.hosted.received


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not JSON", {}),
        (b"", {}),
        (b'{"model":"large"', {}),
        (b"\x1f\x8b\x08 gzip", {"content-encoding": "gzip"}),
        (b'{"model":"auto","x":"' + b"x" * BODY_BYTES + b'"}', {}),
        (b'{"model":"auto","x":"' + b"x" * 8 * ENVOY_BYTES + b'"}', {}),
    ],
)
async def test_what_is_not_read_passes(site: Site, body: bytes, headers: dict[str, str]) -> None:
    await site.post(body, headers)
    assert site.hosted.last.body == body


@pytest.mark.parametrize("size", [100, BODY_BYTES + 1000, 8 * ENVOY_BYTES])
async def test_a_chunked_body(site: Site, size: int) -> None:
    body = b'{"model":"auto","messages":[{"content":"easy"}],"x":"' + b"x" * size + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    reply = await site.http.post(CHAT, content=pieces())
    assert reply.status_code == 200
    if size < BODY_BYTES:
        assert site.local.last.body == body.replace(b'"auto"', b'"small"')
        lengths = {"content-length", "transfer-encoding"} & site.local.last.headers.keys()
        assert lengths == {
            "transfer-encoding"
        }  # never both, as servers differ in which one they use
    else:
        assert site.hosted.last.body == body


async def test_a_compressed_reply_is_settled_at_the_estimate(site: Site) -> None:
    before = site.metric("routoo_http_replies_total", result="estimated")
    site.hosted.compressed = True
    reply = await site.ai.chat.completions.create(model="auto", messages=user("hard"))
    assert reply.choices[0].message.content == TEXT
    assert "accept-encoding" not in site.hosted.last.headers
    await site.settled()
    assert site.metric("routoo_http_replies_total", result="estimated") - before == 1


@pytest.mark.parametrize("status", [429, 500])
async def test_an_upstream_s_error_reaches_the_caller_and_costs_nothing(
    site: Site, status: int
) -> None:
    before = site.metric("routoo_http_replies_total", result="failed")
    costs = [site.metric("routoo_reported_cost_usd_total", model=model) for model in USD]
    site.hosted.status = status
    with pytest.raises(openai.APIStatusError) as caught:
        await site.ai.chat.completions.create(model="auto", messages=user("hard"))
    assert caught.value.status_code == status
    # The fallback is asked, and fails as well.
    assert [one.json["model"] for one in site.hosted.received] == ["large", "medium"]
    assert caught.value.response.headers["x-routoo-model"] == "medium"
    await site.settled()
    assert site.metric("routoo_http_replies_total", result="failed") - before == 1
    assert [site.metric("routoo_reported_cost_usd_total", model=model) for model in USD] == costs


async def test_a_caller_that_leaves_is_settled(site: Site) -> None:
    before = site.metric("routoo_http_replies_total", result="gone")
    site.hosted.hold.clear()
    stream = await site.ai.chat.completions.create(model="auto", messages=user("hard"), stream=True)
    await anext(stream)
    await stream.close()
    await site.settled()
    assert site.metric("routoo_http_replies_total", result="gone") - before == 1


async def test_many_at_once(site: Site) -> None:
    async def one(number: int) -> None:
        text, model = (("easy", "small"), ("hard", "large"))[number % 2]
        reply = await site.ai.chat.completions.create(model="auto", messages=user(text))
        assert reply.model == model

    await asyncio.gather(*map(one, range(64)))
    await site.settled()


async def test_a_refusal_of_what_cannot_be_read(tmp_path: Path) -> None:
    refuse = {"on_unreadable": "refuse", "on_too_large": "refuse"}
    async with site_of(tmp_path, processor=refuse) as site:
        for body, headers, status in (
            (b"not JSON", {}, 400),
            (b"\x1f\x8b", {"content-encoding": "gzip"}, 400),
            (b"\x1f\x9d", {"content-encoding": "compress"}, 415),
            (b'{"x":"' + b"x" * BODY_BYTES + b'"}', {}, 413),
        ):
            reply = await site.post(body, headers)
            assert reply.status_code == status
            assert reply.json()["error"]["message"]
        assert not site.hosted.received


DEEP = b'{"a":' * 900 + b"1" + b"}" * 900


async def test_no_odd_body_reaches_an_upstream_as_it_came(site: Site) -> None:
    said = b'"messages":[{"role":"user","content":"hard"}]'
    for body, status in (
        (b'{"model":"auto",%b,"x":NaN}' % said, 400),
        (b'{"model":"auto",%b,"n":8,"n":1}' % said, 400),
        (b'{"model":"auto",%b}}' % said, 400),
        (b'{"model":"auto"', 400),
        (b'{"model":"auto",%b,"x":"\xff"}' % said, 400),
        ('{"model":"auto","messages":[]}'.encode("utf-16"), 400),
        (b'{"model":"auto",%b,"tools":[%b]}' % (said, DEEP), 200),
        (b'{"model":"auto","messages":[{"role":"user","content":"hard \\ud83d"}]}', 200),
    ):
        site.reset()
        reply = await site.post(body)
        assert reply.status_code == status, (body[:99], reply.text)
        if status == 200:
            assert site.hosted.last.body == body.replace(
                b'"auto"', b'"%b"' % site.hosted.last.json["model"].encode()
            )
        else:
            assert reply.json()["error"]["type"] == "invalid_request_error"
            assert not site.hosted.received
            assert not site.local.received


STRICT = {"on_unreadable": "refuse", "on_too_large": "refuse"}
TWO_BUDGETS = [
    {"name": "everyone", "usd": 1000.0, "per": "365d"},
    {"name": "team-a", "tenant": "a", "usd": 1.0, "per": "365d"},
]


@pytest.mark.parametrize("usage_from", ["reply", "access_log"])
async def test_a_named_model_pays_its_tenants_budget(tmp_path: Path, usage_from: str) -> None:
    settings = {"named_models": "book", "usage_from": usage_from, **STRICT}
    async with site_of(tmp_path, processor=settings, budgets=TWO_BUDGETS) as site:
        tenant = {"x-routoo-tenant": "a"}

        async def settled_usd() -> list[float]:
            await site.settled()
            reply = await site.routoo.stub.GetBudget(budget_pb2.GetBudgetRequest())
            assert [one.reserved_usd for one in reply.budgets] == [0.0, 0.0]
            return [one.settled_usd for one in reply.budgets]

        for asks in (
            site.ai.chat.completions.create(
                model="large", messages=user("easy"), max_tokens=100, extra_headers=tenant
            ),
            site.ai.responses.create(
                model="large", input="easy", max_output_tokens=100, extra_headers=tenant
            ),
        ):
            assert (await asks).model == "large"
        assert await settled_usd() == [pytest.approx(2 * USD["large"])] * 2
        assert len(site.hosted.received) == 2
        assert "x-routoo-tenant" not in site.hosted.last.headers
        # Small is next door, and a named model gets there, too; streamed, as Anthropic's API.
        body = b'{"model":"small","max_tokens":9,"stream":true,"messages":[]}'
        body = body.replace(b"[]", b'[{"role":"user","content":"easy"}]')
        reply = await site.post(body, tenant, "/v1/messages")
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-routoo-model"] == "small"
        assert site.local.last.body == body
        assert await settled_usd() == [pytest.approx(2 * USD["large"] + USD["small"])] * 2
        with pytest.raises(openai.APIStatusError) as caught:
            await site.ai.chat.completions.create(
                model="large", messages=user("easy"), max_tokens=40_000, extra_headers=tenant
            )
        assert (caught.value.status_code, caught.value.code) == (402, "budget_spent")
        with pytest.raises(openai.BadRequestError) as unknown:
            await site.ai.chat.completions.create(model="gpt-9", messages=user("easy"))
        assert "is not one of the pool" in unknown.value.message
        assert len(site.hosted.received) == 2


async def test_a_named_model_is_refused_as_its_api_does(tmp_path: Path) -> None:
    async with site_of(tmp_path, processor={"named_models": "refuse", **STRICT}) as site:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await site.ai.chat.completions.create(model="large", messages=user("easy"))
        assert caught.value.message.endswith("send auto")
        refused = await site.post(b'{"model":"large"}', path="/v1/chat%2fcompletions")
        assert refused.status_code == 403
        assert not site.hosted.received
        reply = await site.ai.chat.completions.create(model="auto", messages=user("easy"))
        assert reply.model == "small"


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_processor_is_down(tmp_path: Path, allowed: bool) -> None:  # noqa: FBT001
    async with upstream() as local, upstream() as hosted:
        config, port = envoy_config(routoo=free_port(), local=local.port, hosted=hosted.port)
        processor(config)["failure_mode_allow"] = allowed
        async with (
            running_envoy(config, tmp_path, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S) as http,
        ):
            body = b'{"model":"auto","messages":[]}'
            forged = {"x-routoo-model": "meta-llama/Meta-Llama-3.1-8B-Instruct"}
            reply = await http.post(CHAT, content=body, headers=forged)
        if allowed:
            assert reply.status_code == 200
            assert hosted.last.body == body
        else:
            assert reply.status_code == 503
            assert not hosted.received
        assert not local.received


async def test_the_service_stops_while_a_reply_streams(tmp_path: Path) -> None:
    async with site_of(tmp_path, shutdown_grace_s=0.2) as site:
        site.hosted.hold.clear()
        stream = await site.ai.chat.completions.create(
            model="auto", messages=user("hard"), stream=True
        )
        await anext(stream)
        await site.routoo.service.stop()
        site.hosted.hold.set()
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("path", "body_bytes", "messages"),
    [
        (CHAT, 300, 1),
        (CHAT, SHORT_BYTES, 1),
        (CHAT, SHORT_BYTES + 1, 2),
        ("/v1/Chat/Complet%69ons?x=/", 300, 1),
    ],
)
async def test_a_short_body_comes_with_the_headers(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, body_bytes: int, messages: int
) -> None:
    answer, entries = Exchange.answer, access_log.entries_of
    seen: list[str] = []
    logged: list[bytes] = []

    def recorded(exchange: Exchange, message: Any) -> Any:
        seen.append(message.WhichOneof("request"))
        return answer(exchange, message)

    def noted(body: bytes, *others: Any) -> Any:
        logged.append(body)
        return entries(body, *others)

    monkeypatch.setattr(Exchange, "answer", recorded)
    monkeypatch.setattr(access_log, "entries_of", noted)
    body = chat_body("easy", padding="")
    body = chat_body("easy", padding="p" * (body_bytes - len(body)))
    reply = await site.post(body, path=path)
    assert reply.status_code == 200, reply.text
    assert len([one for one in seen if one.startswith("request_")]) == messages
    expected = body.replace(b'"auto"', b'"small"')
    assert site.local.last.body == expected
    assert site.local.last.headers["content-length"] == str(len(expected))
    assert "transfer-encoding" not in site.local.last.headers
    await site.settled()
    # The text has left the metadata before the log is written.
    assert not any(b"easy" in one or base64.b64encode(body) in one for one in logged)


async def test_a_compressed_short_body_is_routed(site: Site) -> None:
    body = chat_body("hard", padding="p" * 4000)
    reply = await site.post(gzip.compress(body), {"content-encoding": "gzip"})
    assert reply.status_code == 200, reply.text
    expected = body.replace(b'"auto"', b'"large"')
    assert site.hosted.last.body == expected
    assert site.hosted.last.headers["content-length"] == str(len(expected))
    assert "content-encoding" not in site.hosted.last.headers


async def test_a_short_body_for_a_named_model_passes_without_the_processors_headers(
    site: Site,
) -> None:
    body = chat_body("hard", model="large")
    reply = await site.post(body, {"x-routoo-tenant": "acme"})
    assert reply.status_code == 200, reply.text
    assert site.hosted.last.body == body
    assert site.hosted.last.headers["content-length"] == str(len(body))
    assert not [name for name in site.hosted.last.headers if name.startswith("x-routoo-")]


async def test_a_short_body_whose_rest_does_not_come_is_left(site: Site) -> None:
    port = site.http.base_url.port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n".encode() + b'{"model":"auto"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.post(chat_body("easy"))).status_code == 200
    assert len(site.local.received) == 1
