"""``routoo spend``: the money that the decisions in a log cost."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from routoo.cli.commands.common import AsJson, print_json, show


class Key(StrEnum):
    """A figure by which spending is told apart."""

    TENANT = "tenant"
    MODEL = "model"
    DAY = "day"


def spend(
    logs: Annotated[
        list[Path], typer.Argument(help="Decision logs, the oldest first.", metavar="LOG...")
    ],
    *,
    by: Annotated[
        list[Key] | None,
        typer.Option(help="Tell the spending apart by this; may be repeated. None: by all."),
    ] = None,
    best: Annotated[
        str,
        typer.Option(
            help="Compare with sending everything to this model; none: the best one.",
            metavar="MODEL",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show what was spent, by tenant, model and day, beside what was predicted.

    Costs are settled as the service settles them. What is not reported counts at the estimate.
    Savings: the predicted cost of the best model for everything, minus that of the decisions.
    """
    from routoo.cli.output import spend_screens
    from routoo.telemetry.decision_log.reader import read_logs
    from routoo.telemetry.decision_log.spend import KEYS, spending

    log = read_logs(logs)
    chosen = [one.value for one in by or ()]
    found = spending(log, [key for key in KEYS if key in chosen] or KEYS, best)
    if as_json:
        print_json(spend_screens.spending_json(found, log.findings))
    else:
        show(spend_screens.spending(found))
    for finding in log.findings:
        print(f"routoo: {finding}", file=sys.stderr)  # noqa: T201
