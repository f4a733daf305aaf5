"""``routoo models`` and ``routoo info``: models, and the versions and limits of the service."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from pathlib import Path
from typing import Annotated

import typer

from routoo.cli.commands.pool.file import PoolFile, Predictor, artifact_of
from routoo.cli.options.common import (
    Address,
    AsJson,
    TimeoutS,
    print_json,
    print_reply,
    service,
    show,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.output.errors import CommandError


def models(  # noqa: PLR0913 - one parameter per option
    *,
    curve: Annotated[bool, typer.Option("--curve", help="Show what money buys instead.")] = False,
    points: Annotated[
        int, typer.Option(min=2, max=1000, help="Points of the curve, at most.", metavar="N")
    ] = 20,
    catalogue: Annotated[
        bool,
        typer.Option(
            "--catalogue", help="List all models of the predictor's table; asks no service."
        ),
    ] = False,
    search: Annotated[
        str, typer.Option(help="With --catalogue: only names with this text.", metavar="TEXT")
    ] = "",
    predictor: Predictor = None,
    pool: PoolFile = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the pool, with --curve its cost-quality curve, with --catalogue all known models."""
    from routoo.cli.output import reply_screens

    if catalogue:
        if curve:
            raise CommandError("pass --curve or --catalogue, not both")
        _list_catalogue(predictor, pool, search, as_json=as_json)
        return
    if search or predictor is not None or pool is not None:
        raise CommandError("--search, --predictor and --pool go with --catalogue; pass it too")

    with service(address, timeout_s) as client:
        response = client.models(curve_points=points if curve else 0)
    screen = reply_screens.curve(response) if curve else reply_screens.models(response)
    print_reply(response, screen, as_json=as_json)


def _list_catalogue(
    predictor: Path | None, pool: Path | None, search: str, *, as_json: bool
) -> None:
    from dataclasses import asdict

    from routoo.cli.output import pool_screens
    from routoo.routing.pool import load_pool
    from routoo.routing.upkeep.known_models import KnownModels

    artifact = artifact_of(predictor)
    if artifact.table is None:
        raise CommandError(
            f"{artifact.folder}: a predictor of format {artifact.manifest.format_version} has no"
            " table of models; name one of format 2 with --predictor"
        )
    known = KnownModels.of(artifact)
    pooled = {known.canonical(one) for one in load_pool(pool).predictor_names}
    found = known.search(search)
    if as_json:
        listed = [{**asdict(one), "in_pool": one.name in pooled} for one in found]
        print_json({"predictor": artifact.version, "models": listed})
    else:
        show(pool_screens.catalogue(found, pooled))


def info(
    *, address: Address = DEFAULT_ADDRESS, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show the service's versions, limits and state."""
    from routoo.cli.output import reply_screens

    with service(address, timeout_s) as client:
        response = client.info()
    print_reply(response, reply_screens.info(response), as_json=as_json)
