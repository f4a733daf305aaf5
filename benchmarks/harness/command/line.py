"""The command line of a benchmark: shared options, errors in one line, JSON or text."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.command.record import DEFAULT_FOLDER, record

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

DATA_VARIABLE = "ROUTOO_DATA"
WIDTH_OF_A_PIPE = 110


class CannotRunError(Exception):
    """Something that the benchmark needs is missing here; the message names it."""


def make_parser(
    doc: str | None, *, quick: str | None = None, whole: bool = False
) -> ArgumentParser:
    """Makes a parser that knows ``--json`` and, if wanted, ``--quick``.

    Args:
        doc: the docstring of the benchmark.
        quick: help text of ``--quick``; None: the benchmark has no such option.
        whole: ``--help`` shows all of ``doc``, not its first line only.
    """
    text = doc or ""
    parser = ArgumentParser(
        description=text if whole else text.partition("\n")[0],
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=DEFAULT_FOLDER,
        metavar="FOLDER",
        help="keep the result in the documentation, docs/results/bench by default",
    )
    if quick is not None:
        parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def run(
    options: Namespace,
    measure: Callable[[Namespace], Any],
    show: Callable[[Any], None],
    *,
    errors: tuple[type[Exception], ...] = (),
    holds: Callable[[Any], bool] = lambda _: True,
) -> int:
    """Measures, prints the result and returns the exit code.

    Args:
        options: the parsed command line, with ``json`` and ``record``.
        measure: returns the result, ready for a JSON encoder.
        show: prints the result for people; called without ``--json``.
        errors: what ``measure`` may fail with beside ``CannotRunError``; printed in one line.
        holds: False for a result that shows a fault.

    Returns:
        0; 1 where the result does not hold; 2 after an error.
    """
    try:
        result = measure(options)
    except (CannotRunError, *errors) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.record is not None:
        with redirect_stdout(StringIO()) as told:
            show(result)
        name, quick = Path(sys.argv[0]).stem, getattr(options, "quick", False)
        record(options.record, name, result, told.getvalue(), quick=quick)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if holds(result) else 1


def data_folder() -> Path:
    """Returns the folder of the outcome data.

    Raises:
        CannotRunError: the environment does not name it.
    """
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        raise CannotRunError(f"set {DATA_VARIABLE} to the folder with the outcome data")
    return Path(folder)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows on stderr what is being measured."""
    with Console(stderr=True).status("starting") as status:
        yield status.update


def wide_console() -> Console:
    """Makes a console for tables, which has a fixed width in a pipe."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)


def show_fields(result: dict[str, Any]) -> None:
    """Prints a result as one ``name: value`` per line."""
    for name, value in result.items():
        print(f"{name}: {value}")
