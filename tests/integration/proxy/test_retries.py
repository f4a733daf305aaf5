"""Requests whose provider fails: the fallback of the decision answers, and is booked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from support.peers.proxied import entry, proxied
from support.peers.raw_upstream import raw_upstream, sends, silent
from support.tiny_pool import ARMED
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.raw_upstream import RawUpstream

PATH = "/v1/chat/completions"
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "easy"}]}
BUDGET = {"name": "all", "usd": 10, "per": "1h"}
ERROR = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def chosen_model(folder: Path) -> str:
    """Returns the model that is chosen for the request."""
    async with proxied(folder) as one, one.http() as client:
        reply = await client.post(PATH, json=CHAT)
        return reply.headers["x-routoo-model"]


@pytest.mark.parametrize(
    "failure", ["404 -", "429 -", "503 -", "529 -", "garbage", "refused", "silence"]
)
async def test_the_fallback_answers_and_is_booked(tmp_path: Path, failure: str) -> None:
    model = await chosen_model(tmp_path)
    reply = b"" if failure == "garbage" else ERROR % failure.encode()
    script = silent if failure == "silence" else sends(reply)
    async with raw_upstream(script) as broken, asyncio.timeout(HANG_S):
        port = 9 if failure == "refused" else broken.port
        fails: dict[str, Any] = {
            "base_url": f"http://127.0.0.1:{port}/v1",
            "first_byte_timeout_s": 0.1 if failure == "silence" else 60,
        }
        entries = {model: fails, "*": {}}
        async with (
            proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            answered = await client.post(PATH, json=CHAT)
            assert answered.status_code == 200
            other = answered.headers["x-routoo-model"]
            assert other != model
            assert one.upstream.last.json["model"] == other
            assert await one.replies() == {"read": 1}
            ((budget, _),) = one.running.service.engine.accounting.budgets()
            prices = {"small": (0.1, 0.2), "medium": (1.0, 2.0), "large": (10.0, 30.0)}[other]
            cost_usd = (1000 * prices[0] + 500 * prices[1]) * 1e-6
            assert budget.settled_usd == pytest.approx(cost_usd)
            assert budget.reserved_usd == 0


async def test_the_callers_own_fault_is_not_tried_again(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.status = 400
        assert (await client.post(PATH, json=CHAT)).status_code == 400
        assert len(one.upstream.received) == 1
        assert await one.replies() == {"failed": 1}


async def test_the_last_failure_reaches_the_caller(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.status = 503
        answered = await client.post(PATH, json=CHAT)
        assert answered.status_code == 503
        asked = [each.json["model"] for each in one.upstream.received]
        assert len(asked) == len(set(asked)) >= 2
        assert answered.headers["x-routoo-model"] == asked[-1]
        assert await one.replies() == {"failed": 1}


async def test_a_named_model_has_no_fallback(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.status = 503
        assert (await client.post(PATH, json={**CHAT, "model": "large"})).status_code == 503
        assert [each.json["model"] for each in one.upstream.received] == ["large"]


async def test_nothing_is_tried_again_once_the_reply_has_begun(tmp_path: Path) -> None:
    model = await chosen_model(tmp_path)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    async with raw_upstream(sends(head + b"\r\n5\r\nhello\r\n")) as broken:
        entries = {model: entry(tmp_path, broken.port), "*": {}}
        async with (
            proxied(tmp_path, entries=entries) as one,
            one.http() as client,
        ):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(PATH, json={**CHAT, "stream": True})
            assert one.upstream.received == []


async def test_providers_that_fail_are_left_out(tmp_path: Path) -> None:
    model = await chosen_model(tmp_path)
    reply = b"HTTP/1.1 429 -\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n"
    async with raw_upstream(sends(reply)) as broken:
        entries = {model: {"base_url": f"http://127.0.0.1:{broken.port}/v1"}, "*": {}}
        async with (
            proxied(tmp_path, entries=entries) as one,
            one.http() as client,
        ):
            for _ in range(5):
                answered = await client.post(PATH, json=CHAT)
                assert answered.status_code == 200
                assert answered.headers["x-routoo-model"] != model
            assert broken.requests == 1


async def test_a_provider_that_refuses_the_services_key_is_not_passed_on(tmp_path: Path) -> None:
    model = await chosen_model(tmp_path)
    told = b'{"error": "Incorrect API key provided: provider-key"}'
    head = b"HTTP/1.1 401 -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    async with raw_upstream(sends(head % (len(told), told))) as broken:
        fails = {"base_url": f"http://127.0.0.1:{broken.port}/v1"}
        for entries, status in (({model: fails, "*": {}}, 200), ({model: fails}, 502)):
            async with (
                proxied(tmp_path, entries=entries) as one,
                one.http() as client,
            ):
                answered = await client.post(PATH, json=CHAT)
                assert answered.status_code == status
                assert "provider-key" not in f"{answered.text}{answered.headers}"
                assert str(broken.port) not in answered.text


@pytest.mark.parametrize("status", [401, 429])
async def test_a_callers_own_key_or_limit_leaves_nobody_out(tmp_path: Path, status: int) -> None:
    own = {"forward_authorization": True, "api_key_file": None}
    async with (
        proxied(tmp_path, entries={"large": own}) as one,
        one.http(headers={"authorization": "Bearer mine"}) as client,
    ):
        one.upstream.status = status
        for _ in range(8):
            assert (await client.post(PATH, json=CHAT)).status_code == status
        assert one.upstream.last.headers["authorization"] == "Bearer mine"
        one.upstream.status = 200
        assert (await client.post(PATH, json=CHAT)).status_code == 200
        health = one.running.service.engine.accounting.health
        assert health is not None
        assert not health.counts.failures.collect()[0].samples


async def test_more_requests_than_connections_wait_for_one(tmp_path: Path) -> None:
    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        await upstream.go.wait()
        writer.write(ERROR % b"200 -")
        await writer.drain()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        narrow = {
            "base_url": f"http://127.0.0.1:{provider.port}/v1",
            "max_connections": 1,
            "connect_timeout_s": 0.5,
        }
        async with (
            proxied(tmp_path, entries={"large": narrow}, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            both = [asyncio.create_task(client.post(PATH, json=CHAT)) for _ in range(2)]
            await provider.came.wait()
            # It waits for longer than a connection may take, and is then told so.
            hurried = await client.post(PATH, json=CHAT, headers={"x-request-timeout-ms": "1500"})
            assert hurried.status_code == 503
            assert provider.requests == 1
            provider.go.set()
            assert [(await each).status_code for each in both] == [200, 200]
            assert await one.replies() == {"estimated": 2, "failed": 1}


async def test_a_fallback_is_booked_at_its_own_arm(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": list(ARMED)}))
    async with raw_upstream(sends(b"")) as broken, asyncio.timeout(HANG_S):
        entries = {"medium": {"base_url": f"http://127.0.0.1:{broken.port}/v1"}, "*": {}}
        async with (
            proxied(
                tmp_path, entries=entries, budgets=[BUDGET], policy={"name": "cheapest"}
            ) as one,
            one.http() as client,
        ):
            asked = {"x-routoo-allowed-models": "medium@low,large@at-once"}
            answered = await client.post(PATH, json=CHAT, headers=asked)
            assert (broken.requests, answered.status_code) == (1, 200)
            assert answered.headers["x-routoo-model"] == "large"
            assert answered.headers["x-routoo-arm"] == "at-once"
            assert one.upstream.last.json["service_tier"] == "priority"
            assert await one.replies() == {"read": 1}
            ((budget, _),) = one.running.service.engine.accounting.budgets()
            # The tier costs twice as much.
            assert budget.settled_usd == pytest.approx(2 * (1000 * 10 + 500 * 30) * 1e-6)
