"""``routoo route``: decides one prompt."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from typing import Annotated, Any

import typer

from routoo.cli.commands.common import (
    DEFAULT_ADDRESS,
    Address,
    AsJson,
    TimeoutS,
    print_reply,
    service,
    stdin_text,
)
from routoo.cli.commands.request_options import with_request_fields
from routoo.cli.output.errors import CommandError


@with_request_fields
def route(
    prompt: Annotated[
        str, typer.Argument(help="The prompt; - reads it from stdin.", metavar="PROMPT")
    ],
    *,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Decide which model should answer one prompt, and show why."""
    from routoo.cli.output import reply_screens

    text = stdin_text() if prompt == "-" else prompt
    with service(address, timeout_s) as client:
        try:
            response = client.route(text, explain=True, **fields)
        except UnicodeEncodeError:
            raise CommandError("an argument is not UTF-8; encode it so") from None
    print_reply(response, reply_screens.decision(response), as_json=as_json)
