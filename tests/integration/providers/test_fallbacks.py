"""A real Envoy with deploy/envoy/envoy.yaml asks the first fallback where a provider fails."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
import yaml

from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, TEXT, Upstream, upstream
from support.peers.real_envoy import envoy_config, free_port, processor, running_envoy
from support.processor_stream import chat_body
from support.tiny_pool import ARMED, LARGE, MEDIUM, SMALL
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.config.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
STREAMED = chat_body("hard", stream=True, stream_options={"include_usage": True})
BUDGET = {"name": "all", "usd": 100, "per": "1h"}
SMALL_USD, MEDIUM_USD, LARGE_USD = (
    INPUT_TOKENS * read * 1e-6 + OUTPUT_TOKENS * written * 1e-6
    for read, written in ((0.1, 0.2), (1, 2), (10, 30))
)


@dataclass(frozen=True, slots=True)
class Site:
    """The service, its Envoy, and two providers: "large" at one, the other models at the other."""

    settings: Settings
    routoo: Running
    first: Upstream
    other: Upstream
    http: httpx.AsyncClient

    def reset(self) -> None:
        for one in (self.first, self.other):
            one.received.clear()
            one.hold.set()
            one.status, one.failures, one.headers, one.silent, one.breaks = 200, 0, "", False, False

    async def post(self, body: bytes, path: str = CHAT, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            path, content=body, headers={"content-type": "application/json", **named}
        )

    def metric(self, name: str, **labels: str) -> float:
        found = self.routoo.service.metrics.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    async def settled_usd(self) -> float:
        """Waits until all is booked, and returns what the ledger has booked in all."""
        found = self.routoo.service.processor
        assert found is not None
        async with asyncio.timeout(HANG_S):
            await found.settled()
        state = (await self.routoo.service.engine.budgets())[0][0]
        assert state.reserved_usd == 0.0
        return state.settled_usd


@asynccontextmanager
async def site_of(
    folder: Path, *, models: tuple[dict[str, Any], ...] = (), down: bool = False, **sections: Any
) -> AsyncIterator[Site]:
    settings = {"enabled": True, "first_byte_s": 0.3, **sections.pop("processor", {})}
    specs = {"models": list(models or (SMALL, MEDIUM, LARGE))}
    (folder / "pool.yaml").write_text(yaml.safe_dump(specs), encoding="utf-8")
    async with AsyncExitStack() as all_of_it:
        first = await all_of_it.enter_async_context(upstream())
        other = await all_of_it.enter_async_context(upstream())
        made = tiny_settings(
            folder,
            processor=settings,
            corrections={"learn": False},
            health={"enabled": False, **sections.pop("health", {})},
            budgets=[BUDGET],
            **sections,
        )
        routoo = await all_of_it.enter_async_context(serving(made))
        config, port = envoy_config(
            routoo=int(routoo.service.address.rpartition(":")[2]),
            local=free_port() if down else first.port,
            hosted=other.port,
            local_models="large",
        )
        processor(config).update({"message_timeout": f"{HANG_S:.0f}s"})
        await all_of_it.enter_async_context(running_envoy(config, folder, port))
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S)
        )
        yield Site(made, routoo, first, other, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["reply", "access_log"])
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    processor = {"usage_from": request.param}
    async with site_of(tmp_path_factory.mktemp("fallbacks"), processor=processor) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    running.reset()
    yield running
    running.reset()
    await running.settled_usd()


async def test_a_provider_that_works_is_asked_once(site: Site) -> None:
    before = await site.settled_usd()
    reply = await site.post(chat_body("hard"))
    assert (reply.status_code, reply.headers["x-routoo-model"]) == (200, "large")
    assert (len(site.first.received), len(site.other.received)) == (1, 0)
    assert "x-routoo-fallback-model" not in reply.headers
    assert await site.settled_usd() - before == pytest.approx(LARGE_USD, abs=1e-12)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("trouble", ["429", "500", "503", "529", "breaks"])
async def test_the_fallback_answers_and_is_booked_once(
    site: Site, trouble: str, *, streams: bool
) -> None:
    if trouble == "breaks":
        site.first.breaks = True
    else:
        site.first.status = int(trouble)
        site.first.headers = "retry-after: 7\r\nx-routoo-model: forged\r\n"
    before = await site.settled_usd()
    body = (
        b'{ "model" : "auto","messages":[{"role":"user","content":"hard"}],"stream":%s,'
        b'"stream_options":{"include_usage":true}, "seed":12345678901234567890 ,'
        b'"user":"\\u0041\xc3\xa9"}'
    ) % (b"true" if streams else b"false")
    reply = await site.post(body)
    assert reply.status_code == 200
    assert streams or reply.json()["choices"][0]["message"]["content"] == TEXT
    (first,), (second,) = site.first.received, site.other.received
    assert first.body == body.replace(b'"auto"', b'"large"')
    answering = second.json["model"]
    assert second.body == body.replace(b'"auto"', b'"%s"' % answering.encode())
    assert second.headers["content-length"] == str(len(second.body))
    assert reply.headers["x-routoo-model"] == second.headers["x-routoo-model"] == answering
    assert reply.headers["x-routoo-cost-usd"] == second.headers["x-routoo-cost-usd"]
    assert reply.headers["x-routoo-decision-id"] == first.headers["x-routoo-decision-id"]
    assert first.headers["x-routoo-fallback-model"] == answering
    assert "x-routoo-fallback-model" not in {*second.headers, *reply.headers}
    usd = {"small": SMALL_USD, "medium": MEDIUM_USD}[answering]
    assert await site.settled_usd() - before == pytest.approx(usd, abs=1e-12)


async def test_a_streamed_reply_that_does_not_begin_is_given_up(site: Site) -> None:
    site.first.silent = True
    before = site.metric("routoo_http_retries_total", cause="reset")
    reply = await site.post(chat_body("hard", stream=True))
    assert reply.status_code == 200
    assert (len(site.first.received), len(site.other.received)) == (1, 1)
    await site.settled_usd()
    assert site.metric("routoo_http_retries_total", cause="reset") - before == 1


async def test_a_reply_that_has_begun_is_never_tried_again(site: Site) -> None:
    site.first.hold.clear()
    body = chat_body("hard", stream=True)
    async with site.http.stream("POST", CHAT, content=body) as reply:
        assert reply.headers["x-routoo-model"] == "large"
        pieces = reply.aiter_bytes()
        assert await anext(pieces)
        await asyncio.sleep(0)
        site.first.hold.set()
        assert b"[DONE]" in b"".join([piece async for piece in pieces])
    assert not site.other.received


async def test_the_second_failure_reaches_the_caller_and_costs_nothing(site: Site) -> None:
    site.first.status = site.other.status = 503
    before = await site.settled_usd()
    reply = await site.post(chat_body("hard"))
    assert reply.status_code == 503
    assert reply.headers["x-routoo-model"] == site.other.last.headers["x-routoo-model"]
    assert (len(site.first.received), len(site.other.received)) == (1, 1)
    assert await site.settled_usd() == before


@pytest.mark.parametrize("status", [400, 401, 404, 413])
async def test_what_the_caller_has_to_correct_is_not_tried_again(site: Site, status: int) -> None:
    site.first.status = status
    reply = await site.post(chat_body("hard"))
    assert (reply.status_code, reply.headers["x-routoo-model"]) == (status, "large")
    assert not site.other.received


async def test_a_request_that_names_its_model_or_has_no_fallback_is_not_tried_again(
    site: Site,
) -> None:
    site.first.status = site.other.status = 503
    assert (await site.post(chat_body("hard", model="gpt-4o"))).status_code == 503
    assert len(site.other.received) == 1
    only = await site.post(chat_body("hard"), x_routoo_allowed_models="large")
    assert only.status_code == 503
    assert len(site.first.received) == 1


async def test_callers_can_forge_no_try(site: Site) -> None:
    forged = {
        "x_envoy_attempt_count": "1",
        "x_routoo_fallback_model": "medium",
        "x_envoy_max_retries": "5",
        "x_envoy_retry_on": "5xx,retriable-4xx",
        "x_envoy_upstream_rq_per_try_timeout_ms": "1",
    }
    reply = await site.post(chat_body("hard"), **forged)
    assert (reply.status_code, reply.headers["x-routoo-model"]) == (200, "large")
    assert not site.other.received
    assert site.first.last.headers["x-routoo-fallback-model"] != "forged"
    site.first.status = 404
    await site.post(chat_body("hard", model="large"), **forged)
    site.first.status = site.other.status = 503
    await site.post(chat_body("hard", model="gpt-4o"), **forged)
    assert (len(site.first.received), len(site.other.received)) == (1, 2)


async def test_a_large_body_is_edited_to_the_byte(site: Site) -> None:
    site.first.status = 503
    body = chat_body("hard", metadata={"x": "y" * 1_000_000, "é": "\u2028"})
    assert (await site.post(body)).status_code == 200
    name = site.other.last.json["model"].encode()
    assert site.other.last.body == body.replace(b'"auto"', b'"%s"' % name, 1)


async def test_many_fail_at_once(site: Site) -> None:
    """Envoy's own limit of tries at once is three, unless the cluster says more."""
    site.first.status = 429
    before = await site.settled_usd()
    replies = await asyncio.gather(*(site.post(chat_body("hard")) for _ in range(40)))
    assert {one.status_code for one in replies} == {200}
    costs = {"small": SMALL_USD, "medium": MEDIUM_USD}
    billed = sum(costs[one.json["model"]] for one in site.other.received)
    assert len(site.other.received) == 40
    assert await site.settled_usd() - before == pytest.approx(billed, abs=1e-12)


