"""``routoo route``: decides one prompt."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo.cli.options.chat_file import messages_in, tool_tokens_in
from routoo.cli.options.common import (
    Address,
    AsJson,
    TimeoutS,
    print_reply,
    service,
    stdin_text,
)
from routoo.cli.options.connection import DEFAULT_ADDRESS
from routoo.cli.options.request_options import with_request_fields
from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from routoo.client.messages import Prompt

_TOOLS = "tools"
"""The capability of models that call tools."""


@with_request_fields
def route(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; - reads it from stdin.", metavar="PROMPT")
    ] = None,
    *,
    messages: Annotated[
        Path | None,
        typer.Option(help="JSON: a chat, instead of PROMPT; - is stdin.", metavar="F"),
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(help="JSON: the tools that the model may call.", metavar="F"),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Decide which model should answer one prompt or chat, and show why."""
    from routoo.cli.output import reply_screens

    asked = _asked(prompt, messages)
    if tools is not None:
        _add_tools(fields, tools)
    with service(address, timeout_s) as client:
        try:
            response = client.route(asked, explain=True, **fields)
        except UnicodeEncodeError:
            raise CommandError("an argument is not UTF-8; encode it so") from None
    print_reply(response, reply_screens.decision(response), as_json=as_json)


def _asked(prompt: str | None, messages: Path | None) -> "Prompt":
    if (prompt is None) == (messages is None):
        raise CommandError(
            "give a PROMPT (- reads stdin) or a chat with --messages F, one of them; see"
            " `routoo route --help`"
        )
    if messages is not None:
        return messages_in(messages)
    return stdin_text() if prompt == "-" else prompt or ""


def _add_tools(fields: dict[str, Any], file: Path) -> None:
    """Adds what a list of tools asks for: a model that calls them, and reads so many tokens."""
    needed = fields["required_capabilities"] or ()
    fields["required_capabilities"] = [*needed, *([] if _TOOLS in needed else [_TOOLS])]
    fields["added_input_tokens"] = (fields["added_input_tokens"] or 0) + tool_tokens_in(file)
