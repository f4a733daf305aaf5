"""Certificates and limits that change while connections and their streams are open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme

from routoo.api import open_streams
from routoo.api.security import gate
from routoo.client.channel import open_aio_channel
from routoo.errors import ConfigError
from routoo.routing.pool import load_pool
from routoo.server.removals import SettingsInUse
from routoo.v1 import route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.access_log import entry, log_stream, message
from support.certificates import Authority, authority
from support.processor_stream import chat_body, request_body, request_headers, stream
from support.tiny_processor import with_settings
from support.tiny_service import Running, refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EASY = route_pb2.RouteRequest(prompt="easy")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
OWN_POOL = (("grpc.use_local_subchannel_pool", 1),)
HOLDER = "a.example"
# The certificates of the tests hold until the year 3000.
AGES_S = 1e11


class Clock:
    """Seconds since 1970, with what a test adds."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time() + self.ahead_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Makes checks frequent, and the gate's time the test's."""
    monkeypatch.setattr(open_streams, "RECHECK_S", 0.02)
    monkeypatch.setattr(gate, "_LOOK_EVERY_S", 0.0)
    found = Clock()
    monkeypatch.setitem(gate.Gate.__init__.__kwdefaults__, "wall_clock_s", found)
    return found


def access(signed: Authority, *entries: dict[str, Any], **tls: Any) -> dict[str, Any]:
    listed = entries or ({"subject": HOLDER, "tenant": "a"},)
    return {"tls": {**signed.serve(), **tls}, "certificates": list(listed)}


async def reload(running: Running, folder: Path, **sections: Any) -> str:
    settings = tiny_settings(folder, processor={"enabled": True}, **sections)
    async with asyncio.timeout(HANG_S):
        return await running.service.reloader.start(lambda: settings)


@asynccontextmanager
async def streams(running: Running, signed: Authority, name: str = HOLDER) -> AsyncIterator[Any]:
    """Opens one stream of each kind; yields functions that wait for their ends, and a stub."""
    tls = signed.client(name)
    async with (
        open_aio_channel(running.service.address, OWN_POOL, tls=tls) as channel,
        stream(channel) as one,
        asyncio.timeout(HANG_S),
    ):
        call = RouterServiceStub(channel).RouteStream(timeout=3 * HANG_S)
        await call.write(EASY)
        assert (await call.read()).model == "small"
        log = log_stream(channel)
        await log.write(message(entry("1")))
        await one.say(request_headers())
        yield (call.code, log.code, one.ended), RouterServiceStub(channel)


