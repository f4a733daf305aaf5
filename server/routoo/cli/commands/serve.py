"""``routoo serve``, ``routoo reload`` and ``routoo check-config``: the service itself."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from routoo.cli.options.common import AsJson, ConfigFile, print_json, show
from routoo.errors import ConfigError


def serve(
    *,
    config: ConfigFile = None,
    listen: Annotated[
        str | None, typer.Option(help="Serve here; port 0 takes a free one.", metavar="HOST:PORT")
    ] = None,
    http_listen: Annotated[
        str | None,
        typer.Option(help="Serve HTTP here; an empty text: not at all.", metavar="HOST:PORT"),
    ] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="Serve Prometheus metrics here.", metavar="HOST:PORT")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port.", metavar="N")
    ] = None,
    max_mean_cost_usd: Annotated[
        float | None, typer.Option(help="Mean cost per request to route for.", metavar="USD")
    ] = None,
    allow_insecure_exposure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-exposure",
            help="Take calls from other machines without TLS or without asking who calls.",
        ),
    ] = False,
) -> None:
    """Serve until SIGTERM.

    Prints one line, `ready HOST:PORT ...`, as soon as requests are taken; logs go to stderr.
    """
    # A reload that is asked for during the start is kept until it can be done.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    # gRPC's core would print a line of its own before ours when the port is taken.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from routoo.config.loading import SettingsSource

    overrides: dict[str, Any] = {}
    if listen is not None:
        overrides["listen"] = listen
    if http_listen is not None:
        overrides["http"] = {"listen": http_listen}
    if metrics_listen is not None:
        overrides["metrics"] = {"listen": metrics_listen}
    if workers is not None:
        overrides["workers"] = workers
    if max_mean_cost_usd is not None:
        overrides["policy"] = {"max_mean_cost_usd": max_mean_cost_usd}
    if allow_insecure_exposure:
        overrides["security"] = {"allow_insecure_exposure": True}
    source = SettingsSource(config, overrides)
    settings = source.read()
    if settings.workers > 1:
        # The supervisor serves nothing itself; without the server's packages it stays small.
        from routoo.server.supervisor import supervise
        from routoo.telemetry.logs import configure_logging

        configure_logging(settings.log.level)
        raise typer.Exit(supervise(source, settings))
    from routoo.server.service import serve as serve_until_stopped

    raise typer.Exit(serve_until_stopped(source))


def reload(
    pid: Annotated[int, typer.Argument(help="Process of `routoo serve`.", min=1)],
    *,
    confirm_removal: Annotated[
        bool,
        typer.Option("--confirm-removal", help="What the files no longer mention may go."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have a running service take its settings, pool and predictor as they are now.

    Everything is read, checked and tried first; if anything fails, the service keeps what it has.
    Where a file lacks a budget, limit or price that it did have, or looks half written, nothing is
    taken unless that is confirmed. The service's log and `routoo info` show the result.
    """
    if not _takes_reloads(pid):
        raise ConfigError(
            f"process {pid} is no service that takes reloads; the line `ready ...` names the"
            " service's"
        )
    try:
        os.kill(pid, signal.SIGUSR1 if confirm_removal else signal.SIGHUP)
    except ProcessLookupError:
        raise ConfigError(f"no process {pid}; the line `ready ...` names the service's") from None
    except PermissionError:
        raise ConfigError(f"process {pid} is another user's; send it SIGHUP as that user") from None
    if as_json:
        print_json({"pid": pid, "asked": True, "confirm_removal": confirm_removal})


def _takes_reloads(pid: int) -> bool:
    """Returns whether a process has a use for the signals; any other is ended by them.

    Where the system does not tell, as without ``/proc`` or where there is no such process, it does.
    """
    folder = Path("/proc", str(pid))
    try:
        command = (folder / "cmdline").read_bytes()
        status = (folder / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    masks = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Sig"))
    # During its start a service blocks them, and takes them later.
    handled = int(masks["SigCgt"], 16) | int(masks["SigBlk"], 16)
    signals = (signal.SIGHUP, signal.SIGUSR1)
    return b"routoo" in command and all(handled >> (one - 1) & 1 for one in signals)


def check_config(
    file: Annotated[
        Path | None, typer.Argument(help="YAML settings; none: the defaults.", metavar="FILE")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check settings, pool and predictor as `serve` does."""
    from routoo.cli.output import reply_screens
    from routoo.cli.output.progress import working
    from routoo.config.loading import load_settings
    from routoo.routing.pool import load_pool
    from routoo.server.assembly import check

    settings = load_settings(file)
    with working("checking what a start checks"):
        findings = check(settings)
    try:
        load_settings(file, finished=True)
        load_pool(settings.pool, finished=True)
    except ConfigError as error:
        findings.append(f"warning: a start takes this, a reload would not: {error}")
    if as_json:
        print_json({"config": str(file) if file else None, "ok": True, "findings": findings})
    else:
        show(reply_screens.check(findings))


class SchemaOf(StrEnum):
    """Files whose schema can be printed."""

    SETTINGS = "settings"
    POOL = "pool"


def schema(
    kind: Annotated[SchemaOf, typer.Argument(help="The file: settings or pool.")],
) -> None:
    """Print the JSON schema of a settings or pool file, for editors.

    The first line of a file names it: `# yaml-language-server: $schema=settings.schema.json`.
    """
    import orjson

    from routoo.cli.output.schema import schema_of

    if kind is SchemaOf.SETTINGS:
        from routoo.config.settings import Settings

        found = schema_of(Settings, "Settings of Routoo")
    else:
        from routoo.routing.pool import PoolFile

        found = schema_of(PoolFile, "Pool of Routoo")
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
