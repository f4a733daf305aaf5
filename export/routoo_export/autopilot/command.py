"""``routoo-export autopilot``: promotes predictors that graded traffic proves better."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from routoo_export.autopilot.cycle import Autopilot, AutopilotTerms
from routoo_export.autopilot.state import Work

_TERMS = AutopilotTerms()


def autopilot(
    *,
    config: Annotated[Path, typer.Option(help="The settings file of the service.")],
    work: Annotated[Path, typer.Option(help="Folder for state, candidates and history.")] = Path(
        "artifacts/autopilot"
    ),
    address: Annotated[
        str, typer.Option(help="HOST:PORT of the service; default: that of its settings.")
    ] = "",
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Score at equal cost that must be gained.")
    ] = _TERMS.margin,
    fewest_graded: Annotated[
        int, typer.Option(min=20, help="Newly graded decisions for a new candidate.")
    ] = _TERMS.fewest_graded,
    most_watched: Annotated[
        int, typer.Option(min=1, help="Graded answers after which a promotion is confirmed.")
    ] = _TERMS.most_watched,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Serve the version before the last promotion again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Do the next step from graded decisions to a promoted predictor; for cron.

    Converts the decision log, trains a candidate, judges it on held-out decisions, has the service
    decide beside it in shadow, and promotes it only where the lower bound of its gain at equal cost
    is above the margin. The version before is then tried against it, and comes back by itself
    where it proves better. Each run does what can be done now, and prints one line.
    """
    terms = AutopilotTerms(margin, fewest_graded, most_watched)
    pilot = Autopilot(config, Work(work), terms, address)
    report = pilot.rollback() if rollback else pilot.run()
    typer.echo(json.dumps(asdict(report)) if as_json else report.text)
