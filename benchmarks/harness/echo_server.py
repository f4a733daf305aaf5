"""A grpc.aio server that answers stored bytes, the yardstick for the service.

It has the service's event loop and parses nothing, so its cost is that of gRPC for Python alone. It
prints ``ready ADDRESS`` and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import grpc
import uvloop

SERVICE = "routoo.v1.RouterService"
METHOD = "Route"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--reply-bytes", type=int, required=True, help="length of every reply")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.host, b"r" * arguments.reply_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
