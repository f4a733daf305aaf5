"""Replies that pass: byte for byte, as they come, and settled however they end."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.peers.proxied import proxied
from support.peers.raw_upstream import raw_upstream, sends, silent
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.proxied import Proxied
    from support.peers.raw_upstream import RawUpstream

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "easy"}]}
STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"
BUDGET = {"name": "all", "usd": 10, "per": "1h"}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Returns a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def said(text: str) -> bytes:
    """Returns an event of a chat in which the model says a text."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


async def settled_usd(one: Proxied) -> float:
    """Returns what is booked, once all requests are."""
    await one.replies()
    ((budget, _),) = one.running.service.engine.accounting.budgets()
    assert budget.reserved_usd == 0
    return budget.settled_usd


async def test_a_stream_passes_as_it_comes(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.hold.clear()
        one.upstream.piece_bytes = 7
        body = {**STREAM, "stream_options": {"include_usage": True}}
        async with asyncio.timeout(HANG_S), client.stream("POST", PATH, json=body) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            pieces = reply.aiter_raw()
            first = await anext(pieces)
            assert first.startswith(b"data:")  # while the provider holds the rest back
            one.upstream.hold.set()
            rest = [piece async for piece in pieces]
        direct = await _direct(one.upstream.port, one.upstream.last.json)
        assert first + b"".join(rest) == direct
        assert await one.replies() == {"read": 1}


async def _direct(port: int, body: Any) -> bytes:
    async with httpx.AsyncClient(timeout=HANG_S, trust_env=False) as client:
        reply = await client.post(f"http://127.0.0.1:{port}{PATH}", json=body)
        return reply.content


async def test_a_caller_that_leaves_ends_the_upstream_and_pays_what_flowed(tmp_path: Path) -> None:
    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + b"".join(chunk(said("word " * 20)) for _ in range(100)))
        await writer.drain()
        await upstream.closed.wait()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one:
            async with (
                one.http() as client,
                client.stream("POST", PATH, json=STREAM) as reply,
            ):
                async for _ in reply.aiter_raw():
                    break
            await provider.closed.wait()
            # 100 events of 100 bytes are 2,500 tokens at $30 a million, if all of them have passed.
            assert await settled_usd(one) > 0
            assert await one.replies() == {"gone": 1}


async def test_a_caller_that_leaves_while_the_model_thinks_is_booked(tmp_path: Path) -> None:
    async with raw_upstream(silent) as provider, asyncio.timeout(HANG_S):
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one:
            async with one.http() as client:
                asking = asyncio.create_task(client.post(PATH, json=CHAT, timeout=HANG_S))
                await provider.came.wait()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await provider.closed.wait()
            assert await settled_usd(one) > 0
            assert await one.replies() == {"gone": 1}


@pytest.mark.parametrize("ending", ["cut", "garbage"])
async def test_a_reply_that_breaks_off_breaks_off_for_the_caller(
    tmp_path: Path, ending: str
) -> None:
    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + chunk(said("Paris")))
        await upstream.go.wait()
        writer.write(b"" if ending == "cut" else b"zz\r\nno chunk\r\n")
        await writer.drain()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one,
            one.http() as client,
            client.stream("POST", PATH, json=STREAM) as reply,
        ):
            pieces = reply.aiter_raw()
            assert await anext(pieces) == said("Paris")
            provider.go.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(pieces)
            assert await settled_usd(one) > 0
            assert await one.replies() == {"gone": 1}


async def test_a_reply_in_gzip_is_read_and_passes_untouched(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.compressed = True
        async with client.stream("POST", PATH, json=CHAT) as reply:
            assert reply.headers["content-encoding"] == "gzip"
            raw = b"".join([piece async for piece in reply.aiter_raw()])
        assert json.loads(gzip.decompress(raw))["usage"]
        assert await one.replies() == {"read": 1}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"", 502),
        (b"garbage\r\n\r\n", 502),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 999999 -\r\n\r\n", 502),
    ],
)
async def test_a_provider_that_answers_nonsense_is_told_as_such(
    tmp_path: Path, reply: bytes, status: int
) -> None:
    async with raw_upstream(sends(reply)) as provider:
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            answered = await client.post(PATH, json=CHAT)
            assert answered.status_code == status
            error = answered.json()["error"]
            assert error["code"] == "upstream_unreachable"
            assert str(provider.port) not in answered.text
            assert await one.replies() == {"failed": 1}


