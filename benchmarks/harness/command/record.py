"""Results of benchmarks in the documentation: a file of figures each, and a page of all."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

DEFAULT_FOLDER: Final = Path(__file__).resolve().parents[3] / "docs" / "results" / "bench"
# In the order of `make bench`; others follow by name.
_FIRST: Final = ("service", "selector", "ledger", "online", "envoy")
_HEAD: Final = """# Benchmarks

Written by `make bench`, from the files in `bench/`. Compare within a table: the yardstick beside a
figure was measured in the same run, on the same machine under the same load.
"""


def record(folder: Path, name: str, result: Any, text: str, *, quick: bool) -> None:
    """Writes the result of one benchmark, and renews the page of all that are in the folder.

    Args:
        folder: holds a file for each benchmark; the page stands beside it, under its name.
        name: of the benchmark.
        result: what was measured, ready for a JSON encoder.
        text: the result as it is printed for people.
        quick: whether the benchmark was cut short.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "benchmark": name,
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "quick": quick,
        "result": result,
        "text": [line.rstrip() for line in text.splitlines()],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    folder.with_suffix(".md").write_text(page(folder), encoding="utf-8")


def page(folder: Path) -> str:
    """Returns the page of all results in a folder."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    parts = [_HEAD]
    for name in sorted(found, key=lambda one: (one not in _FIRST, _place(one), one)):
        kept = found[name]
        short = ", cut short (`--quick`)" if kept["quick"] else ""
        body = "\n".join(kept["text"]).strip("\n")
        parts.append(
            f"## {name}\n\n`benchmarks/{name}.py`{short}, {kept['measured_at']},"
            f" {kept['cores']} cores, load average {kept['load_average']},"
            f" Python {kept['python']}.\n\n"
            f"```text\n{body}\n```\n"
        )
    return "\n".join(parts)


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)
