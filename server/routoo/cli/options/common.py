"""Parts that the commands share: common options, the connection to the service, printing."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import math
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from routoo.cli.options.connection import credential_files
from routoo.cli.output.errors import CommandError, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.message import Message

    from routoo.cli.output.render import Block
    from routoo.client import RouterClient
    from routoo.client.assignment_file import DecidedModels
    from routoo.client.prompts_file import Prompts

Number = TypeVar("Number", int, float)

UINT64_MAX = 2**64 - 1


def positive(value: float) -> float:
    """Returns the value if it is a number above 0, and refuses it otherwise."""
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a number above 0.")
    return value


Address = Annotated[str, typer.Option(help="HOST:PORT of the service.", metavar="A")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print the log's JSON lines.")]
TimeoutS = Annotated[
    float, typer.Option(callback=positive, help="Give up after so many seconds.", metavar="S")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML settings.", metavar="F")]


def named_counts(option: str, texts: "Sequence[str] | None", most: int) -> dict[str, int]:
    """Reads the values of a repeatable option NAME=NUMBER, whole numbers of at most ``most``.

    Raises:
        CommandError: a value of another form, or a name that is given twice.
    """
    return dict(_named(option, texts, int, most, f"whole number from 0 to {most}"))


def named_numbers(option: str, texts: "Sequence[str] | None") -> dict[str, float]:
    """Reads the values of a repeatable option NAME=NUMBER; a name may hold = itself.

    Raises:
        CommandError: a value of another form, or a name that is given twice.
    """
    return dict(_named(option, texts, float, sys.float_info.max, "number of at least 0"))


def _named(
    option: str,
    texts: "Sequence[str] | None",
    read: "Callable[[str], Number]",
    most: "Number",
    kind: str,
) -> "Iterator[tuple[str, Number]]":
    seen: set[str] = set()
    for text in texts or ():
        name, equals, number = text.rpartition("=")
        try:
            value = read(number)
        except ValueError:
            equals = ""
        if not equals or not 0 <= value <= most:
            raise CommandError(f"{option} {text}: write NAME=K, K a {kind}")
        if name in seen:
            raise CommandError(f"{option} names {name!r} twice; give it once")
        seen.add(name)
        yield name, value


@contextmanager
def service(
    address: str, timeout_s: float, prompts: "Prompts | None" = None
) -> "Iterator[RouterClient]":
    """Yields a client whose errors become one line; if ``prompts`` are given, it names their line.

    Raises:
        CommandError: the client cannot be made, or one of its calls failed.
    """
    from routoo.client import NO_RETRIES, RouterClient, RouterError

    files = credential_files()
    tls, token = files.read_tls(), files.read_token()
    try:
        # A user at a terminal wants to know at once that there is no service.
        calling = RouterClient(address, timeout_s=timeout_s, retry=NO_RETRIES, tls=tls, token=token)
    except ValueError as error:
        raise CommandError(str(error)) from None
    with calling as client:
        try:
            yield client
        except RouterError as error:
            raise explained(error, address, timeout_s, prompts) from None


def stdin_text() -> str:
    """Reads all of stdin as UTF-8.

    Raises:
        CommandError: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"stdin is not UTF-8 at byte {error.start}; encode it so") from None


def prompts_in(file: Path) -> "Prompts":
    """Reads the requests of a JSON Lines file; - is stdin.

    Raises:
        PromptsFileError: the file cannot be read, or a line is no prompt.
    """
    from routoo.client.prompts_file import PromptsFileError, read_prompts

    if str(file) == "-":
        return read_prompts(sys.stdin.buffer, "stdin")
    try:
        with file.open("rb") as lines:
            return read_prompts(lines, str(file))
    except OSError as error:
        raise PromptsFileError(
            f"{file}: cannot be read: {error.strerror}; name a JSON Lines file"
        ) from None


def assignment_in(file: Path, prompts: "Prompts") -> "DecidedModels":
    """Reads the assignment of prompts that were decided before.

    Raises:
        AssignmentFileError: the file cannot be read, or holds other decisions.
    """
    from routoo.client.assignment_file import AssignmentFileError, read_assignment

    try:
        with file.open("rb") as lines:
            return read_assignment(lines, str(file), prompts.requests)
    except OSError as error:
        raise AssignmentFileError(
            f"{file}: cannot be read: {error.strerror}; name the file of an assignment"
        ) from None


def print_reply(message: "Message", screen: "Sequence[Block]", *, as_json: bool) -> None:
    """Prints a reply as JSON, or as a screen."""
    from routoo.client import to_dict

    if as_json:
        print_json(to_dict(message))
    else:
        show(screen)


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object on a line."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def show(screen: "Sequence[Block]", *, to_stderr: bool = False) -> None:
    """Prints a screen on stdout, or on stderr."""
    from routoo.cli.output.render import show

    show(screen, sys.stderr if to_stderr else sys.stdout)
