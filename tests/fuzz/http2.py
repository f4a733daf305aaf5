"""Raw HTTP/2 connections with bytes that no gRPC library would send; loopback only."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS = 1, 4
_TIMEOUTS = ("", "1S", "0n", "-1S", "99999999H", "999999999999H", "1", "S", "1x", "\u0661S")
_TYPES = ("application/grpc", "application/grpc+proto", "application/grpc+json", "text/html", "")
_NAMES = ("x", "X-Upper", "bin-bin", ":late", "")
_ENCODINGS = ("identity", "gzip", "deflate", "br", "\xff", "")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def _headers(pairs: list[tuple[str, str]]) -> bytes:
    """Encodes headers by HPACK, all as literals of at most 126 bytes, without its table."""
    block = b""
    for name, value in pairs:
        raw_name, raw_value = name.encode()[:126], value.encode()[:126]
        block += b"\x00" + bytes((len(raw_name),)) + raw_name
        block += bytes((len(raw_value),)) + raw_value
    return block


def _grpc_message(body: bytes, rng: Random) -> bytes:
    """Puts gRPC's five-byte prefix in front of a body; mostly a wrong one."""
    length = rng.choice((len(body), len(body), 0, 1, len(body) + 1, 2**31, 2**32 - 1))
    return bytes((rng.choice((0, 0, 1, 2, 255)),)) + struct.pack(">I", length) + body


def _call(stream: int, rpc: str, body: bytes, rng: Random) -> bytes:
    path = rng.choice(("/routoo.v1.RouterService/" + rpc,) * 6 + ("/", "", "//", "/" + "x" * 100))
    pairs = [
        (":method", rng.choice(("POST",) * 8 + ("GET", "PUT", ""))),
        (":scheme", rng.choice(("http",) * 8 + ("https", "ftp"))),
        (":path", path),
        (":authority", rng.choice(("localhost", "", "\xff", "a" * 120))),
        ("te", rng.choice(("trailers",) * 4 + ("",))),
        ("content-type", rng.choice(_TYPES[:1] * 8 + _TYPES)),
        ("grpc-timeout", rng.choice(_TIMEOUTS)),
        ("grpc-encoding", rng.choice(_ENCODINGS)),
        ("authorization", rng.choice(("", "Bearer", "Bearer " + "x" * 90, "\0", "Basic eDp5"))),
    ]
    pairs += [(rng.choice(_NAMES), "v" * rng.randrange(9)) for _ in range(rng.randrange(4))]
    if rng.random() < 0.2:
        rng.shuffle(pairs)
    kept = [pair for pair in pairs if pair[1] or rng.random() < 0.3]
    data = _grpc_message(body, rng)
    ends = _END_STREAM if rng.random() < 0.8 else 0
    return _frame(_HEADERS, _END_HEADERS, stream, _headers(kept)) + _frame(
        _DATA, ends, stream, data
    )


def call_of(path: bytes) -> bytes:
    """Makes a connection with one call of a method; its name need not be text."""
    pairs = (
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")),
        *((b"te", b"trailers"), (b"content-type", b"application/grpc")),
    )
    block = b"".join(
        b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in pairs
    )
    headers = _frame(_HEADERS, _END_HEADERS, 1, block)
    return _PREFACE + _frame(_SETTINGS, 0, 0, b"") + headers + _frame(_DATA, 1, 1, bytes(5))


def connection_bytes(rpc: str, body: bytes, rng: Random) -> bytes:
    """Makes all bytes that one hostile connection sends."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 500))
    if kind == 1:
        return b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = _PREFACE[: rng.randrange(len(_PREFACE))] if rng.random() < 0.05 else _PREFACE
    sent += _frame(_SETTINGS, 0, 0, b"")
    for call in range(rng.randrange(1, 4)):
        sent += _call(2 * call + 1, rpc, body, rng)
    if kind == 2:
        frame = _frame(rng.randrange(12), rng.randrange(256), rng.randrange(9), rng.randbytes(9))
        sent += frame
    if kind == 3:
        sent += _frame(_PING, 0, 0, b"12345678") * rng.randrange(1, 50)
        sent += _frame(_WINDOW, 0, 0, b"\x7f\xff\xff\xff")
    if kind == 4:
        at = len(_PREFACE) + rng.randrange(max(1, len(sent) - len(_PREFACE)))
        # ASCII only: a method's name that is not UTF-8 ends grpc.aio's server (tested elsewhere).
        strange = bytes(rng.randrange(128) for _ in range(rng.randrange(1, 6)))
        sent = sent[:at] + strange + sent[at:]
    return sent


async def send_raw(host: str, port: int, sent: bytes) -> None:
    """Sends bytes over a connection of their own, closes it, and drops the answer.

    Raises:
        OSError: nobody listens there.
    """
    reader, writer = await asyncio.open_connection(host, port)
    # The service may answer or not; it only has to go on serving.
    with suppress(OSError, TimeoutError):
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        while await asyncio.wait_for(reader.read(65536), 0.2):
            pass
    with suppress(OSError):
        writer.close()
        await writer.wait_closed()
