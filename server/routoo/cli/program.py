"""Runs a command line of either program: its errors as one line, its exit codes, its pipes."""

from __future__ import annotations

import json
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

import typer
from typer import completion as shells

from routoo.cli.output.errors import BAD_INPUT, FAILED, INTERRUPTED, exit_code_of
from routoo.cli.output.render import harmless
from routoo.errors import RoutooError, without_package

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 failed; 2 wrong input (arguments, files, settings, a request that is"
    " refused); 3 no service answers; 4 too late, or the service is overloaded; 130 interrupted."
)
"""The end of the help of both programs."""
_EXTRAS: Final = {"routoo": "server", "routoo-export": "server,export"}
"""The extras that bring all that a program's commands need."""


def run(
    app: typer.Typer,
    name: str,
    arguments: Sequence[str] | None,
    known: tuple[type[Exception], ...] = (RoutooError,),
) -> int:
    """Runs one command line, and returns its exit code.

    An error is one line on stderr, ``error: ...``, which names the remedy. With ``--json`` it is
    an object on stdout, too, so that a program reads one object in any case.

    Args:
        app: the commands.
        name: the program's name.
        arguments: without the program's name; None: those of the process.
        known: the errors whose message is that line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character must not end the command.
            stream.reconfigure(errors="backslashreplace")
    # gRPC's core would print lines of its own before ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if completes(name) in os.environ:
        shells.completion_init()  # type: ignore[attr-defined] # typer names no exports
    caught: tuple[type[Exception], ...] = (*known, typer.TyperException, ModuleNotFoundError)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        exit_code: int | None = app(args=given, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}; name another", BAD_INPUT, given)
        # Otherwise the interpreter would try to flush stdout again when it ends, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        has_left = isinstance(error, BrokenPipeError)  # the reader: ``routoo models | head``
        said = f"cannot write the result: {error.strerror}"
        return FAILED if has_left else _fail(said, FAILED, ())
    except caught as error:
        return _fail(*_told(error, name), () if getattr(error, "is_printed", False) else given)
    return exit_code or 0


def _told(error: Exception, name: str) -> tuple[str, int]:
    """Returns the line of an error, and its exit code."""
    if isinstance(error, ModuleNotFoundError):
        return without_package(error, _EXTRAS[name]), BAD_INPUT
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else name
        if context is not None and type(error).__name__ == "NoArgsIsHelpError":
            # Its message is the whole help, which would make a line of a thousand characters.
            known = ", ".join(getattr(context.command, "commands", {}))
            return f"name a command of {command}: {known}; see `{command} --help`", BAD_INPUT
        # Typer puts the kind of error before the words of it.
        said = error.format_message().rstrip(".").replace(": Value error, ", ": ")
        return f"{said}; see `{command} --help`", BAD_INPUT
    return str(error), exit_code_of(error) if isinstance(error, RoutooError) else BAD_INPUT


def completes(name: str) -> str:
    """Returns the variable with which a shell asks a program for what may come next."""
    return f"_{name.replace('-', '_').upper()}_COMPLETE"


def _fail(message: str, exit_code: int, arguments: Sequence[str]) -> int:
    line = harmless(" ".join(message.split()))
    sys.stderr.write(f"error: {line}\n")
    if "--json" in arguments:
        sys.stdout.write(json.dumps({"error": line, "exit_code": exit_code}) + "\n")
    return exit_code
