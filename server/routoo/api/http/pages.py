"""The pages of the HTTP front: health, metrics, and the description of its API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import orjson
from prometheus_client import generate_latest

from routoo.api.http.door import Door
from routoo.api.http.problem import send_problem
from routoo.errors import PermissionDeniedError, RoutooError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from routoo.api.calls import Doorkeeper
    from routoo.api.http.call import HttpCall

_METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


def health_doors(is_serving: Callable[[], Awaitable[bool]]) -> list[Door]:
    """Returns the doors that tell the service's health to anybody.

    Args:
        is_serving: tells whether the service takes calls.
    """

    async def alive(call: HttpCall) -> None:
        await call.reply(200, b'{"status":"ALIVE"}')

    async def ready(call: HttpCall) -> None:
        serves = await is_serving()
        status = "SERVING" if serves else "NOT_SERVING"
        await call.reply(200 if serves else 503, orjson.dumps({"status": status}))

    return [Door("GET", "/healthz", alive), Door("GET", "/readyz", ready)]


def metrics_door(registry: CollectorRegistry, gate: Doorkeeper, *, asks: bool) -> Door:
    """Returns the door of the metrics, which are those of all tenants.

    Args:
        registry: the metrics.
        gate: tells who calls.
        asks: whether callers have to be admins.
    """

    async def show(call: HttpCall) -> None:
        if asks:
            try:
                if not gate.identify(call, "GetInfo").is_admin:
                    raise PermissionDeniedError(
                        "the metrics are those of all tenants; use a token or certificate with the"
                        " role admin"
                    )
            except RoutooError as error:
                await send_problem(call, error, "metrics")
                return
        await call.reply(200, await asyncio.to_thread(generate_latest, registry), _METRICS_TYPE)

    return Door("GET", "/metrics", show)
