"""``routoo spend``: the money that decisions cost, by a decision log or by the books of budgets."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from routoo.cli.options.common import AsJson, print_json, show
from routoo.cli.output.errors import CommandError


class Key(StrEnum):
    """A figure by which spending is told apart."""

    TENANT = "tenant"
    MODEL = "model"
    DAY = "day"


def spend(
    logs: Annotated[
        list[Path] | None,
        typer.Argument(help="Decision logs, the oldest first.", metavar="[LOG]..."),
    ] = None,
    *,
    journal: Annotated[
        Path | None,
        typer.Option(help="Read the journal of a service's budgets instead.", metavar="F"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Read the books that these settings name instead: the journal, or Redis.",
            metavar="F",
        ),
    ] = None,
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

    From decision logs, costs are settled as the service settles them; what is not reported counts
    at the estimate. Savings: the predicted cost of the best model for everything, minus that of
    the decisions. From the books of the budgets (--journal, --config), amounts are exact, by tenant
    and day; they hold no models.
    """
    if sum((bool(logs), journal is not None, config is not None)) != 1:
        raise CommandError("name either decision logs, or --journal F, or --config F")
    chosen = [one.value for one in by or ()]
    if logs:
        _logged(logs, chosen, best, as_json=as_json)
        return
    if best or Key.MODEL in chosen:
        what = "--best" if best else "--by model"
        raise CommandError(f"{what}: the books hold no models; name decision logs for them")
    _booked(journal, config, chosen, as_json=as_json)


def _logged(logs: list[Path], by: list[str], best: str, *, as_json: bool) -> None:
    from routoo.cli.output import spend_screens
    from routoo.cli.output.progress import working
    from routoo.telemetry.decision_log.reader import read_logs
    from routoo.telemetry.decision_log.spend import KEYS, spending

    with working("reading the log"):
        log = read_logs(logs)
    found = spending(log, [key for key in KEYS if key in by] or KEYS, best)
    if as_json:
        print_json(spend_screens.spending_json(found, log.findings))
    else:
        show(spend_screens.spending(found))
    for finding in log.findings:
        print(f"warning: {finding}", file=sys.stderr)  # noqa: T201


def _booked(journal: Path | None, config: Path | None, by: list[str], *, as_json: bool) -> None:
    from time import time_ns

    from routoo.cli.output import booked_screens
    from routoo.config.loading import load_settings
    from routoo.config.sections.budget import LedgerSettings
    from routoo.server.budgets import booked_spending

    if journal is not None:
        days = booked_spending((), LedgerSettings(journal=journal), time_ns())
    else:
        settings = load_settings(config)
        days = booked_spending(settings.budgets, settings.ledger, time_ns())
    keys = [key for key in ("tenant", "day") if key in by] or ["tenant", "day"]
    if as_json:
        print_json(booked_screens.booked_json(days, keys))
    else:
        show(booked_screens.booked(days, keys))
