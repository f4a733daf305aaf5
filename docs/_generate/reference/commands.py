"""Page of the commands, from their own help, and of their exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from reference.text import code, fenced, page, table
from routoo.cli.app import app as routoo
from routoo.cli.output import errors
from routoo_export.cli.app import app as routoo_export

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 100
EXIT_CODES = (
    (0, "done", ""),
    (errors.FAILED, "anything else", "The line on stderr, or the service's log, says more."),
    (
        errors.BAD_INPUT,
        "bad input: arguments, files, settings, or a request that the service refuses",
        "The line names the argument, the file and its line, or the field.",
    ),
    (
        errors.UNREACHABLE,
        "no service, or no server of models, answers, or one that stops",
        "`routoo serve` starts one; `--address` names another.",
    ),
    (
        errors.TOO_LATE,
        "a missed deadline, an overloaded service, a spent budget",
        "`--timeout-s` allows more; `routoo budgets` shows what is left.",
    ),
    (errors.INTERRUPTED, "interrupted", "By Ctrl-C."),
)


def commands_page() -> str:
    """Returns the page of both commands."""
    rows = [[code(number), means, remedy] for number, means, remedy in EXIT_CODES]
    parts = [
        (
            "Made of the commands' own help. stdout carries results only; an error is one line on"
            " stderr that names the remedy."
        ),
        "## Exit codes",
        table(["code", "means", "what to do"], rows),
    ]
    for name, app in (("routoo", routoo), ("routoo-export", routoo_export)):
        for path, text in _helps(typer.main.get_command(app), name):
            parts += [f"## {path}", fenced(text)]
    return page("Commands", *parts)


def _helps(command: Any, path: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=path.rpartition(" ")[2],
        parent=parent,
        terminal_width=_WIDTH,
        **command.context_settings,
    )
    yield path, _help_of(command, context)
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if not inner.hidden:
            yield from _helps(inner, f"{path} {name}", context)


def _help_of(command: Any, context: Any) -> str:
    # Without rich's boxes, whose width is that of the terminal that builds the site.
    mode, command.rich_markup_mode = command.rich_markup_mode, None
    try:
        return str(command.get_help(context))
    finally:
        command.rich_markup_mode = mode
