"""``import routoo.client`` loads gRPC and little else: other services pay for what it loads."""

from __future__ import annotations

import subprocess
import sys

# Packages that only the server, the command line or the training need.
NEEDLESS = (
    *("numpy", "scipy", "onnxruntime", "pydantic", "yaml"),
    *("prometheus_client", "structlog", "orjson", "rich", "typer"),
)


def test_the_client_loads_no_package_of_the_server() -> None:
    code = f"import sys, routoo.client; print(*sorted(set({NEEDLESS!r}) & set(sys.modules)))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == []
