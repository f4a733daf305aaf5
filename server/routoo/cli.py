"""The ``routoo`` command.

Exit codes: 0 done; 2 bad input (arguments, files, configuration, a request that the service
refuses); 3 no service there; 4 too late or too much (deadline, full queue); 130 interrupted; 1
anything else. An error is one line on stderr that names the remedy; stdout carries results only.
"""
# Commands import what they need when they run: `routoo serve` has to be ready soon and stay small.
# ruff: noqa: PLC0415

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo import __version__
from routoo.command_error import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    CommandError,
    exit_code_of,
    explained,
)
from routoo.errors import RoutooError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from routoo.client import RouterClient
    from routoo.prompts_file import Prompts
    from routoo.render import Block

_DEFAULT_ADDRESS = "127.0.0.1:50051"
_UINT32_MAX = 2**32 - 1

app = typer.Typer(
    help="Decides which LLM of a pool should answer a prompt, without running any of them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    invoke_without_command=True,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, ``sys.argv`` by default, and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        exit_code: int | None = app(args=arguments, prog_name="routoo", standalone_mode=False)
        sys.stdout.flush()
    except RoutooError as error:
        return _fail(str(error), exit_code_of(error))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "routoo"
        return _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", BAD_INPUT)
    except OSError as error:
        # What cannot be flushed now would be tried again, and fail, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has had enough: `routoo models | head`
            return FAILED
        return _fail(f"cannot write the result: {error.strerror}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return exit_code or 0


def _fail(message: str, exit_code: int) -> int:
    print(f"routoo: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return exit_code


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a number above 0.")
    return value


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"routoo {__version__}")
        raise typer.Exit


Address = Annotated[
    str, typer.Option(envvar="ROUTOO_ADDRESS", help="HOST:PORT of the service.", metavar="A")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
TimeoutS = Annotated[
    float, typer.Option(callback=_positive, help="Give up after so many seconds.", metavar="S")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML settings.", metavar="F")]


@app.callback()
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - acted on in its callback
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(BAD_INPUT)


@app.command()
def serve(
    *,
    config: ConfigFile = None,
    listen: Annotated[
        str | None, typer.Option(help="Serve here; port 0 takes a free one.", metavar="HOST:PORT")
    ] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="Prometheus, likewise.", metavar="HOST:PORT")
    ] = None,
    max_mean_cost_usd: Annotated[
        float | None, typer.Option(help="Mean cost per request to route for.", metavar="USD")
    ] = None,
) -> None:
    """Serve until SIGTERM.

    Prints one line, `ready HOST:PORT ...`, as soon as requests are taken; logs go to stderr.
    """
    # gRPC's core would put a line of its own before ours when the port is taken.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from routoo.config import load_settings
    from routoo.server import serve as serve_until_stopped

    overrides: dict[str, Any] = {}
    if listen is not None:
        overrides["listen"] = listen
    if metrics_listen is not None:
        overrides["metrics"] = {"listen": metrics_listen}
    if max_mean_cost_usd is not None:
        overrides["policy"] = {"max_mean_cost_usd": max_mean_cost_usd}
    raise typer.Exit(serve_until_stopped(load_settings(config, overrides=overrides)))


@app.command("check-config")
def check_config(
    file: Annotated[
        Path | None, typer.Argument(help="YAML settings; none: the defaults.", metavar="FILE")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check settings, pool and predictor as `serve` does."""
    from routoo import screens
    from routoo.config import load_settings
    from routoo.server import check

    findings = check(load_settings(file))
    if as_json:
        _print_json({"config": str(file) if file else None, "ok": True, "findings": findings})
    else:
        _show(screens.check(findings))


@app.command()
def route(  # noqa: PLR0913 - one parameter per option
    prompt: Annotated[
        str, typer.Argument(help="The prompt; - reads it from stdin.", metavar="PROMPT")
    ],
    *,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="At most this predicted cost.", metavar="USD")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="At least this predicted score, 0 to 1.", metavar="X")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="At most this predicted time.", metavar="MS")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Only this model; repeatable.", metavar="MODEL")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="Not this model; repeatable.", metavar="MODEL")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="Only models with this capability; repeatable.", metavar="CAP"),
    ] = None,
    expected_output_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=_UINT32_MAX, help="Your estimate of the answer.", metavar="N"),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Who pays.", metavar="T")] = None,
    session_id: Annotated[str | None, typer.Option(help="The conversation.", metavar="ID")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Decide by this policy, not the one in force.", metavar="P")
    ] = None,
    address: Address = _DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Decide which model should answer one prompt, and show why."""
    from routoo import screens

    text = _stdin_text() if prompt == "-" else prompt
    with _service(address, timeout_s) as client:
        try:
            response = client.route(
                text,
                max_cost_usd=max_cost_usd,
                min_score=min_score,
                max_latency_ms=max_latency_ms,
                allowed_models=allow,
                denied_models=deny,
                required_capabilities=require,
                tenant=tenant,
                session_id=session_id,
                policy=policy,
                expected_output_tokens=expected_output_tokens,
                explain=True,
            )
        except UnicodeEncodeError:
            raise CommandError("an argument is not UTF-8; encode it so") from None
    _print_reply(response, screens.decision(response), as_json=as_json)


@app.command()
def batch(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines: a prompt or a request per line; - is stdin.", metavar="FILE"
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="JSON Lines: a decision per line, in order; - is stdout.", metavar="FILE"
        ),
    ],
    budget_usd: Annotated[
        float | None, typer.Option(help="All answers together at most.", metavar="USD")
    ] = None,
    min_mean_score: Annotated[
        float | None, typer.Option(help="Mean predicted score at least, 0 to 1.", metavar="X")
    ] = None,
    address: Address = _DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 300.0,
    as_json: AsJson = False,
) -> None:
    """Decide many prompts jointly under one budget.

    They get the most quality that --budget-usd buys. With --min-mean-score alone they cost the
    least that reaches it; with neither, each prompt is decided as by `route`. Nothing is spent:
    no model is called.

    A line of FILE is a JSON string, or an object: {"prompt": "...", "request_id": "7",
    "max_cost_usd": 0.01, "denied_models": ["gpt-4o"]}. It may have "messages" for "prompt", and
    every constraint that `route` knows, by its name in the API.
    """
    from routoo import screens
    from routoo.decisions_file import check_writable, write_decisions, write_lines
    from routoo.phases import Phases

    to_stdout = str(out) == "-"
    if as_json and to_stdout:
        raise CommandError("--json and --out - both want stdout; name a file with --out")
    if not to_stdout:
        check_writable(out)
    # Decisions and progress on one screen would run into each other.
    is_shown = sys.stderr.isatty() and not (to_stdout and sys.stdout.isatty())
    with Phases(sys.stderr if is_shown else None) as phases:
        phases.start(f"reading {file}")
        prompts = _read_prompts(file)
        count = f"{len(prompts.requests):,}"
        phases.finish(f"read {count} prompts")
        phases.start(f"deciding {count} prompts")
        with _service(address, timeout_s, prompts) as client:
            response = client.route_many(
                prompts.requests, budget_usd=budget_usd, min_mean_score=min_mean_score
            )
        phases.finish(f"decided {count} prompts")
        phases.start(f"writing {out}", total=len(response.responses))
        if to_stdout:
            write_lines(sys.stdout.buffer, phases.track(response.responses))
        else:
            write_decisions(out, phases.track(response.responses))
        phases.finish(f"wrote {count} decisions to {out}")
    if as_json:
        _print_json(screens.batch_summary(response, budget_usd=budget_usd, out=str(out)))
    else:
        screen = screens.batch(response, budget_usd=budget_usd)
        _show(screen, to_stderr=to_stdout)


@app.command()
def models(
    *,
    curve: Annotated[bool, typer.Option("--curve", help="Show what money buys instead.")] = False,
    points: Annotated[
        int, typer.Option(min=2, max=1000, help="Points of the curve, at most.", metavar="N")
    ] = 20,
    address: Address = _DEFAULT_ADDRESS,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """List the pool, or with --curve its cost-quality curve."""
    from routoo import screens

    with _service(address, timeout_s) as client:
        response = client.models(curve_points=points if curve else 0)
    screen = screens.curve(response) if curve else screens.models(response)
    _print_reply(response, screen, as_json=as_json)


@app.command()
def info(
    *, address: Address = _DEFAULT_ADDRESS, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """Show the service's versions, limits and state."""
    from routoo import screens

    with _service(address, timeout_s) as client:
        response = client.info()
    _print_reply(response, screens.info(response), as_json=as_json)


@contextmanager
def _service(
    address: str, timeout_s: float, prompts: "Prompts | None" = None
) -> "Iterator[RouterClient]":
    from routoo.client import RouterClient, RouterError

    with RouterClient(address, timeout_s=timeout_s) as client:
        try:
            yield client
        except RouterError as error:
            raise explained(error, address, timeout_s, prompts) from None


def _stdin_text() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"stdin is not UTF-8 at byte {error.start}; encode it so") from None


def _read_prompts(file: Path) -> "Prompts":
    from routoo.prompts_file import PromptsFileError, read_prompts

    if str(file) == "-":
        return read_prompts(sys.stdin.buffer, "stdin")
    try:
        with file.open("rb") as lines:
            return read_prompts(lines, str(file))
    except OSError as error:
        raise PromptsFileError(
            f"{file}: cannot be read: {error.strerror}; name a JSON Lines file"
        ) from None


def _print_reply(message: "Message", screen: "Sequence[Block]", *, as_json: bool) -> None:
    from routoo.client import to_dict

    if as_json:
        _print_json(to_dict(message))
    else:
        _show(screen)


def _print_json(value: dict[str, Any]) -> None:
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def _show(screen: "Sequence[Block]", *, to_stderr: bool = False) -> None:
    from routoo.render import show

    show(screen, sys.stderr if to_stderr else sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
