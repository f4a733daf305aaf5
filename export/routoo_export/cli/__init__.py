"""The ``routoo-export`` command: one module per subcommand, and ``main``, which runs them."""


def main() -> None:
    """Run the command line; a known error is one line on stderr and exit code 2."""
    from routoo_export.cli.app import main as run  # noqa: PLC0415 - torch takes seconds

    run()
