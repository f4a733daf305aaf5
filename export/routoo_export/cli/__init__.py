"""The ``routoo-export`` command: one module per subcommand, and ``main``, which runs them."""

import sys
from typing import Final

_BAD_INPUT: Final = 2


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    try:
        from routoo_export.cli.app import main as run  # noqa: PLC0415 - torch takes seconds

        run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in {"routoo", "routoo_export"}:
            raise
        sys.stderr.write(
            f"error: this command needs {package}, which is not installed: pip install"
            " 'routoo[server,export]'\n"
        )
        sys.exit(_BAD_INPUT)
