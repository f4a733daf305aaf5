"""Writing outcomes in the project's long form."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.columns import OutcomeGrid
from routoo_export.outcomes.outcomes import METADATA_KEY


def long_table(grid: OutcomeGrid) -> pa.Table:
    """The table with one row per prompt and model that has a score, prompt by prompt.

    Columns without any value are left out. The long form cannot hold prompts without outcomes, nor
    the cost of a call that was not graded.
    """
    i, j = np.nonzero(~np.isnan(grid.scores))
    columns: dict[str, pa.Array] = {
        "prompt_id": _texts(grid.prompt_ids, i),
        "prompt": _texts(grid.prompts, i),
        "model": _texts(grid.models, j),
        "score": pa.array(grid.scores[i, j]),
    }
    figures = {
        "cost_usd": grid.cost_usd,
        "input_tokens": grid.input_tokens,
        "output_tokens": grid.output_tokens,
        "latency_ms": grid.latency_ms,
    }
    for name, figure in figures.items():
        if figure is not None and not np.isnan(figure[i, j]).all():
            columns[name] = pa.array(figure[i, j], from_pandas=True)
    for name, texts in (("domain", grid.domains), ("dup_group", grid.groups)):
        if any(text is not None for text in texts):
            columns[name] = _texts(texts, i)
    return pa.table(columns)


def write_grid(grid: OutcomeGrid, path: Path, *, name: str, licence: str) -> int:
    """Write ``long_table(grid)`` with its source in the metadata; return the number of rows."""
    table = long_table(grid)
    write_table(table, path, {"name": name, "licence": licence, "costs": grid.cost_kind})
    return int(table.num_rows)


def write_table(table: pa.Table, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the table beside ``path`` and then rename it, so that no reader sees half a file.

    Raises:
        OutcomeError: it cannot be written (no such folder, no space); an older file is unchanged.
    """
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(metadata)).encode()})
    beside = path.with_name(f"{path.name}.new")
    try:
        pq.write_table(table, beside, compression="zstd")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutcomeError(
            f"{path}: cannot be written ({error}); choose another --out or free space"
        ) from error


def _texts(values: tuple[str | None, ...], index: NDArray[np.int64]) -> pa.Array:
    """The texts values[index] as a dictionary array, in which each prompt is stored once."""
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    codes = np.array([distinct[value] for value in values], dtype=np.int32)[index]
    nulls = np.array([value is None for value in values], dtype=np.bool_)[index]
    places = pa.array(codes, mask=nulls)
    texts = pa.array([value or "" for value in distinct], type=pa.large_string())
    return pa.DictionaryArray.from_arrays(places, texts)
