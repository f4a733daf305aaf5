"""``routoo-export data sources`` and ``data overlaps``: the registry of outcome sources."""

import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import typer

from routoo.cli.output.render import Column, Row, TextTable, show
from routoo_export.cli.common import AsJson, Data, print_result
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.outcomes.overlaps import find_overlaps
from routoo_export.outcomes.registry import SourceEntry, registry
from routoo_export.outcomes.sources import read_source, split_together

# Further columns give way where a terminal is narrow.
_ALWAYS_SHOWN: Final = 3


def list_sources(data: Data, *, as_json: AsJson = False) -> None:
    """List the registered outcome sources, and the files that are missing or not registered."""
    known = registry()
    sources = [_describe(data, entry) for entry in known.sources]
    missing = sorted({source["file"] for source in sources if source["rows"] is None})
    result = {
        "sources": sources,
        "missing_files": missing,
        "unknown_files": list(known.unknown_files(data)),
    }
    if as_json:
        print_result(result, as_json=True)
        return
    _print_table(sources)
    for file in result["missing_files"]:
        typer.echo(f"missing: {file}")
    for file in result["unknown_files"]:
        typer.echo(f"not registered: {file}")


def list_overlaps(data: Data, *, as_json: AsJson = False) -> None:
    """Count the questions that sources share, and on which sides of the split they stand."""
    parts = [
        read_source(data, entry.name)
        for entry in registry().sources
        if entry.prompt is not None and (data / entry.file_name).exists()
    ]
    if not parts:
        raise OutcomeError(f"{data}: no file of a registered source; see: data sources")
    shared, repeated = find_overlaps([part.outcomes for part in split_together(parts)])
    result = {"pairs": [asdict(p) for p in shared], "sources": [asdict(r) for r in repeated]}
    if as_json:
        print_result(result, as_json=True)
        return
    _print_rows(
        [
            {"source": pair.sources[0], "and": pair.sources[1], **_figures(asdict(pair))}
            for pair in shared
        ]
    )
    _print_rows([asdict(counts) for counts in repeated])


def _figures(pair: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in pair.items() if name != "sources"}


def _describe(folder: Path, entry: SourceEntry) -> dict[str, Any]:
    """One source's entry and, if its file is there, the counts of what is read from it."""
    said: dict[str, Any] = {
        "name": entry.name,
        "file": entry.file_name,
        "licence": entry.licence,
        "ships": entry.ships,
        "score": entry.score,
        "judge": entry.judge,
        "lengths": entry.lengths,
        "costs": entry.costs,
    }
    path = folder / entry.file_name
    if not path.exists():
        kinds = dict.fromkeys(entry.possible_kinds())
        return {**said, "rows": None, "prompts": None, "models": None, "kinds": kinds, "notes": []}
    if entry.prompt is None:
        rows = pq.read_metadata(path).num_rows
        notes = ["the file has no prompts, so it is not read"]
        kinds = dict.fromkeys(entry.possible_kinds())
        return {**said, "rows": rows, "prompts": 0, "models": 0, "kinds": kinds, "notes": notes}
    read = read_source(folder, entry.name)
    codes = Counter(read.kinds.tolist())
    return {
        **said,
        "rows": read.outcomes.sources[0].rows,
        "prompts": len(read.outcomes.prompts),
        "models": len(read.outcomes.models),
        "kinds": {(*TASK_KINDS, "unknown")[code]: codes[code] for code in sorted(codes)},
        "notes": list(read.notes),
    }


def _print_table(sources: list[dict[str, Any]]) -> None:
    _print_rows(
        [
            {
                "source": source["name"],
                "prompts": "missing" if source["rows"] is None else source["prompts"],
                "models": "" if source["models"] is None else source["models"],
                "licence": source["licence"],
                "ships": "yes" if source["ships"] else "no",
                "score": source["judge"] or source["score"],
                "lengths": source["lengths"],
                "costs": source["costs"],
                "kinds": _in_short(source["kinds"]),
            }
            for source in sources
        ]
    )


def _in_short(kinds: Collection[str], most: int = 2) -> str:
    return ", ".join(kinds) if len(kinds) <= most else f"{len(kinds)} kinds"


def _print_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    columns = [
        Column(name, optional=number >= _ALWAYS_SHOWN) for number, name in enumerate(rows[0])
    ]
    cells = [Row([str(value) for value in row.values()]) for row in rows]
    show([TextTable(columns, cells)], sys.stdout)
