"""The same seed gives the same predictor, however many cores the machine has."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import threadpoolctl, torch
from routoo_export.cli.common import use_threads
use_threads(1)
print(torch.get_num_threads(), max(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))
"""


def test_one_thread_bounds_torch_and_blas() -> None:
    # In a process of its own, because the bound would remain for the other tests.
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.split() == ["1", "1"]