async def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    async with raw_upstream(silent) as provider, asyncio.timeout(HANG_S):
        waits = {"base_url": f"http://127.0.0.1:{provider.port}/v1", "first_byte_timeout_s": 0.05}
        async with (
            proxied(tmp_path, entries={"large": waits}, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            answered = await client.post(PATH, json=CHAT)
            assert answered.status_code == 504
            assert answered.json()["error"]["code"] == "upstream_timeout"
            await provider.closed.wait()
            # It may have worked, so the estimate is booked, as the setting says.
            assert await settled_usd(one) > 0
            provider.closed.clear()
            hurried = await client.post(PATH, json=CHAT, headers={"x-request-timeout-ms": "30"})
            assert hurried.status_code == 504


async def test_a_stream_that_stands_still_ends(tmp_path: Path) -> None:
    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + chunk(said("Paris")))
        await upstream.closed.wait()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        still = {"base_url": f"http://127.0.0.1:{provider.port}/v1", "idle_timeout_s": 0.05}
        async with (
            proxied(tmp_path, entries={"large": still}, budgets=[BUDGET]) as one,
            one.http() as client,
        ):
            async with client.stream("POST", PATH, json=STREAM) as reply:
                pieces = reply.aiter_raw()
                assert await anext(pieces)
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(pieces)
            await provider.closed.wait()
            assert await settled_usd(one) > 0


async def test_nobody_there_costs_nothing(tmp_path: Path) -> None:
    entries = {"large": {"base_url": "http://127.0.0.1:9/v1"}}
    async with (
        proxied(tmp_path, entries=entries, budgets=[BUDGET]) as one,
        one.http() as client,
    ):
        answered = await client.post(PATH, json=CHAT)
        assert answered.status_code == 502
        assert await settled_usd(one) == 0


async def test_an_error_of_the_provider_passes_and_costs_nothing(tmp_path: Path) -> None:
    async with (
        proxied(tmp_path, budgets=[BUDGET]) as one,
        one.http() as client,
    ):
        one.upstream.status = 429
        one.upstream.headers = "retry-after: 7\r\nx-routoo-model: forged\r\nset-cookie: a=b\r\n"
        answered = await client.post(PATH, json=CHAT)
        assert answered.status_code == 429
        assert answered.json()["error"]["message"] == "upstream trouble"
        assert answered.headers["retry-after"] == "7"
        assert answered.headers["x-routoo-model"] != "forged"
        assert "set-cookie" not in answered.headers
        assert await settled_usd(one) == 0


@pytest.mark.parametrize("begun", [False, True])
async def test_a_service_that_stops_tells_whoever_still_waits(
    tmp_path: Path, *, begun: bool
) -> None:
    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(EVENTS + chunk(said("Paris")))
        await upstream.closed.wait()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(tmp_path, entries=entries, budgets=[BUDGET], shutdown_grace_s=0.2) as one,
            one.http() as client,
        ):
            request = client.build_request("POST", PATH, json=STREAM)
            asking = asyncio.create_task(client.send(request, stream=True))
            await provider.came.wait()
            if begun:
                pieces = (await asking).aiter_raw()
                assert await anext(pieces)
            accounting = one.running.service.engine.accounting
            await one.running.service.stop()
            if begun:
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(pieces)
            else:
                answered = await asking
                assert answered.status_code == 503
                assert "stopping" in (await answered.aread()).decode()
            ((budget, _),) = accounting.budgets()
            assert budget.reserved_usd == 0
            assert budget.settled_usd > 0
