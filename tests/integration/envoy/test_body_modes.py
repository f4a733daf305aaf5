"""A real Envoy in each body mode, with and without overrides, and two processors in one chain."""

from __future__ import annotations

import asyncio
import copy
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio

from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, Upstream, upstream
from support.peers.real_envoy import envoy_config, manager, processor, running_envoy
from support.processor_stream import CHAT, METHOD, chat_body
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_BYTES = 256 * 1024
LARGE_USD = INPUT_TOKENS * 10e-6 + OUTPUT_TOKENS * 30e-6
SEND_ALL = {
    "request_header_mode": "SEND",
    "response_header_mode": "SEND",
    "request_trailer_mode": "SKIP",
    "response_trailer_mode": "SKIP",
}
DUPLEX = {
    **SEND_ALL,
    "request_body_mode": "FULL_DUPLEX_STREAMED",
    "request_trailer_mode": "SEND",
}
# By name: the modes, and further settings of the filter.
WAYS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "buffered": ({**SEND_ALL, "request_body_mode": "BUFFERED"}, {}),
    "partial": ({**SEND_ALL, "request_body_mode": "BUFFERED_PARTIAL"}, {}),
    "duplex": (DUPLEX, {}),
    "duplex both ways": (
        {
            **DUPLEX,
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            "response_trailer_mode": "SEND",
        },
        {},
    ),
    "duplex, streamed reply": ({**DUPLEX, "response_body_mode": "STREAMED"}, {}),
    "streamed": (
        {**SEND_ALL, "request_body_mode": "STREAMED", "response_body_mode": "STREAMED"},
        {"send_body_without_waiting_for_header_response": True},
    ),
}


@dataclass(frozen=True, slots=True)
class Site:
    """The service, an Envoy before it, and two providers."""

    routoo: Running
    local: Upstream
    hosted: Upstream
    http: httpx.AsyncClient
    reads_reply: bool

    async def post(self, body: Any, path: str = CHAT, **headers: str) -> httpx.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(
            path, content=body, headers={"content-type": "application/json", **told}
        )

    def metric(self, name: str, **labels: str) -> float:
        found = self.routoo.service.metrics.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    async def settled(self) -> None:
        found = self.routoo.service.processor
        assert found is not None
        async with asyncio.timeout(HANG_S):
            await found.settled()


@asynccontextmanager
async def site_of(folder: Path, change: Callable[[dict[str, Any]], None]) -> AsyncIterator[Site]:
    """Runs a site.

    Args:
        folder: for its files.
        change: changes Envoy's configuration in place.
    """
    settings = {"enabled": True, "max_body_bytes": MOST_BYTES}
    async with AsyncExitStack() as all_of_it:
        local = await all_of_it.enter_async_context(upstream())
        hosted = await all_of_it.enter_async_context(upstream())
        routoo = await all_of_it.enter_async_context(
            serving(tiny_settings(folder, processor=settings, corrections={"learn": False}))
        )
        config, port = envoy_config(
            routoo=int(routoo.service.address.rpartition(":")[2]),
            local=local.port,
            hosted=hosted.port,
            local_models="small",
        )
        change(config)
        await all_of_it.enter_async_context(running_envoy(config, folder, port))
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S)
        )
        modes = processor(config)["processing_mode"]
        reads_reply = modes.get("response_body_mode", "NONE") != "NONE"
        yield Site(routoo, local, hosted, http, reads_reply)


def configure(
    config: dict[str, Any], modes: dict[str, str], filter_settings: dict[str, Any]
) -> None:
    """Sets the modes of the processor, and takes away what only the shipped Envoy has."""
    found = processor(config)
    found["processing_mode"] = modes
    found["message_timeout"] = f"{HANG_S:.0f}s"
    found["allow_mode_override"] = False
    found.update(filter_settings)
    http = manager(config)
    del http["access_log"]
    http["http_filters"] = [
        one for one in http["http_filters"] if one["name"] != "envoy.filters.http.lua"
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(WAYS))
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    way = WAYS[request.param]
    folder = tmp_path_factory.mktemp("modes")
    async with site_of(folder, lambda config: configure(config, *way)) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    for one in (running.local, running.hosted):
        one.received.clear()
    yield running
    await running.settled()


