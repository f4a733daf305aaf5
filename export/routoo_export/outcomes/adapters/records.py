"""Reading rows of a file, or of a dataset that the ``datasets`` library finds."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import Where
from routoo_export.outcomes.adapters.files import csv_rows, json_lines, objects, parse_json_records
from routoo_export.outcomes.bad_rows import BadRows

_BATCH_ROWS: Final = 1_000


def read_records(
    source: str, bad: BadRows, *, split: str | None = None
) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Read ``source``: a .parquet, .json, .jsonl or .csv file, a folder, or a name on the hub.

    Folders and names are loaded by datasets.load_dataset, streamed, and without running the
    dataset's own code. A split of None reads all splits.

    Raises:
        OutcomeError: there is no such source or split, or a row cannot be read.
    """
    path = Path(source)
    if not path.is_file():
        yield from _dataset(source, split)
    elif path.suffix == ".jsonl":
        yield from json_lines(path, bad)
    elif path.suffix == ".json":
        yield from objects(parse_json_records(path.read_bytes(), source), source, bad)
    elif path.suffix == ".csv":
        yield from csv_rows(path, bad)
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    else:
        raise OutcomeError(f"{path}: not a .parquet, .json, .jsonl or .csv file")


def _parquet(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                for record in batch.to_pylist():
                    yield Where(str(path), row), record
                    row += 1
    except (OSError, pa.ArrowException) as error:
        raise OutcomeError(f"{path}: not a readable parquet file ({error})") from error


def _dataset(source: str, split: str | None) -> Iterator[tuple[Where, dict[str, Any]]]:
    from datasets import load_dataset  # noqa: PLC0415 - takes seconds
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    try:
        with _quiet("huggingface_hub"):
            # Streamed: no second copy on disk.
            splits = load_dataset(source, streaming=True)
        if split is not None and split not in splits:
            raise OutcomeError(f"{source}: no split {split!r}; it has {', '.join(splits)}")
        for name in splits if split is None else [split]:
            for row, record in enumerate(splits[name]):
                yield Where(f"{source} ({name})", row), record
    except (OSError, ValueError, DatasetsError) as error:
        raise OutcomeError(
            f"{source}: no such file, and no dataset that can be loaded"
            f" ({type(error).__name__}: {_first_line(error)})"
        ) from error


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Silence a library's warnings of each retry, which would hide the line with the error."""
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
