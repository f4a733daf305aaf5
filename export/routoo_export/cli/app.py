"""``routoo-export``: from outcomes to a checkpoint, metrics and an artifact for Triton."""

import sys

import typer

from routoo.cli.program import EXIT_CODES, run
from routoo.errors import RoutooError
from routoo_export.autopilot.command import autopilot
from routoo_export.cli.catalogue import catalogue_app
from routoo_export.cli.data import data_app
from routoo_export.cli.evaluation.checkpoint import evaluate_checkpoint
from routoo_export.cli.export import export
from routoo_export.cli.grade import grade
from routoo_export.cli.onboard import onboard
from routoo_export.cli.onboard_checkpoint import onboard_checkpoint
from routoo_export.cli.recogniser import recogniser_app
from routoo_export.cli.repositories.hub import pull, push
from routoo_export.cli.repositories.triton import repository_config
from routoo_export.cli.reproduce import reproduce_paper
from routoo_export.cli.train import train
from routoo_export.errors import ExportError

app = typer.Typer(
    help="Train, judge and export Routoo's performance predictor.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXIT_CODES,
)
app.command()(train)
app.command(name="evaluate")(evaluate_checkpoint)
app.command(name="reproduce")(reproduce_paper)
app.command()(export)
app.command(name="repository")(repository_config)
app.command()(grade)
app.command()(onboard)
app.command(name="onboard-checkpoint")(onboard_checkpoint)
app.command()(push)
app.command()(pull)
app.command()(autopilot)
app.add_typer(data_app, name="data")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(recogniser_app, name="recogniser")


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    sys.exit(run(app, "routoo-export", None, (ExportError, RoutooError)))
