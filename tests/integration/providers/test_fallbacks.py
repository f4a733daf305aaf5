"""A real Envoy with deploy/envoy/envoy.yaml asks the first fallback where a provider fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import yaml

from support.peers.llm_upstream import TEXT
from support.peers.two_providers import CHAT, FIRST_BYTE_S, STREAMED, USD, Site, site_of
from support.processor_stream import chat_body
from support.tiny_pool import ARMED, LARGE, MEDIUM, SMALL
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    assert await site.settled_usd() - before == pytest.approx(USD["large"], abs=1e-12)


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
    usd = USD[answering]
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
    billed = sum(USD[one.json["model"]] for one in site.other.received)
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
        usd = USD[offered.model]
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
        usd = USD[fallback]
        assert await site.settled_usd() == pytest.approx(usd, abs=1e-12)


async def load(site: Site, n: int) -> None:
    """Sends n requests by some callers; each has to be answered."""
    left = iter(range(n))

    async def caller() -> None:
        for _ in left:
            assert (await site.post(STREAMED)).status_code == 200

    await asyncio.gather(*(caller() for _ in range(8)))


def billed_usd(site: Site) -> float:
    """Returns what the providers' answers cost."""
    return sum(USD[model] for one in (site.first, site.other) for model in one.answered)


@pytest.mark.parametrize("trouble", ["503", "429", "breaks", "silent"])
async def test_in_an_outage_no_request_fails_and_each_is_booked_once(
    tmp_path: Path, trouble: str
) -> None:
    # The pauses double, so that probes stay few however slow the machine is.
    health = {"enabled": True, "open_s": 0.2, "max_open_s": 5.0, "slow_start_s": 0.1}
    # A reply that is given up was answered all the same, and would be billed twice.
    processor = {
        "usage_from": "access_log",
        "first_byte_s": FIRST_BYTE_S if trouble == "silent" else 0.0,
    }
    async with site_of(tmp_path, processor=processor, health=health) as site:
        await load(site, 20)
        assert (len(site.first.received), len(site.other.received)) == (20, 0)
        site.first.silent, site.first.breaks = trouble == "silent", trouble == "breaks"
        if trouble.isdigit():
            site.first.status = int(trouble)
        await load(site, 100)
        await site.settled_usd()
        before = len(site.first.received)
        await load(site, 100)  # it is left out now, but for probes
        assert len(site.first.received) - before < 30
        site.first.silent = site.first.breaks = False
        site.first.status = 200
        answered = len(site.first.answered)
        async with asyncio.timeout(HANG_S):
            while len(site.first.answered) == answered:
                await load(site, 10)
        assert await site.settled_usd() == pytest.approx(billed_usd(site), abs=1e-12)
