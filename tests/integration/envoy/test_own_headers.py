"""Headers named like Routoo's end at Envoy: a caller's and an upstream's, routed or not."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from routoo.api.llm import headers
from support.peers.llm_upstream import Upstream, upstream
from support.peers.real_envoy import (
    SHIPPED,
    envoy_config,
    free_port,
    manager,
    processor,
    running_envoy,
)
from support.processor_stream import chat_body
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
RESULTS = ("x-routoo-model", "x-routoo-decision-id", "x-routoo-score", "x-routoo-cost-usd")
OF_TURNS = ("x-routoo-stay-reason", "x-routoo-switch-cost-usd")
CALLERS = {
    **dict.fromkeys(headers.RESULTS, "forged"),
    "x-routoo-tenant": "acme",
    "x-routoo-policy": "lp",
    "content-type": "application/json",
}
FORGED = {
    **dict.fromkeys(headers.RESULTS, "forged"),
    "x-routoo-tenant": "forged",
    "X-Routoo-Anything": "forged",
}
NAMED = chat_body(model="gpt-4o")


@dataclass(frozen=True, slots=True)
class Site:
    """An Envoy whose upstream says much about Routoo."""

    upstream: Upstream
    http: httpx.AsyncClient

    async def post(self, body: bytes, path: str = CHAT, **added: str) -> httpx.Response:
        self.upstream.received.clear()
        return await self.http.post(path, content=body, headers={**CALLERS, **added})

    def reached(self, *names: str, routed: bool = True, again: bool = False) -> None:
        """Checks what the upstream has seen of the newest request; ``names``: also of these."""
        seen = {name for name in self.upstream.last.headers if name.startswith("x-routoo-")}
        fallback = set() if again else {headers.FALLBACK_MODEL}
        assert seen == ({*RESULTS, *names} | fallback if routed else set())
        values = [self.upstream.last.headers[name] for name in seen]
        assert "forged" not in values


def told(reply: httpx.Response) -> dict[str, str]:
    """Returns the headers of a reply that are named like Routoo's."""
    return {name: value for name, value in reply.headers.items() if name.startswith("x-routoo-")}


def is_routoos(reply: httpx.Response, *names: str) -> bool:
    found = told(reply)
    return found.keys() == {*RESULTS, *names} and "forged" not in " ".join(found.values())


@asynccontextmanager
async def site_of(
    folder: Path, *, down: bool = False, allowed: bool = False, **settings: Any
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as all_of_it:
        provider = await all_of_it.enter_async_context(upstream())
        provider.headers = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())
        port = free_port()
        if not down:
            section = {"enabled": True, "max_body_bytes": 16 * 1024, **settings}
            running = await all_of_it.enter_async_context(
                serving(tiny_settings(folder, processor=section))
            )
            port = int(running.service.address.rpartition(":")[2])
        config, own_port = envoy_config(routoo=port, local=provider.port, hosted=provider.port)
        processor(config).update(
            {"message_timeout": f"{HANG_S:.0f}s", "failure_mode_allow": allowed}
        )
        routes = manager(config)["route_config"]["virtual_hosts"][0]["routes"]
        retries = {
            "retry_on": "5xx",
            "num_retries": 2,
            "retry_back_off": {"base_interval": "0.01s"},
        }
        routes[-1]["route"]["retry_policy"] = retries  # of what is not routed
        direct = {"status": 403, "body": {"inline_string": "not here"}}
        routes.insert(0, {"match": {"prefix": "/direct"}, "direct_response": direct})
        await all_of_it.enter_async_context(running_envoy(config, folder, own_port))
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{own_port}", timeout=HANG_S)
        )
        yield Site(provider, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["reply", "access_log"])
async def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("own")
    async with site_of(folder, usage_from=request.param) as found:
        yield found


@pytest.mark.parametrize("streams", [False, True])
async def test_a_routed_request(site: Site, *, streams: bool) -> None:
    reply = await site.post(chat_body("hard", stream=streams))
    assert reply.status_code == 200
    assert is_routoos(reply)
    site.reached(routed=True)


async def test_a_turn_tells_why_its_model_stays(site: Site) -> None:
    turn = {"x-routoo-current-model": "large", "x-routoo-allowed-models": "large"}
    assert is_routoos(await site.post(chat_body("hard"), **turn), *OF_TURNS)
    site.reached(*OF_TURNS, again=True)  # one model is allowed, so that there is no fallback


