"""``routoo models`` and ``routoo info``: the pool, and the versions and limits of the service."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from typing import Annotated

import typer

from routoo.cli.commands.common import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    TimeoutS,
    print_reply,
    service,
)


def models(
    *,
    curve: Annotated[bool, typer.Option("--curve", help="Show what money buys instead.")] = False,
    points: Annotated[
        int, typer.Option(min=2, max=1000, help="Points of the curve, at most.", metavar="N")
    ] = 20,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the pool, or with --curve its cost-quality curve."""
    from routoo.cli.output import reply_screens

    with service(address, timeout_s) as client:
        response = client.models(curve_points=points if curve else 0)
    screen = reply_screens.curve(response) if curve else reply_screens.models(response)
    print_reply(response, screen, as_json=as_json)


def info(
    *, address: Address = DEFAULT_ADDRESS, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show the service's versions, limits and state."""
    from routoo.cli.output import reply_screens

    with service(address, timeout_s) as client:
        response = client.info()
    print_reply(response, reply_screens.info(response), as_json=as_json)
