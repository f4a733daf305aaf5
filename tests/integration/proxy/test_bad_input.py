"""Bytes that no client should send, and inputs that other gateways got wrong, at the doors."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from support.peers.proxied import proxied
from support.peers.raw_upstream import raw_upstream, sends
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.proxied import Proxied
    from support.peers.raw_upstream import RawUpstream

CHAT = b'{"model": "auto", "messages": [{"role": "user", "content": "easy"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"


async def talk(one: Proxied, request: bytes, *, half: bool = False) -> bytes:
    """Sends bytes, and returns all that comes until the connection ends."""
    host, _, port = one.running.service.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        if half:
            writer.write_eof()
        async with asyncio.timeout(HANG_S):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_where_no_provider_takes_a_form_the_remedy_is_one_that_does(
    tmp_path: Path, path: str
) -> None:
    async with proxied(tmp_path, entries={}) as one, one.http() as client:
        refused = await client.post(path, content=CHAT)
    assert refused.status_code == 400
    # OpenRouter takes either form.
    assert "such as OPENROUTER_API_KEY" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (HEAD + b"connection: close\r\ncontent-length: 3\r\n\r\n" + CHAT, {400}),
        (HEAD + b"connection: close\r\ncontent-length: abc\r\n\r\n" + CHAT, {400}),
        (HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", {400}),
        (
            HEAD
            + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\n\r\n"
            % (len(CHAT), CHAT),
            {200},
        ),
        (
            HEAD
            + b"connection: close\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n%s"
            % (len(CHAT), CHAT),
            {100, 200},
        ),
        (
            HEAD
            + b"connection: close\r\nx-routoo-max-cost-usd: 1\r\nx-routoo-max-cost-usd: 2\r\n"
            + b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT),
            {400},
        ),
        (
            HEAD
            + b"connection: close\r\nx-request-id: caf\xe9\r\n"
            + b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT),
            {200},
        ),
    ],
)
async def test_odd_requests_get_an_answer(
    tmp_path: Path, request_bytes: bytes, statuses: set[int]
) -> None:
    async with proxied(tmp_path) as one:
        told = await talk(one, request_bytes)
        assert int(told.split(b" ")[1]) in statuses, told
        await one.replies()


async def test_pipelined_requests_are_answered_in_turn(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        request = HEAD + b"content-length: %d\r\n\r\n%s" % (len(CHAT), CHAT)
        last = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(CHAT), CHAT)
        told = await talk(one, request + request + last)
        assert told.count(b"HTTP/1.1 200") == 3
        assert await one.replies() == {"read": 3}


async def test_a_half_sent_body_asks_nobody(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one:
        await talk(one, HEAD + b"content-length: 500\r\n\r\n" + CHAT, half=True)
        assert one.upstream.received == []
        assert await one.replies() == {}


async def test_a_large_body_is_counted_until_the_reply_begins(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def script(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        await upstream.go.wait()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        await writer.drain()
        await began.wait()

    async with raw_upstream(script) as provider, asyncio.timeout(HANG_S):
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(tmp_path, entries=entries) as one,
            one.http() as client,
        ):
            in_flight = one.running.service._calls.in_flight
            body = json.loads(CHAT)
            body["messages"][0]["content"] = "word " * 100_000
            asking = client.stream("POST", "/v1/chat/completions", json={**body, "stream": True})
            task = asyncio.create_task(asking.__aenter__())
            await provider.came.wait()
            assert in_flight.held_bytes > 500_000
            provider.go.set()
            reply = await task
            assert await anext(reply.aiter_raw()) == b"hello"
            assert in_flight.held_bytes < 100_000
            began.set()
            await asking.__aexit__(None, None, None)
        assert in_flight.held_bytes == 0


HALF = CHAT.replace(b"easy", b"\\ud83d")
CONTINUED = {"type": "function_call_output", "call_id": "c", "output": ""}
CASES: list[tuple[str, str, Any]] = [
    ("half a pair of surrogates", "chat", HALF),
    ("a deep schema", "chat", None),
    ("a continuation", "responses", {"previous_response_id": "r", "input": [CONTINUED]}),
    ("tokens", "completions", {"prompt": [151644, 8948, 198]}),
    (
        "a large picture",
        "chat",
        CHAT.replace(
            b'"easy"',
            b'[{"type": "text", "text": "easy"}, {"type": "image_url", "image_url": {"url":'
            b' "data:image/png;base64,%s"}}]' % (b"A" * 5_000_000),
        ),
    ),
]


@pytest.mark.parametrize(("what", "api", "body"), CASES, ids=[case[0] for case in CASES])
async def test_odd_bodies_are_routed(tmp_path: Path, what: str, api: str, body: Any) -> None:
    if body is None:
        deep = '{"a":' * 300 + "1" + "}" * 300
        tool = f'{{"type":"function","function":{{"name":"f","parameters":{deep}}}}}'
        body = b'{"tools":[%s],%s' % (tool.encode(), CHAT[1:])
    data = body if isinstance(body, bytes) else json.dumps({"model": "auto", **body}).encode()
    path = {"chat": "/v1/chat/completions"}.get(api, f"/v1/{api}")
    async with proxied(tmp_path) as one, one.http() as client:
        reply = await client.post(path, content=data)
        assert reply.status_code == 200, (what, reply.text)
        sent = one.upstream.last.body
        chosen = reply.headers["x-routoo-model"]
        named = data.replace(b'"auto"', f'"{chosen}"'.encode(), 1)
        assert sent == named


async def test_secrets_are_in_no_reply_and_no_log(tmp_path: Path) -> None:
    async with proxied(tmp_path) as one, one.http() as client:
        one.upstream.status = 401
        shown = await client.post("/v1/chat/completions", content=CHAT)
        told = f"{shown.text}{dict(shown.headers)}{one.running.logs}"
        assert "provider-key" not in told


async def test_a_header_that_is_none_does_not_cost_the_reply(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nx-odd: a\x01b\r\nx-even: caf\xe9\r\ncontent-length: 2\r\n\r\n{}"
    async with raw_upstream(sends(head)) as provider:
        entries = {"large": {"base_url": f"http://127.0.0.1:{provider.port}/v1"}}
        async with (
            proxied(tmp_path, entries=entries) as one,
            one.http() as client,
        ):
            answered = await client.post("/v1/chat/completions", content=CHAT)
            assert (answered.status_code, answered.content) == (200, b"{}")
            assert "x-odd" not in answered.headers
            assert answered.headers["x-even"] == "café"
