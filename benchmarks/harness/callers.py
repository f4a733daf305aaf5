"""Callers of a load, over the gRPC API or OpenAI's chat completions over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from routoo.client.errors import PUSHBACK
from routoo.v1.route_pb2 import RouteRequest, RouteResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUTE: Final = "/routoo.v1.RouterService/Route"
CALLS_PER_CHANNEL: Final = 16
STOPPING: Final = "the service is stopping"
_NEVER_SENT: Final = ("Connection refused", "failed to connect", "No such file")


class GrpcCaller:
    """Calls ``Route`` over one connection per 16 callers.

    The status of a call is OK or gRPC's, but UNAVAILABLE is split into three: ``REFUSED`` by a
    service that drains, ``NOBODY`` where no service listens, and UNAVAILABLE for a call that was
    cut off.
    """

    def __init__(
        self, address: str, prompts: Sequence[str], *, concurrency: int, timeout_s: float
    ) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            grpc.aio.insecure_channel(address, options)
            for _ in range(-(-concurrency // CALLS_PER_CHANNEL))
        ]
        self._routes = [
            channel.unary_unary(ROUTE, None, RouteResponse.FromString) for channel in self._channels
        ]
        self._bodies = [RouteRequest(prompt=text).SerializeToString() for text in prompts]
        self._timeout_s = timeout_s
        self.degraded = 0

    async def call(self, number: int) -> str:
        """Makes the call with a number, and returns its status; see ``profiles.Caller``."""
        route = self._routes[number % len(self._routes)]
        try:
            reply = await route(self._bodies[number % len(self._bodies)], timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            # A caller that is refused waits for as long as the service asked.
            await asyncio.sleep(_pushback_s(error))
            return _status(error)
        self.degraded += reply.degraded
        return "OK" if reply.model else "NO DECISION"

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close(None)


def _pushback_s(error: grpc.aio.AioRpcError) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == PUSHBACK:
            return max(0.0, int(value) * 1e-3)
    return 0.0


def _status(error: grpc.aio.AioRpcError) -> str:
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return str(error.code().name)
    details = error.details() or ""
    if details.startswith(STOPPING):
        return "REFUSED"
    return "NOBODY" if any(text in details for text in _NEVER_SENT) else "UNAVAILABLE"


class HttpCaller:
    """Calls chat completions with the model "auto" over keep-alive HTTP/1.1.

    The status of a call is OK for a reply 200 from a routed model, ``REFUSED`` by a service that
    drains, ``NOBODY`` where no service listens, else ``HTTP`` and the number, or ``CUT OFF``.
    """

    def __init__(self, port: int, prompts: Sequence[str], *, timeout_s: float) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        bodies = [
            json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
            for text in prompts
        ]
        self._requests = [
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            for body in bodies
        ]

    async def call(self, number: int) -> str:
        """Makes the call with a number, and returns its status; see ``profiles.Caller``."""
        writer = None
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = (
                    self._idle.pop()
                    if self._idle
                    else await asyncio.open_connection("127.0.0.1", self._port)
                )
                writer.write(self._requests[number % len(self._requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
        except TimeoutError:
            status = "DEADLINE_EXCEEDED"
        except ConnectionRefusedError:
            return "NOBODY"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            status = "CUT OFF"
        else:
            self._idle.append((reader, writer))
            code = head.split(b" ", 2)[1].decode()
            if code == "200":
                return "OK"
            return "REFUSED" if STOPPING.encode() in body else f"HTTP {code}"
        if writer is not None:
            writer.close()
        return status

    async def close(self) -> None:
        """Closes the connections."""
        for _, writer in self._idle:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("a reply without content-length")
