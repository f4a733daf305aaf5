"""The page of the loop is true: it is run word for word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.page_runner import started_alone

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(1800)
def test_the_loop_runs_word_for_word(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUTOO_")}
    paths = [str(ROOT / "tests"), kept.get("PYTHONPATH", "")]
    environment = kept | {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    folder = tmp_path / "reader"
    folder.mkdir()
    ran = subprocess.run(
        started_alone(ROOT / "docs" / "how-to" / "loop.md", folder),
        env=environment,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