async def test_the_fallback_s_arm_stands_in_for_the_first_one_s(tmp_path: Path) -> None:
    policy = {"name": "best", "fallbacks": {"count": 1}}
    async with site_of(tmp_path, models=ARMED, policy=policy) as site:
        site.first.status = 503
        reply = await site.post(b'{"model":"auto","messages":[{"role":"user","content":"hard"}]}')
        assert reply.status_code == 200
        (first,), (second,) = site.first.received, site.other.received
        assert first.json["model"] == "large"
        assert second.json["model"] != "large"
        assert reply.headers.get("x-routoo-arm") == second.headers.get("x-routoo-arm")
        booked_usd = await site.settled_usd()
        (offered,) = (await site.routoo.route("hard")).fallbacks
        assert offered.model == second.json["model"]
        assert offered.arm.name == second.headers.get("x-routoo-arm", "")
        fields = json.loads(offered.arm.body_json["chat"]) if offered.HasField("arm") else {}
        assert {**second.json, **fields} == second.json
        usd = {"small": SMALL_USD, "medium": MEDIUM_USD}[offered.model]
        assert booked_usd == pytest.approx(usd, abs=1e-12)


async def test_a_provider_that_refuses_connections(tmp_path: Path) -> None:
    async with site_of(tmp_path, down=True, processor={"usage_from": "access_log"}) as site:
        replies = [await site.post(chat_body("hard")) for _ in range(3)]
        assert {one.status_code for one in replies} == {200}
        assert len(site.other.received) == 3