async def test_a_certificate_that_leaves_the_settings_ends_its_streams(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    both = ({"subject": HOLDER, "tenant": "a"}, {"subject": "b.example", "tenant": "b"})
    async with (
        with_settings(tmp_path, security=access(signed, *both)) as running,
        streams(running, signed) as (ends, stub),
        streams(running, signed, "b.example") as (_, other),
    ):
        assert await reload(running, tmp_path, security=access(signed, both[1])) == "switched"
        for end in ends:
            assert await end() == UNAUTHENTICATED
        # The connection is still open, and lets nobody in either.
        assert (await refusal(stub.Route(EASY)))[0] is UNAUTHENTICATED
        assert (await other.Route(EASY)).model == "small"


@pytest.mark.parametrize("change", [{"tenant": "b"}, {"tenant": "a", "roles": ["proxy"]}])
async def test_other_rights_of_a_certificate_end_its_streams(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    signed = authority(tmp_path)
    async with (
        with_settings(tmp_path, security=access(signed)) as running,
        streams(running, signed) as (ends, stub),
    ):
        changed = access(signed, {"subject": HOLDER, **change})
        assert await reload(running, tmp_path, security=changed) == "switched"
        assert await ends[0]() == UNAUTHENTICATED
        assert (await stub.Route(EASY)).model == "small"


async def test_a_certificate_that_expires_ends_its_streams(tmp_path: Path, clock: Clock) -> None:
    signed = authority(tmp_path)
    async with (
        with_settings(tmp_path, security=access(signed)) as running,
        streams(running, signed) as (ends, stub),
    ):
        clock.ahead_s = AGES_S
        for end in ends:
            assert await end() == UNAUTHENTICATED
        code, text = await refusal(stub.Route(EASY))
        assert code is UNAUTHENTICATED
        assert text == "your certificate has expired; connect anew with a renewed one"


async def test_an_authority_that_leaves_its_file_ends_what_it_has_signed(tmp_path: Path) -> None:
    old, new = authority(tmp_path), trustme.CA()
    file = tmp_path / "clients.pem"
    security = access(old)
    file.write_bytes(old.ca.cert_pem.bytes() + new.cert_pem.bytes())
    renewed = Authority(new, tmp_path)
    async with with_settings(tmp_path, security=security) as running:
        server_ca = old.ca.cert_pem.bytes()
        own = renewed.client(HOLDER)
        tls = type(own)(server_ca, own.certificate, own.key)
        async with (
            streams(running, old) as (ends, stub),
            open_aio_channel(running.service.address, OWN_POOL, tls=tls) as channel,
        ):
            kept = RouterServiceStub(channel).RouteStream(timeout=3 * HANG_S)
            await kept.write(EASY)
            assert (await kept.read()).model == "small"
            (tmp_path / "next.pem").write_bytes(b"not a certificate")
            (tmp_path / "next.pem").replace(file)
            assert (await stub.Route(EASY)).model == "small"  # a damaged file is not taken
            (tmp_path / "next.pem").write_bytes(new.cert_pem.bytes())
            (tmp_path / "next.pem").replace(file)
            for end in ends:
                assert await end() == UNAUTHENTICATED
            code, text = await refusal(stub.Route(EASY))
            assert code is UNAUTHENTICATED
            assert text.startswith("the authority of your certificate is no longer trusted here")
            await kept.write(EASY)
            assert (await kept.read()).model == "small"
            await kept.done_writing()


async def test_an_intermediate_authority_that_is_not_on_file_goes_on(tmp_path: Path) -> None:
    signed, other = authority(tmp_path), trustme.CA()
    security = access(signed)
    root = (tmp_path / "clients.pem").read_bytes()
    (tmp_path / "clients.pem").write_bytes(root + other.cert_pem.bytes())
    between = Authority(signed.ca.create_child_ca(), tmp_path)
    own = between.client(HOLDER)
    tls = type(own)(signed.ca.cert_pem.bytes(), own.certificate, own.key)
    async with (
        with_settings(tmp_path, security=security) as running,
        open_aio_channel(running.service.address, OWN_POOL, tls=tls) as channel,
    ):
        stub = RouterServiceStub(channel)
        assert (await stub.Route(EASY, timeout=60)).model == "small"
        (tmp_path / "clients.pem").write_bytes(root)
        assert (await stub.Route(EASY, timeout=60)).model == "small"


async def test_an_old_connection_ends_after_its_grace_with_all_its_streams(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    short = access(signed, max_connection_age_s=1, max_connection_grace_s=1)
    ended = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    tls = signed.client(HOLDER)

    async def answered(call: Any) -> None:
        await call.write(EASY)
        assert (await call.read()).model == "small"

    async with (
        with_settings(tmp_path, security=short) as running,
        open_aio_channel(running.service.address, OWN_POOL, tls=tls) as channel,
        stream(channel) as one,
        asyncio.timeout(HANG_S),
    ):
        stub = RouterServiceStub(channel)
        call, log = stub.RouteStream(timeout=3 * HANG_S), log_stream(channel)
        said = (
            (answered(call), call.code),
            (log.write(message(entry("1"))), log.code),
            (one.say(request_headers()), one.ended),
        )
        for saying, end in said:
            try:
                await saying
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                continue  # on a slow machine the connection ends before; it may be called INTERNAL
            assert await end() in ended
        again = stub.Route(EASY, wait_for_ready=True)
        while await again.code() in ended:  # likewise
            again = stub.Route(EASY, wait_for_ready=True)
        assert (await again).model == "small"


async def test_fewer_calls_at_once_end_the_newest_streams(tmp_path: Path) -> None:
    async with with_settings(tmp_path) as running, asyncio.timeout(HANG_S):
        calls = []
        for _ in range(4):
            calls.append(running.stub.RouteStream(timeout=3 * HANG_S))
            await calls[-1].write(EASY)
            assert (await calls[-1].read()).model == "small"
        limits = {"per_client": {"max_concurrent": 2}}
        assert await reload(running, tmp_path, security=limits) == "switched"
        for call in calls[2:]:
            code, text = await refusal(call.read())
            assert code is EXHAUSTED
            assert text.startswith("more streams of yours are open than one client may have now")
        for call in calls[:2]:
            await call.write(EASY)
            assert (await call.read()).model == "small"
            await call.done_writing()


async def test_a_lower_rate_reaches_the_next_message_of_an_open_stream(tmp_path: Path) -> None:
    limits = {"per_client": {"prompts_per_s": 1e-3, "burst_prompts": 3}}
    async with with_settings(tmp_path) as running, asyncio.timeout(HANG_S):
        call = running.stub.RouteStream(timeout=3 * HANG_S)
        await call.write(EASY)
        assert (await call.read()).model == "small"
        assert await reload(running, tmp_path, security=limits) == "switched"
        said = []
        for _ in range(5):
            await call.write(EASY)
            said.append((await call.read()).error.code)
        assert said == [0, 0, 0, EXHAUSTED.value[0], EXHAUSTED.value[0]]
        # What was taken stays taken over further reloads, also under another limit.
        changed = {"per_client": {"prompts_per_s": 2e-3, "burst_prompts": 3}}
        for again in (limits, changed):
            await reload(running, tmp_path, security=again)
            await call.write(EASY)
            assert (await call.read()).error.code == EXHAUSTED.value[0]
        await call.done_writing()


async def test_a_reload_that_asks_who_calls_ends_the_streams_of_strangers(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text("", "utf-8")
    async with with_settings(tmp_path) as running, asyncio.timeout(HANG_S):
        call = running.stub.RouteStream(timeout=3 * HANG_S)
        await call.write(EASY)
        assert (await call.read()).model == "small"
        log = log_stream(running.channel)
        await log.write(message(entry("1")))
        async with stream(running.channel) as one:
            await one.say(request_headers())
            assert await reload(running, tmp_path, security={"tokens": tokens}) == "switched"
            assert await call.code() == UNAUTHENTICATED
            await log.write(message(entry("1")))
            assert await log.code() == UNAUTHENTICATED
            refused = (await one.say(request_body(chat_body()))).immediate_response
            assert refused.status.code == 401


async def test_access_that_is_no_longer_mentioned_stays(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text("", "utf-8")
    limits = {"max_concurrent": 3, "prompts_per_s": 5.0}
    before = tiny_settings(tmp_path, security={"tokens": tokens, "per_client": limits})
    pool = load_pool(before.pool)
    in_use = SettingsInUse.at_start(before, pool)
    async with serving(before) as running:
        for after, named in (
            ({}, "security.tokens, security.per_client.max_concurrent"),
            ({"tokens": tokens, "per_client": {"max_concurrent": 3}}, "prompts_per_s"),
        ):
            wanted = tiny_settings(tmp_path, security=after)
            with pytest.raises(ConfigError, match=named):
                in_use.check(wanted, pool)
            async with asyncio.timeout(HANG_S):
                assert await running.service.reloader.start(lambda w=wanted: w) == "refused"
        assert (await refusal(running.route()))[0] is UNAUTHENTICATED
        said = tiny_settings(tmp_path, security={"tokens": None, "per_client": limits})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: said) == "switched"
        assert (await running.route()).model == "small"


async def test_an_open_address_keeps_its_authentication(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text("", "utf-8")
    security = {"tls": signed.serve(), "tokens": tokens}
    del security["tls"]["client_ca"]
    before = tiny_settings(tmp_path, listen="0.0.0.0:0", security=security)
    async with serving(before) as running:
        # Without an open address these settings would do, but the address stays as it is.
        wanted = tiny_settings(tmp_path, security={"tokens": None})
        async with asyncio.timeout(HANG_S):
            assert await running.service.reloader.start(lambda: wanted) == "refused"
        assert "no authentication" in running.logs[-1]["detail"]