@pytest.mark.parametrize("size", [0, 1000, 150_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_is_routed(site: Site, size: int, streamed: bool) -> None:  # noqa: FBT001
    cost = site.metric("routoo_reported_cost_usd_total", model="large")
    read = site.metric("routoo_http_replies_total", result="read")
    options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    body = chat_body("hard", metadata={"x": "y" * size}, **options)
    reply = await site.post(body, x_routoo_tenant="acme")
    assert reply.status_code == 200, reply.text
    assert site.hosted.last.body == body.replace(b'"auto"', b'"large"')
    assert site.hosted.last.headers["x-routoo-model"] == "large"
    assert "x-routoo-tenant" not in site.hosted.last.headers
    assert reply.headers["x-routoo-model"] == "large"
    assert reply.text.count("data:") == (0 if not streamed else reply.text.count("\n\n"))
    assert not site.local.received
    await site.settled()
    if site.reads_reply:
        assert site.metric("routoo_http_replies_total", result="read") == read + 1
        settled = site.metric("routoo_reported_cost_usd_total", model="large") - cost
        assert settled == pytest.approx(LARGE_USD)


async def test_the_model_picks_the_cluster(site: Site) -> None:
    await site.post(chat_body("easy"))
    assert site.local.last.json["model"] == "small"
    assert not site.hosted.received


async def test_a_body_in_pieces_is_routed(site: Site) -> None:
    body = chat_body("easy", metadata={"x": "y" * 100_000})

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 9000):
            yield body[start : start + 9000]
            await asyncio.sleep(0)

    reply = await site.post(pieces())
    assert reply.status_code == 200
    assert site.local.last.body == body.replace(b'"auto"', b'"small"')


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"model":"gpt-4o"}', CHAT),
        (b"not JSON", CHAT),
        (b"", CHAT),
        (b'{"input":"%s"}' % (b"x" * 200_000), "/v1/embeddings"),
        (b'{"model":"gpt-4o","x":"%s"}' % (b"x" * 200_000), CHAT),
    ],
    ids=["named", "no JSON", "empty", "another path", "named and long"],
)
async def test_what_is_not_routed_goes_on_as_it_came(site: Site, body: bytes, path: str) -> None:
    forged = {"x_routoo_score": "1", "x_routoo_tenant": "a"}
    reply = await site.post(body, path, **forged)
    assert reply.status_code == 200, reply.text
    assert site.hosted.last.body == body
    assert not any(name.startswith("x-routoo") for name in site.hosted.last.headers)


async def test_a_request_without_a_body_goes_on(site: Site) -> None:
    reply = await site.http.get("/v1/files")
    assert reply.status_code == 200
    assert site.hosted.last.method == "GET"


async def test_a_refusal(site: Site) -> None:
    reply = await site.post(chat_body("hard"), x_routoo_min_score="1")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "no_eligible_model")
    assert not site.hosted.received


async def test_many_at_once(site: Site) -> None:
    async def one(number: int) -> None:
        text, model = (("easy", "small"), ("hard", "large"))[number % 2]
        reply = await site.post(chat_body(text, metadata={"x": "y" * 500 * number}))
        assert orjson.loads(reply.content)["model"] == model

    await asyncio.gather(*map(one, range(32)))


@asynccontextmanager
async def second_processor() -> AsyncIterator[tuple[int, list[bytes]]]:
    """Runs a processor in full duplex as a gateway's own: it changes every body a little.

    Yields:
        Its port, and the bodies that it has seen.
    """
    bodies: list[bytes] = []

    async def process(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        body = b""
        async for message in messages:
            request = ext_proc.ProcessingRequest.FromString(message)
            kind = request.WhichOneof("request")
            answer = ext_proc.ProcessingResponse()
            if kind == "request_body":
                body += request.request_body.body
                if not request.request_body.end_of_stream:
                    continue
                bodies.append(body)
                first = ext_proc.ProcessingResponse()
                option = first.request_headers.response.header_mutation.set_headers.add()
                option.header.key, option.header.raw_value = "x-seen", b"yes"
                yield first.SerializeToString()
                mutation = answer.request_body.response.body_mutation
                mutation.streamed_response.body = body + b" "
                mutation.streamed_response.end_of_stream = True
            elif kind == "response_headers":
                answer.response_headers.SetInParent()
            else:
                continue
            yield answer.SerializeToString()

    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(METHOD.split("/")[1], {"Process": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, bodies
    finally:
        await server.stop(None)


@pytest.mark.parametrize("size", [0, 100_000])
async def test_two_processors_in_one_chain(tmp_path: Path, size: int) -> None:
    def chain(config: dict[str, Any], port: int) -> None:
        configure(config, *WAYS["duplex both ways"])
        second = copy.deepcopy(manager(config)["http_filters"][0])
        second["name"] = "second"
        second["typed_config"]["processing_mode"] = DUPLEX
        second["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "second"
        manager(config)["http_filters"].insert(1, second)
        clusters = config["static_resources"]["clusters"]
        cluster = copy.deepcopy(next(one for one in clusters if one["name"] == "routoo"))
        cluster["name"] = cluster["load_assignment"]["cluster_name"] = "second"
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = port
        clusters.append(cluster)

    async with (
        second_processor() as (port, bodies),
        site_of(tmp_path, lambda config: chain(config, port)) as site,
    ):
        body = chat_body("hard", metadata={"x": "y" * size})
        reply = await site.post(body)
        assert (reply.status_code, reply.headers["x-routoo-model"]) == (200, "large")
        routed = body.replace(b'"auto"', b'"large"')
        assert bodies == [routed]
        assert site.hosted.last.body == routed + b" "
        assert site.hosted.last.headers["x-seen"] == "yes"
        assert site.hosted.last.headers["x-routoo-model"] == "large"
        await site.settled()
        assert site.metric("routoo_http_replies_total", result="read") == 1