async def test_the_shipped_envoy_knows_every_header_that_routoo_writes() -> None:
    config, _ = envoy_config(routoo=1, local=1, hosted=1)
    (early,) = manager(config)["early_header_mutation_extensions"]
    mutations = early["typed_config"]["mutations"]
    removed = {mutation["remove"] for mutation in mutations if "remove" in mutation}
    (host,) = manager(config)["route_config"]["virtual_hosts"]
    added = {entry["header"]["key"] for entry in host["response_headers_to_add"]}
    assert removed == added | {headers.FALLBACK_MODEL} == headers.RESULTS
    lua = SHIPPED.read_text(encoding="utf-8")
    (kept,) = re.findall(r"local RESULTS = set\((.*?)\)", lua, re.DOTALL)
    assert set(re.findall(r"x-routoo-[a-z-]+", kept)) == headers.RESULTS


@pytest.mark.parametrize(
    ("path", "body", "added"),
    [
        (CHAT, NAMED, {}),
        (CHAT, b"not JSON", {}),
        (CHAT, b"[]", {}),
        (CHAT, chat_body("x" * 20_000), {}),
        (CHAT, b"\x1f\x8b", {"content-encoding": "gzip"}),
        ("/v1/embeddings", b"{}", {}),
        ("/v1/models?x-routoo-model=small", b"", {}),
    ],
    ids=["named", "not JSON", "no object", "too large", "gzip", "other path", "no body"],
)
async def test_a_request_that_passes(
    site: Site, path: str, body: bytes, added: dict[str, str]
) -> None:
    reply = await site.post(body, path, **added)
    assert reply.status_code == 200
    assert told(reply) == {}
    site.reached(routed=False)
    assert site.upstream.last.body == body


async def test_a_chunked_body_that_passes(site: Site) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(NAMED), 10):
            yield NAMED[start : start + 10]

    reply = await site.http.post(CHAT, content=pieces(), headers=CALLERS)
    assert reply.status_code == 200
    assert told(reply) == {}
    site.reached(routed=False)


async def test_an_upstreams_errors_and_the_tries_after_them(site: Site) -> None:
    site.upstream.failures = 1
    reply = await site.post(chat_body("hard"))
    assert reply.status_code == 200
    assert len(site.upstream.received) == 2
    assert is_routoos(reply)
    site.reached(routed=True, again=True)
    for body, routed, tries in ((chat_body("hard"), True, 2), (NAMED, False, 3)):
        site.upstream.failures = tries
        reply = await site.post(body)
        assert reply.status_code == 503
        assert len(site.upstream.received) == tries
        assert is_routoos(reply) if routed else told(reply) == {}
        site.reached(routed=routed, again=True)


async def test_a_refusal_and_envoys_own_replies(site: Site) -> None:
    refused = await site.post(chat_body("hard"), **{"x-routoo-min-score": "1"})
    assert refused.status_code == 400
    assert told(refused) == {}
    direct = await site.post(b"{}", "/direct")
    assert (direct.status_code, direct.text) == (403, "not here")
    assert told(direct) == {}
    assert not site.upstream.received


async def test_a_request_that_names_its_model_and_is_booked(tmp_path: Path) -> None:
    strict = {"named_models": "book", "on_too_large": "refuse", "on_unreadable": "refuse"}
    async with site_of(tmp_path, **strict) as site:
        reply = await site.post(chat_body("hard", model="medium"))
        assert reply.status_code == 200
        assert is_routoos(reply)
        site.reached(routed=True, again=True)  # it is asked once, and has no fallback
        for body in (NAMED, b"not JSON", chat_body("x" * 20_000, model="medium")):
            refused = await site.post(body)
            assert refused.status_code in (400, 413)
            assert told(refused) == {}
            assert not site.upstream.received


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_processor_that_is_down(tmp_path: Path, *, allowed: bool) -> None:
    async with site_of(tmp_path, down=True, allowed=allowed) as site:
        reply = await site.post(chat_body("hard"))
        assert reply.status_code == (200 if allowed else 503)
        assert told(reply) == {}
        if allowed:
            site.reached(routed=False)
