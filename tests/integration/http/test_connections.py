"""Connections as careless and hostile clients make them: each ends, and none harms the others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

BODY = b'{"prompt": "easy"}'
CHUNKED = b"transfer-encoding: chunked\r\n"
JSON_LENGTH = b"content-length: %d\r\n"


def request(
    body: bytes = BODY, headers: bytes | None = None, line: bytes = b"POST /v1/route HTTP/1.1"
) -> bytes:
    """Returns a request; without ``headers`` the one of its length."""
    told = JSON_LENGTH % len(body) if headers is None else headers
    return line + b"\r\nhost: localhost\r\n" + told + b"\r\n" + body


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its status, its headers by lower-case name, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection:
    """One connection to the front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, to_head: bool = False) -> Reply:
        """Reads one reply whose length is told."""
        async with asyncio.timeout(HANG_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.rstrip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (one.partition(":") for one in rest)
            }
            length = 0 if to_head else int(headers.get("content-length", 0))
            return Reply(int(line.split()[1]), headers, await self.reader.readexactly(length))

    async def ended(self) -> bytes:
        """Waits for the end of the connection, and returns what came before it."""
        async with asyncio.timeout(HANG_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(front: Front) -> AsyncIterator[Connection]:
    host, _, port = front.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def still_serves(front: Front) -> None:
    assert (await front.post("/v1/route", {"prompt": "easy"})).status_code == 200
    assert front.running.service._calls.in_flight.held_bytes == 0


def be_patient(front: Front) -> None:
    """Lets a front that was made to wait for a moment alone wait for a machine that is busy."""
    http = front.running.service._http
    assert http is not None
    http._timeout_s = HANG_S


@pytest.mark.parametrize(
    "pieces",
    [
        [request()],
        [request()[:20], request()[20:60], request()[60:]],
        [request(b"12\r\n" + BODY + b"\r\n0\r\n\r\n", CHUNKED)],
        [request(b'12;name="a;b";more=1\r\n' + BODY + b"\r\n0\r\ntrailer: x\r\n\r\n", CHUNKED)],
        [request(b"", CHUNKED)] + [b"1\r\n%c\r\n" % byte for byte in BODY] + [b"0\r\n\r\n"],
        [request(line=b"POST http://localhost/v1/route HTTP/1.1")],
        [request(line=b"POST /v1/route?x=1#y HTTP/1.1")],
        [request(line=b"POST /v1/route HTTP/1.0")],
        [request(headers=JSON_LENGTH % len(BODY) + b"upgrade: h2c\r\nconnection: upgrade\r\n")],
    ],
    ids=["whole", "pieces", "chunk", "extension", "bytes", "absolute", "query", "1.0", "h2c"],
)
async def test_every_form_of_a_request_is_answered(fronts: Fronts, pieces: list[bytes]) -> None:
    async with fronts() as front, connected(front) as one:
        for piece in pieces:
            await one.send(piece)
        reply = await one.reply()
        assert (reply.status, reply.json["model"] != "") == (200, True)
        await still_serves(front)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET  /healthz HTTP/9.9\r\n\r\n", 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n", 400),
        (request(headers=b"content-length: -1\r\n"), 400),
        (request(headers=b"content-length: 5\r\ncontent-length: 6\r\n"), 400),
        (request(headers=CHUNKED + JSON_LENGTH % 5), 400),
        (request(b"zz\r\n", CHUNKED), 400),
        (request(b"f" * 1000, CHUNKED), 400),
        (request(headers=b"a\x00b: c\r\n"), 400),
        (request(headers=b"key\r\n more: x\r\n"), 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: other\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: other\r\nhost: localhost\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 431),
        (request(headers=b"x: " + b"y" * 70_000 + b"\r\n"), 431),
        (request()[:30] + b"y" * 70_000, 431),
        (request(headers=b"content-length: 9999999999\r\n"), 413),
        (request(headers=b"content-length: 99999999999999999999\r\n"), 400),
        (request(headers=b"content-length: 9000000\r\nexpect: 100-continue\r\n"), 413),
        (request(headers=JSON_LENGTH % len(BODY) + b"content-encoding: br\r\n"), 415),
    ],
)
async def test_what_is_refused_is_told_so_and_closed(
    fronts: Fronts, data: bytes, status: int
) -> None:
    async with fronts() as front, connected(front) as one:
        await one.send(data)
        reply = await one.reply()
        assert reply.headers["content-type"] == "application/problem+json"
        assert (reply.status, reply.json["status"]) == (status, status)
        assert reply.headers["connection"] == "close"
        assert await one.ended() == b""
        await still_serves(front)


async def test_a_body_is_asked_for_where_the_client_waits_for_that(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        await one.send(request(b"", JSON_LENGTH % len(BODY) + b"expect: 100-continue\r\n"))
        assert (await one.reply()).status == 100
        await one.send(BODY)
        assert (await one.reply()).status == 200


async def test_pipelined_requests_are_answered_in_their_order(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        bodies = [b'{"prompt": "easy", "request_id": "%d"}' % number for number in range(20)]
        await one.send(b"".join(map(request, bodies)))
        assert [(await one.reply()).json["request_id"] for _ in bodies] == [
            str(number) for number in range(20)
        ]


async def test_too_many_pipelined_requests_end_the_connection(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        await one.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 1000)
        assert (await one.ended()).count(b"HTTP/1.1 200") < 1000
        await still_serves(front)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /v1/rou",
        request(b"", JSON_LENGTH % 100),
        request(BODY, JSON_LENGTH % 100),
        request(b"5\r\n{", CHUNKED),
    ],
)
async def test_what_never_ends_is_ended(fronts: Fronts, data: bytes) -> None:
    async with fronts(http={"transfer_timeout_s": 0.2}) as front, connected(front) as one:
        await one.send(data)
        answer = await one.ended()
        assert answer.startswith(b"HTTP/1.1 408")
        be_patient(front)
        await still_serves(front)


