"""A short body comes in the metadata of the headers' message, and is answered there."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio

from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from routoo.api.extproc.envoy.ext_proc_pb2 import ProcessingMode
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
from support.tiny_processor import all_ended, metric
from support.tiny_service import serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.tiny_service import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["reply", "access_log"])
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    folder: Path = tmp_path_factory.mktemp("beside")
    settings = {"enabled": True, "usage_from": request.param}
    settings |= {"max_body_bytes": 4096, "on_too_large": "refuse"}
    async with serving(tiny_settings(folder, processor=settings)) as found:
        yield found


def reads_reply(running: Running) -> bool:
    return running.service.current.settings.processor.usage_from == "reply"


def headers_with(body: bytes, **headers: str) -> ext_proc.ProcessingRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"content-length": str(len(body)), **named}
    return request_headers(told, beside=b64encode(body).decode())


async def test_one_message_routes(running: Running) -> None:
    body = chat_body("hard")
    async with stream(running.channel) as one:
        answer = await one.say(headers_with(body, x_routoo_tenant="acme"))
        routed = answer.request_headers.response
        assert routed.status == ext_proc.CommonResponse.CONTINUE_AND_REPLACE
        assert routed.body_mutation.body == body.replace(b'"auto"', b'"large"')
        assert routed.clear_route_cache
        assert headers_of(routed.header_mutation)["x-routoo-model"] == "large"
        assert list(routed.header_mutation.remove_headers) == ["x-routoo-tenant"]
        mode = answer.mode_override
        assert mode.request_body_mode == mode.response_body_mode == ProcessingMode.NONE
        if reads_reply(running):
            assert mode.response_header_mode == ProcessingMode.SEND
            assert (await one.say(reply_headers())).HasField("response_headers")
            assert await one.say(reply_body(usage_body(10, 10))) is None
        else:
            assert mode.response_header_mode == ProcessingMode.SKIP
        assert await one.ended() is grpc.StatusCode.OK
    if reads_reply(running):
        await all_ended(running)


async def test_a_named_model_passes_in_one_message(running: Running) -> None:
    passed = metric(running, "routoo_http_requests_total", result="passed")
    async with stream(running.channel) as one:
        answer = await one.say(headers_with(chat_body(model="gpt-9"), x_routoo_tenant="acme"))
        common = answer.request_headers.response
        assert common.status == ext_proc.CommonResponse.CONTINUE
        assert list(common.header_mutation.remove_headers) == ["x-routoo-tenant"]
        assert await one.ended() is grpc.StatusCode.OK
    async with stream(running.channel) as one:
        assert await one.say(headers_with(chat_body(model="gpt-9"))) is None
    assert metric(running, "routoo_http_requests_total", result="passed") == passed + 2


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (chat_body("easy"), {"x_routoo_max_cost_usd": "0"}, 400),
        (b'{"model":"auto","messages":[', {}, 400),
        (chat_body("easy", padding="p" * 4096), {}, 413),
    ],
)
async def test_a_refusal_answers_the_one_message(
    running: Running, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with stream(running.channel) as one:
        answer: Any = await one.say(headers_with(body, **headers))
        assert answer.immediate_response.status.code == status


@pytest.mark.parametrize("beside", ["", "%", "AAA"])
async def test_metadata_that_is_no_body_is_not_read(running: Running, beside: str) -> None:
    async with stream(running.channel) as one:
        asks = await one.say(request_headers({"content-length": "62"}, beside=beside))
        assert asks.mode_override.request_body_mode == ProcessingMode.BUFFERED
        routed = (await one.say(request_body(chat_body("hard")))).request_body.response
        assert headers_of(routed.header_mutation)["x-routoo-model"] == "large"


async def test_a_gateway_that_sends_the_body_anyway_is_answered_there(running: Running) -> None:
    message = headers_with(chat_body("easy"))
    message.protocol_config.request_body_mode = ProcessingMode.BUFFERED
    async with stream(running.channel) as one:
        first = await one.say(message)
        assert first.request_headers.response.status == ext_proc.CommonResponse.CONTINUE
        routed = (await one.say(request_body(chat_body("hard")))).request_body.response
        assert headers_of(routed.header_mutation)["x-routoo-model"] == "large"
