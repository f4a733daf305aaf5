"""The pages of the HTTP front: health, metrics, and the description of its API."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import orjson
from prometheus_client import generate_latest

from routoo.api.http.door import Door
from routoo.api.http.openapi import openapi
from routoo.api.http.problem import send_problem
from routoo.errors import PermissionDeniedError, RoutooError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client import CollectorRegistry

    from routoo.api.calls import Doorkeeper
    from routoo.api.http.call import HttpCall

# The page brings all that it needs along, and asks nobody but this service.
_POLICY: Final = (
    "default-src 'none'; script-src 'sha256-{}'; style-src 'unsafe-inline'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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


def description_doors(doors: Sequence[Door], *, asks: bool) -> list[Door]:
    """Returns the doors of the API's description, which is the same for all services.

    Args:
        doors: what is described.
        asks: whether callers have to show a token or a certificate.
    """
    described = orjson.dumps(openapi(doors, asks=asks))
    page = files("routoo.api.http").joinpath("docs_page.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = b64encode(sha256(script).digest()).decode()
    headers = (
        (b"content-security-policy", _POLICY.format(digest).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )

    async def tell(call: HttpCall) -> None:
        await call.reply(200, described)

    async def show(call: HttpCall) -> None:
        await call.reply(200, page, b"text/html; charset=utf-8", headers)

    return [Door("GET", "/openapi.json", tell), Door("GET", "/docs", show)]
