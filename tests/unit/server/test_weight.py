"""The weight of what runs beside the service or starts it: which libraries are loaded for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "scipy", "onnxruntime", "grpc", "tokenizers")


@pytest.mark.parametrize(
    ("module", "not_loaded"),
    [
        # It holds the port and the processes of the workers, and lives as long as they do.
        ("routoo.server.supervisor", HEAVY),
        ("routoo.config.loading", HEAVY),
        # Where HTTP is off, it costs nothing.
        ("routoo.server.service", ("uvicorn", "httptools", "starlette")),
        # Faces hand out lazily what their rooms hold.
        ("routoo.server", (*HEAVY, "pydantic", "yaml")),
        ("routoo.config", (*HEAVY, "pydantic", "yaml")),
        ("routoo.cli", (*HEAVY, "pydantic", "yaml", "typer")),
        ("routoo.cli.app", (*HEAVY, "pydantic", "yaml", "rich")),
    ],
)
def test_a_module_loads_no_library_that_it_does_not_need(
    module: str, not_loaded: tuple[str, ...]
) -> None:
    code = f"import sys, {module}; print(*sorted({set(not_loaded)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_a_face_hands_out_is_there() -> None:
    code = (
        "from routoo.server import Service, serve\n"
        "from routoo.config import Settings, load_settings\n"
        "from routoo.cli import main\n"
        "import routoo.server\n"
        "assert not hasattr(routoo.server, 'nothing_of_the_kind')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
