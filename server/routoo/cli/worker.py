"""The entry point of a worker of ``routoo serve --workers N``; the supervisor starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson

from routoo.api.worker_address import WorkerAddress
from routoo.config.loading import SettingsSource


def main() -> int:
    """Serves until SIGTERM, or until the supervisor has gone."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from routoo.cli.output.errors import exit_code_of  # noqa: PLC0415 - after the variable
    from routoo.errors import RoutooError  # noqa: PLC0415 - after the variable
    from routoo.server.service import serve  # noqa: PLC0415 - after the variable

    said: dict[str, Any] = orjson.loads(sys.argv[1])
    config = said["config"]
    source = SettingsSource(None if config is None else Path(config), said["overrides"])
    try:
        folder = Path(said["folder"])
        worker = WorkerAddress(folder, said["run"], said["index"], said["workers"])
        return serve(source, worker)
    except RoutooError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 - as the command does
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main())
