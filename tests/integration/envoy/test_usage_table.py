"""Envoy's filter finds the same usage as the reader, in the same bytes on a real connection."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import pytest_asyncio

from routoo.api.extproc.envoy import access_log_pb2
from routoo.api.extproc.log_entry import LogEntry
from routoo.predictor.artifact import load_artifact
from routoo.tariffs.usage import Usage
from routoo.tariffs.usage_reader import UsageReader, UsageReading
from support.access_log import METHOD
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.peers.random_replies import random_reply
from support.peers.real_envoy import envoy_config, manager, running_envoy
from support.tables.settled_books import settled_books
from support.tables.usage_cases import UsageCase, usage_cases
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")
CASES = usage_cases()
RANDOM_REPLIES = 50
LONGEST = 4 * 1024 * 1024


class Replies:
    """An upstream that sends the reply of a case, in chunks of some bytes, and cuts it where asked.

    Attributes:
        piece_bytes: the size of a chunk.
        cases: the replies by name; a decision's id is a name, a dot, and the number of the request.
    """

    def __init__(self) -> None:
        self.piece_bytes = LONGEST
        self.cases = {f"case-{number}": case for number, case in enumerate(CASES)}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        name = head.split("x-routoo-decision-id: ")[1].split("\r\n")[0]
        case = self.cases[name.rpartition(".")[0]]
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nconnection: close\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % case.content_type.encode()
        )
        for at in range(0, len(case.body), self.piece_bytes):
            piece = case.body[at : at + self.piece_bytes]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        if not case.cut:
            writer.write(b"0\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


class Site:
    """An Envoy with the shipped filter, its upstream, and its log.

    Attributes:
        replies: the upstream.
        http: a client of the Envoy.
        entries: log entries that have come, by the id of their decision. Each id is used once, so
            that an entry which comes late for a test is not taken for the next one's.
    """

    def __init__(self, replies: Replies, http: httpx.AsyncClient) -> None:
        self.replies = replies
        self.http = http
        self.entries: defaultdict[str, asyncio.Queue[LogEntry]] = defaultdict(asyncio.Queue)
        self._requests = count()

    async def reading(self, name: str) -> UsageReading:
        """Asks for a case's reply, and returns the usage that Envoy has logged."""
        decision_id = f"{name}.{next(self._requests)}"
        # A reply that is cut: Envoy ends the connection, or resets it.
        with suppress(httpx.RemoteProtocolError, httpx.ReadError):
            await self.http.post(
                "/v1/chat/completions", headers={"x-routoo-decision-id": decision_id}
            )
        async with asyncio.timeout(HANG_S):
            return (await self.entries[decision_id].get()).reading()


@asynccontextmanager
async def log_server(site: Site) -> AsyncIterator[int]:
    async def take(bodies: Any, _: object) -> bytes:
        async for body in bodies:
            told = access_log_pb2.StreamAccessLogsMessage.FromString(body)
            for entry in map(LogEntry, told.http_logs.log_entry):
                site.entries[entry.decision_id].put_nowait(entry)
        return b""

    service, _, name = METHOD[1:].partition("/")
    handler = grpc.stream_unary_rpc_method_handler(take)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    replies = Replies()
    folder = tmp_path_factory.mktemp("usage")
    async with AsyncExitStack() as all_of_it:
        server = await asyncio.start_server(replies.serve, "127.0.0.1", 0)
        await all_of_it.enter_async_context(server)
        upstream = server.sockets[0].getsockname()[1]
        http = await all_of_it.enter_async_context(
            httpx.AsyncClient(timeout=HANG_S, trust_env=False)
        )
        found = Site(replies, http)
        log = await all_of_it.enter_async_context(log_server(found))
        config, port = envoy_config(routoo=log, local=upstream, hosted=upstream)
        shipped = manager(config)
        del shipped["early_header_mutation_extensions"]  # this test is the processor
        shipped["http_filters"] = [
            one for one in shipped["http_filters"] if "ext_proc" not in one["name"]
        ]
        shipped["access_log"][0]["typed_config"]["common_config"]["buffer_flush_interval"] = "0.01s"
        await all_of_it.enter_async_context(running_envoy(config, folder, port))
        http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        yield found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
@pytest.mark.parametrize("piece_bytes", [11, LONGEST])
async def test_the_table(site: Site, number: int, piece_bytes: int) -> None:
    site.replies.piece_bytes = piece_bytes
    case: UsageCase = CASES[number]
    expected = UsageReading(case.usage, case.told)
    assert await site.reading(f"case-{number}") == expected
    reader = UsageReader(streams=case.streams, longest_event=LONGEST)
    reader.feed(case.body)
    assert reader.reading(finished=not case.cut) == expected


async def test_what_envoy_reads_is_booked_as_the_provider_bills_it(
    site: Site, tmp_path: Path
) -> None:
    site.replies.piece_bytes = 1000
    async with settled_books(load_artifact(write_tiny_artifact(tmp_path))) as books:
        for number, case in enumerate(CASES):
            check = books.check if case.told else books.check_untold
            await check(case, await site.reading(f"case-{number}"))


@pytest.mark.parametrize("streams", [False, True])
async def test_random_replies(site: Site, streams: bool) -> None:  # noqa: FBT001
    kind = "text/event-stream" if streams else "application/json"
    found = 0
    for seed in range(RANDOM_REPLIES):
        body = random_reply(seed, streams=streams)
        cut = seed % 3 == 0
        site.replies.piece_bytes = (1, 100, LONGEST)[seed % 3] if len(body) < 3000 else 1000
        site.replies.cases["random"] = UsageCase(
            "random", "", "", kind, body, cut, Usage(), told=False, nano_usd=None
        )
        reader = UsageReader(streams=streams, longest_event=LONGEST)
        reader.feed(body)
        expected = reader.reading(finished=not cut)
        assert await site.reading("random") == expected, seed
        found += expected.usage != Usage()
    assert found > RANDOM_REPLIES // 4