async def test_the_processor_may_be_gone_by_the_second_try(tmp_path: Path) -> None:
    """The plan was with the decision, so that nobody is asked again."""
    async with site_of(tmp_path, processor={"usage_from": "access_log"}) as site:
        site.first.silent = True
        waiting = asyncio.create_task(site.post(chat_body("hard", stream=True)))
        await site.first.arrived.wait()
        stopping = asyncio.create_task(site.routoo.service.stop())
        assert (await waiting).status_code == 200
        assert len(site.other.received) == 1
        await stopping


async def test_no_fallbacks_no_second_try(tmp_path: Path) -> None:
    async with site_of(tmp_path, policy={"fallbacks": {"count": 0}}) as site:
        site.first.status = 503
        reply = await site.post(chat_body("hard"))
        assert (reply.status_code, reply.headers["x-routoo-model"]) == (503, "large")
        assert not site.other.received


async def test_a_pool_without_the_fallback_by_the_time_it_answers(tmp_path: Path) -> None:
    async with site_of(tmp_path, processor={"usage_from": "access_log"}) as site:
        site.first.silent = True
        waiting = asyncio.create_task(site.post(STREAMED))
        await site.first.arrived.wait()
        fallback = site.first.last.headers["x-routoo-fallback-model"]
        left = [one for one in (SMALL, MEDIUM, LARGE) if one["name"] != fallback]
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": left}), encoding="utf-8")
        settings = site.settings
        assert await site.routoo.service.reloader.start(lambda: settings) == "switched"
        assert fallback not in site.routoo.service.engine.pool.names
        assert (await waiting).status_code == 200
        assert site.other.last.json["model"] == fallback
        usd = {"small": SMALL_USD, "medium": MEDIUM_USD}[fallback]
        assert await site.settled_usd() == pytest.approx(usd, abs=1e-12)
