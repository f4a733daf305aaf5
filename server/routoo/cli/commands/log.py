"""``routoo explain`` and ``routoo tail``: reads of a decision log."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.options.common import AsJson, AsJsonLines, print_json, show
from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_S = 0.25


def explain(
    decision_id: Annotated[
        str, typer.Argument(help="The decision_id of the reply.", metavar="DECISION_ID")
    ],
    logs: Annotated[
        list[Path], typer.Argument(help="Decision logs, the oldest first.", metavar="LOG...")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show why a decision was made, and what came of it.

    From files that `decision_log.path` of a service wrote; the service need not run.
    """
    from routoo.telemetry.decision_log.lookup import story_of

    try:
        story = story_of(decision_id, logs)
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if story.decision is None:
        if story.after and as_json:
            print_json({"decision": None, "after": story.after})
            return
        raise CommandError(
            f"no decision {decision_id!r} in {', '.join(map(str, logs))}; the log may keep a sample"
            " (decision_log.sample_ratio), or an older file has it"
        )
    if as_json:
        print_json({"decision": story.decision, "after": story.after})
        return
    from routoo.cli.output import log_screens
    from routoo.telemetry.decision_log.header import Setup

    names: tuple[str, ...] = ()
    if story.setup is not None:
        try:
            names = Setup.read(story.setup).pool.names
        except ValueError:
            names = ()
    show(log_screens.explained(story, names))


def tail(
    log: Annotated[Path, typer.Argument(help="A decision log.", metavar="LOG")],
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with what is in the file already.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more; else end at the end.")
    ] = True,
    as_json: AsJsonLines = False,
) -> None:
    """Show decisions, and what comes of them, as they are logged; until interrupted."""
    from routoo.cli.output import log_screens
    from routoo.cli.output.render import harmless
    from routoo.telemetry.decision_log.lookup import followed

    begins = from_start or not follow
    try:
        for values in followed(log, from_start=begins, waits=_waits(follow=follow)):
            if as_json:
                print_json(values)
                sys.stdout.flush()
            elif line := log_screens.line_of(values):
                typer.echo(harmless(line))
    except OSError as error:
        if error.filename is None:
            raise  # stdout has gone
        raise CommandError(
            f"{error.filename}: cannot be read: {error.strerror}; name the decision_log.path of a"
            " service"
        ) from None


def _waits(*, follow: bool) -> "Iterator[None]":
    from time import sleep

    yield None
    while follow:
        sleep(_LOOK_S)
        yield None
