"""A server that answers stored bytes, the yardstick for the service: grpc.aio, or Starlette.

It has the service's event loop and parses nothing, so its cost is that of gRPC, or of Starlette on
uvicorn, for Python alone. It prints ``ready ADDRESS`` and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING

import grpc
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

SERVICE = "routoo.v1.RouterService"
METHOD = "Route"
HTTP_PATH = "/v1/route"


async def _serve(host: str, reply: bytes) -> None:
    async def echo(request: bytes, _: object) -> bytes:
        del request
        return reply

    # The service's own name and method give the headers the same size, too.
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
    )
    port = server.add_insecure_port(f"{host}:0")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    print(f"ready {host}:{port}", flush=True)
    await stop.wait()
    await server.stop(0)


async def _serve_http(host: str, reply: bytes) -> None:
    async def echo(request: Request) -> Response:
        await request.body()
        return Response(reply, media_type="application/json")

    config = uvicorn.Config(
        Starlette(routes=[Route(HTTP_PATH, echo, methods=["POST"])]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
    )
    # uvicorn sends itself the signal again once it has stopped, which would end this process by it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with socket.socket() as listening:
        listening.bind((host, 0))
        print(f"ready {host}:{listening.getsockname()[1]}", flush=True)
        await uvicorn.Server(config).serve([listening])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--reply-bytes", type=int, required=True, help="length of every reply")
    parser.add_argument("--http", action="store_true", help="Starlette in place of grpc.aio")
    arguments = parser.parse_args()
    serve = _serve_http if arguments.http else _serve
    uvloop.run(serve(arguments.host, b"r" * arguments.reply_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
