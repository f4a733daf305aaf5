"""The ``routoo-export`` command: one module per subcommand, and ``main``, which runs them."""

import sys
from typing import Final

from routoo.errors import without_package

_BAD_INPUT: Final = 2


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    try:
        from routoo_export.cli.app import main as run  # noqa: PLC0415 - torch takes seconds

        run()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {without_package(error, 'server,export')}\n")
        sys.exit(_BAD_INPUT)