async def test_a_body_that_is_cut_off_is_forgotten(fronts: Fronts) -> None:
    async with fronts() as front:
        async with connected(front) as one:
            await one.send(request(BODY, JSON_LENGTH % 100_000))
        async with asyncio.timeout(HANG_S):
            # Nothing tells when the service has seen the end.
            while front.running.service._calls.in_flight.held_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await still_serves(front)


async def test_a_caller_that_reads_nothing_is_left(fronts: Fronts) -> None:
    body = orjson.dumps({"requests": [{"prompt": "easy", "explain": True}] * 10_000})
    limits = {"max_in_flight_bytes": 64 * 1024 * 1024}
    async with fronts(http={"transfer_timeout_s": 0.2}, limits=limits) as front:
        async with connected(front) as one:
            one.writer.transport.pause_reading()
            await one.send(request(body, line=b"POST /v1/route/batch HTTP/1.1"))
            calls = front.running.service._calls
            async with asyncio.timeout(HANG_S):
                # Nothing tells when the reply is under way, and when it is given up.
                while not calls.in_flight.held_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                while calls.in_flight.held_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        be_patient(front)
        await still_serves(front)


async def test_a_connection_too_many_is_told_so(fronts: Fronts) -> None:
    async with (
        fronts(http={"max_connections": 2}) as front,
        connected(front) as first,
        connected(front) as second,
        connected(front) as third,
    ):
        reply = await third.reply()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
        for one in (first, second):
            await one.send(request())
            assert (await one.reply()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/route", 405, "POST"),
        ("DELETE", "/v1/pool", 405, "GET, HEAD"),
        ("OPTIONS", "/v1/route", 405, "POST"),
        ("TRACE", "/v1/route", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("GET", "/nothing", 404, None),
        ("GET", "/v1/route/", 404, None),
        ("GET", "/v1/%72oute/x", 404, None),
    ],
)
async def test_a_wrong_method_or_path_is_told(
    fronts: Fronts, method: str, path: str, status: int, allow: str | None
) -> None:
    async with fronts() as front:
        reply = await front.client.request(method, path)
        assert (reply.status_code, reply.headers.get("allow")) == (status, allow)
        assert reply.json()["status"] == status


async def test_head_has_the_headers_of_get(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        await one.send(b"HEAD /v1/info HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await one.reply(to_head=True)
        assert (head.status, int(head.headers["content-length"]) > 0) == (200, True)
        await one.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await one.reply()).json == {"status": "ALIVE"}


async def test_a_websocket_is_told_to_use_http(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        headers = b"upgrade: websocket\r\nconnection: upgrade\r\n"
        await one.send(request(b"", headers, b"GET /v1/responses HTTP/1.1"))
        reply = await one.reply()
        assert (reply.status, reply.headers["connection"]) == (426, "close")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("10.0.0.7:8080", 200),
        ("routoo.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8080", 421),
    ],
)
async def test_names_of_strangers_do_not_reach_the_front(
    fronts: Fronts, host: str, status: int
) -> None:
    async with fronts(http={"hosts": ["routoo.example"]}) as front:
        reply = await front.client.get("/healthz", headers={"host": host})
        assert reply.status_code == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
async def test_pages_of_other_sites_may_not_call(fronts: Fronts, origin: str) -> None:
    async with fronts() as front:
        headers = {"origin": origin, "content-type": "text/plain"}
        reply = await front.client.post("/v1/route", content=BODY, headers=headers)
        assert reply.status_code == 403
        assert not [name for name in reply.headers if name.startswith("access-control")]
        own = await front.client.get("/healthz", headers={"origin": f"http://{front.address}"})
        assert own.status_code == 200


@pytest.mark.parametrize(
    ("before", "endless"),
    [
        (b"12\r\n" + BODY + b"\r\n0\r\n", b"x-a: " + b"b" * 1000 + b"\r\n"),
        (b"12\r\n" + BODY + b"\r\n0\r\nx-a: ", b"b" * 1000),
        (b"12;", b"b" * 1000),
    ],
    ids=["trailers", "a trailer", "an extension"],
)
async def test_what_is_no_body_takes_no_memory(
    fronts: Fronts, before: bytes, endless: bytes
) -> None:
    async with fronts() as front:
        async with connected(front) as one:
            await one.send(request(before, CHUNKED))
            async with asyncio.timeout(HANG_S):
                # It ends; how much the kernel has on its way until then is not the service's.
                with suppress(ConnectionError):
                    while True:
                        await one.send(endless)
                        await asyncio.sleep(0)
        await still_serves(front)


async def test_trailers_are_no_headers(fronts: Fronts) -> None:
    async with fronts() as front, connected(front) as one:
        trailers = b"x-request-timeout-ms: none\r\nhost: evil.example\r\n"
        await one.send(request(b"12\r\n" + BODY + b"\r\n0\r\n" + trailers + b"\r\n", CHUNKED))
        assert (await one.reply()).status == 200
        await still_serves(front)
