"""The command line of a benchmark, and the results that it keeps for the documentation."""

from harness.command.line import (
    CannotRunError,
    data_folder,
    make_parser,
    progress,
    run,
    show_fields,
    wide_console,
)

__all__ = [
    "CannotRunError",
    "data_folder",
    "make_parser",
    "progress",
    "run",
    "show_fields",
    "wide_console",
]
