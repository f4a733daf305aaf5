"""Reading the files that adapters are given; a file that cannot be read is an OutcomeError."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import Where
from routoo_export.outcomes.bad_rows import BadRows

_LONGEST_FIELD: Final = 2**31 - 1
"""The csv module's own limit of 128 KiB is shorter than some responses."""


def find_files(inputs: Sequence[str], *suffixes: str) -> list[Path]:
    """Find the input files; a folder stands for its files (at any depth) with one of ``suffixes``.

    Raises:
        OutcomeError: an input does not exist, is of another kind, or a folder has no such file.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in suffixes and p.is_file())
            if not inside:
                raise OutcomeError(f"{path}: no {' or '.join(suffixes)} file in this folder")
            found.extend(inside)
        elif not path.is_file():
            raise OutcomeError(f"{path}: no such file or folder")
        elif path.suffix not in suffixes:
            raise OutcomeError(f"{path}: not a {' or '.join(suffixes)} file; check --format")
        else:
            found.append(path)
    return found


def parse_json_records(text: bytes, name: str) -> list[Any]:
    """Parse a JSON array.

    Raises:
        OutcomeError: the text is not a JSON array.
    """
    try:
        records = json.loads(text)
    except ValueError as error:
        raise OutcomeError(f"{name}: not JSON ({error})") from error
    if not isinstance(records, list):
        raise OutcomeError(f"{name}: holds a JSON {type(records).__name__}, not an array of rows")
    return records


def json_lines(path: Path, bad: BadRows) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Read JSON objects, one per line; blank lines are not rows.

    Raises:
        OutcomeError: a line is not a JSON object, and bad rows are not skipped.
    """
    row = -1
    with path.open(encoding="utf-8-sig") as lines:  # editors on Windows mark UTF-8
        for line in lines:
            if not line.strip():
                continue
            row += 1
            try:
                record = json.loads(line)
            except ValueError as error:
                bad.add(f"{path}: row {row}", "not a JSON object", f" ({error})")
                continue
            yield from objects([record], str(path), bad, start=row)


def objects(
    records: Sequence[Any], name: str, bad: BadRows, *, start: int = 0
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Yield the records that are JSON objects; the others are bad rows."""
    for row, record in enumerate(records, start):
        where = Where(name, row)
        if isinstance(record, dict):
            yield where, record
        else:
            bad.add(str(where), "not a JSON object", f" ({type(record).__name__})")


def csv_rows(path: Path, bad: BadRows) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Read rows by column name, with all values as text.

    Raises:
        OutcomeError: the file is not CSV in UTF-8; or a row has not as many cells as the header,
            and bad rows are not skipped.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row, record in enumerate(csv.DictReader(lines)):
                where = Where(str(path), row)
                if None in record or None in record.values():
                    bad.add(str(where), "not as many cells as the header has names")
                    continue
                yield where, record
    except (csv.Error, UnicodeDecodeError) as error:
        raise OutcomeError(f"{path}: not a readable CSV file ({error})") from error


def need(record: dict[str, Any], names: Sequence[str], where: Where, bad: BadRows) -> bool:
    """Returns whether the record has all fields; one that lacks some is a bad row."""
    for name in names:
        if name not in record:
            bad.add(str(where), f"field {name!r} is missing")
            return False
    return True
