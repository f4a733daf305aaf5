"""The ``routoo`` command: its subcommands, global options and exit codes.

``routoo.cli.program`` runs it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import typer
from typer import completion as shells

from routoo import __version__
from routoo.cli.commands.batch import batch
from routoo.cli.commands.calibrate import calibrate
from routoo.cli.commands.escalate import escalate
from routoo.cli.commands.experiment import experiment
from routoo.cli.commands.health import health
from routoo.cli.commands.init.command import init
from routoo.cli.commands.learning import learning
from routoo.cli.commands.log import explain, tail
from routoo.cli.commands.money import budgets, report
from routoo.cli.commands.pareto import pareto
from routoo.cli.commands.pool.adding import add
from routoo.cli.commands.pool.file import app as pool
from routoo.cli.commands.pool.models import info, models
from routoo.cli.commands.replay import replay
from routoo.cli.commands.route import route
from routoo.cli.commands.serve import check_config, reload, schema, serve
from routoo.cli.commands.spend import spend
from routoo.cli.commands.token import app as token
from routoo.cli.options.connection import (
    CaFile,
    CertificateFile,
    CredentialFiles,
    KeyFile,
    RootAddress,
    TokenFile,
    use_address,
    use_credential_files,
    with_connection,
)
from routoo.cli.output.errors import BAD_INPUT
from routoo.cli.program import EXIT_CODES, completes, run

NAME = "routoo"


class Shell(Enum):
    """Shells that can complete words."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


app = typer.Typer(
    help="Decides which LLM of a pool should answer a prompt, without running any of them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    epilog=EXIT_CODES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, ``sys.argv`` by default, and returns its exit code."""
    return run(app, NAME, arguments)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"routoo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback handles it
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    address: RootAddress = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    cert: CertificateFile = None,
    key: KeyFile = None,
) -> None:
    use_address(address)
    use_credential_files(CredentialFiles(token_file, ca, cert, key))
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(BAD_INPUT)


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.")],
) -> None:
    """Print what makes a shell complete words of this command; the shell has to read it.

    In bash and zsh: source <(routoo completion bash). In fish: routoo completion fish | source.
    """
    script = shells.get_completion_script(  # type: ignore[attr-defined] # typer names no exports
        prog_name=NAME, complete_var=completes(NAME), shell=shell.value
    )
    typer.echo(script)


app.command()(init)
app.command()(serve)
app.command()(reload)
app.command("check-config")(check_config)
app.command()(schema)
app.command()(with_connection(route))
app.command()(with_connection(escalate))
app.command()(with_connection(batch))
app.command()(with_connection(pareto))
app.command()(calibrate)
app.command()(replay)
app.command()(explain)
app.command()(tail)
app.command()(with_connection(models))
app.command()(with_connection(info))
app.command()(with_connection(health))
app.command()(with_connection(experiment))
app.command()(with_connection(learning))
app.command()(with_connection(budgets))
app.command()(with_connection(report))
app.command()(spend)
pool.command()(add)
app.add_typer(pool, name="pool")
app.add_typer(token, name="token")
app.command()(completion)
