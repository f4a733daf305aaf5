"""Questions of clients that need no model: lists of models, counts of tokens, and websockets."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import orjson
import pytest

from support.peers.llm_upstream import upstream
from support.peers.real_envoy import envoy_config, manager, processor, running_envoy
from support.processor_stream import headers_of, request_body, request_headers, stream
from support.tiny_processor import all_ended, metric, with_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ["auto", "small", "medium", "large"]
COUNT = "/v1/messages/count_tokens"
QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "hard " * 500}]}


async def answered(
    folder: Path, headers: dict[str, str] | None = None, path: str = "/v1/models", **settings: Any
) -> Any:
    async with with_settings(folder, processor=settings) as running:
        async with stream(running.channel) as one:
            method = (headers or {}).pop(":method", "GET")
            found = await one.say(request_headers(headers, path=path, method=method, end=True))
        await all_ended(running)
        result = "answered" if found is not None else "passed"
        assert metric(running, "routoo_http_requests_total", result=result) == 1
    return None if found is None else found.immediate_response


@pytest.mark.parametrize("path", ["/v1/models", "/V1/models/?limit=5", "/openai/models"])
async def test_the_models_are_listed_as_openai_does(tmp_path: Path, path: str) -> None:
    found = await answered(tmp_path, path=path)
    assert found.status.code == 200
    body = orjson.loads(found.body)
    assert (body["object"], [one["id"] for one in body["data"]]) == ("list", MODELS)
    assert headers_of(found.headers) == {"content-type": "application/json"}


async def test_the_models_are_listed_as_anthropic_does(tmp_path: Path) -> None:
    found = await answered(tmp_path, {"anthropic-version": "2023-06-01"})
    body = orjson.loads(found.body)
    assert [one["id"] for one in body["data"]] == MODELS
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "auto", "large")


async def test_one_model_and_models_that_may_not_be_named(tmp_path: Path) -> None:
    one = await answered(tmp_path, path="/v1/models/auto")
    assert orjson.loads(one.body)["id"] == "auto"
    assert await answered(tmp_path, path="/v1/models/gpt-9") is None
    refuse = {"named_models": "refuse", "on_unreadable": "refuse", "on_too_large": "refuse"}
    found = await answered(tmp_path, **refuse)
    assert [one["id"] for one in orjson.loads(found.body)["data"]] == ["auto"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/models", "DELETE"),
        ("/v1/fine_tuning/models", "GET"),
        ("/v1/modelsx", "GET"),
        ("/models.html", "GET"),
        ("/v1/files", "GET"),
    ],
)
async def test_other_questions_go_on(tmp_path: Path, path: str, method: str) -> None:
    assert await answered(tmp_path, {":method": method}, path) is None


async def test_no_question_is_answered_where_the_settings_say_so(tmp_path: Path) -> None:
    assert await answered(tmp_path, answers_questions=False) is None


async def test_a_websocket_is_told_of_http(tmp_path: Path) -> None:
    found = await answered(tmp_path, {"upgrade": "WebSocket"}, "/v1/responses")
    assert found.status.code == 426
    assert orjson.loads(found.body)["error"]["code"] == "upgrade_required"


@pytest.mark.parametrize("packed", [False, True])
async def test_tokens_are_counted_for_a_route_name(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    body = orjson.dumps(QUESTION)
    headers = {"content-encoding": "gzip"} if packed else {}
    async with with_settings(tmp_path) as running, stream(running.channel) as one:
        assert (await one.say(request_headers(headers, path=COUNT))).HasField("mode_override")
        found = (
            await one.say(request_body(gzip.compress(body) if packed else body))
        ).immediate_response
    assert found.status.code == 200
    assert 480 < orjson.loads(found.body)["input_tokens"] < 700
    assert headers_of(found.headers)["x-routoo-estimated"] == "input_tokens"


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({**QUESTION, "model": "claude-9"}),
        b"not JSON",
        b"",
        b'{"model":"auto","model":"x","n":1,"n":2}',
    ],
)
async def test_other_counts_go_on(tmp_path: Path, body: bytes) -> None:
    async with with_settings(tmp_path) as running, stream(running.channel) as one:
        await one.say(request_headers(path=COUNT))
        assert await one.say(request_body(body)) is None


async def test_clients_ask_through_envoy(tmp_path: Path) -> None:
    async with (
        with_settings(tmp_path) as running,
        upstream() as hosted,
    ):
        config, port = envoy_config(
            routoo=int(running.service.address.rpartition(":")[2]),
            local=hosted.port,
            hosted=hosted.port,
        )
        processor(config)["message_timeout"] = f"{HANG_S:.0f}s"
        url = f"http://127.0.0.1:{port}"
        async with (
            running_envoy(config, tmp_path, port),
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
            anthropic.AsyncAnthropic(base_url=url, api_key="key", max_retries=0) as claude,
            httpx.AsyncClient(base_url=url, timeout=HANG_S) as http,
        ):
            assert [one.id async for one in client.models.list()] == MODELS
            assert (await client.models.retrieve("auto")).id == "auto"
            assert [one.id async for one in claude.models.list()] == MODELS
            counted = await claude.messages.count_tokens(
                model="auto", messages=QUESTION["messages"]
            )
            assert 480 < counted.input_tokens < 700
            assert (await http.head("/v1/models")).status_code == 200
            assert not hosted.received
            named = await http.post(COUNT, json={**QUESTION, "model": "claude-9"})
            assert named.status_code == 200
            assert hosted.last.json["model"] == "claude-9"
            for path in ("/v1/responses", "/anything"):
                assert await _asked_for_a_websocket(port, path) == b"HTTP/1.1 426 Upgrade Required"


async def _asked_for_a_websocket(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            % path.encode()
        )
        async with asyncio.timeout(HANG_S):
            return (await reader.readline()).rstrip()
    finally:
        writer.close()


async def test_the_shipped_envoy_waits_for_long_answers(tmp_path: Path) -> None:
    config, _ = envoy_config(routoo=1, local=1, hosted=1)
    http = manager(config)
    routes = http["route_config"]["virtual_hosts"][0]["routes"]
    times = {float(one["route"]["timeout"].removesuffix("s")) for one in routes}
    # Envoy's own default ends a stream after five minutes without a byte.
    assert float(http["stream_idle_timeout"].removesuffix("s")) >= max(times) >= 600
