"""``routoo token``: makes tokens for callers of the service."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import re
from pathlib import Path
from time import time
from typing import Annotated

import typer

from routoo.cli.options.common import AsJson, print_json
from routoo.cli.output.errors import CommandError

app = typer.Typer(
    help="Make tokens for those who call the service.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


@app.callback()
def _root() -> None:
    """Keeps ``new`` a subcommand: without a callback, typer would make it the whole command."""


@app.command()
def new(
    *,
    file: Annotated[
        Path,
        typer.Option("--file", help="Its hash is added here: security.tokens.", metavar="F"),
    ],
    tenant: Annotated[
        str, typer.Option(help="Who pays for its requests; none: nobody in particular.")
    ] = "",
    role: Annotated[
        list[str] | None,
        typer.Option(help="route (default), admin or proxy; may be repeated.", metavar="ROLE"),
    ] = None,
    expires_in: Annotated[
        str, typer.Option(help="How long it is good for: 90d, 12h, 30m; none: for ever.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token, print it once, and add its hash to a file.

    A running service takes it within seconds. To take one back, remove its line from the file.
    """
    from routoo.api.security.caller import ADMIN, PROXY, ROUTE
    from routoo.api.security.tokens import append_token, new_token

    roles = role or [ROUTE]
    for one in roles:
        if one not in (ROUTE, ADMIN, PROXY):
            raise CommandError(f"--role {one}: there are the roles {ROUTE}, {ADMIN} and {PROXY}")
    valid_s = None
    if expires_in:
        found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", expires_in)
        if found is None:
            raise CommandError(f"--expires-in {expires_in}: write 30m, 12h or 90d")
        valid_s = int(found[1]) * _UNITS_S[found[2]]
    token, stored = new_token(tenant, roles, time(), valid_s)
    append_token(file, stored)
    if as_json:
        print_json({"token": token})
    else:
        typer.echo(token)
