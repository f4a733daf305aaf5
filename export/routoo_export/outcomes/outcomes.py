"""Outcome data: the score of each model on each prompt.

Two parquet shapes are read: wide (one row per prompt, a column ``score:<model>`` per model) and
long (one row per prompt and model). A missing outcome stays missing (NaN); nothing is filled in.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import CHARS_PER_TOKEN, Columns, OutcomeGrid
from routoo_export.outcomes.long import TEXT_COLUMNS, read_long
from routoo_export.outcomes.splits import assign_buckets
from routoo_export.outcomes.wide import read_wide

__all__ = ["CHARS_PER_TOKEN", "Outcomes", "Source", "merge_outcomes", "read_outcomes"]

T = TypeVar("T")

METADATA_KEY: Final = b"routoo"
"""Key of the parquet file's own metadata: JSON with name, licence (SPDX) and costs (see Source)."""
UNKNOWN_LICENCE: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of outcomes.

    Attributes:
        name: Name of the source.
        licence: Its licence, SPDX.
        rows: Rows of its file.
        sha256: Hash of its file.
        costs: "true" (USD as billed), "estimated" (computed from prices) or "none".
    """

    name: str
    licence: str
    rows: int
    sha256: str
    costs: str = "none"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """n prompts and the outcomes of m models on them; in all float arrays, NaN = missing.

    Attributes:
        prompt_ids: Identifier of each prompt.
        prompts: Text of each prompt.
        models: Names of the models.
        scores: Scores in [0, 1], float64 [n, m].
        output_tokens: Output tokens, > 0, float64 [n, m].
        cost_usd: Costs in USD, >= 0, float64 [n, m].
        domains: Domain of each prompt; None = its source has none.
        duplicate_groups: Prompts with the same non-None entry are the same question.
        buckets: The split, int64 [n] (see ``splits``).
        source_names: Name of the source of each prompt.
        sources: The sources.
        input_tokens: Input tokens, >= 0, float64 [n, m]; None = no source has them.
        latency_ms: Latencies in milliseconds, >= 0, float64 [n, m]; None = no source has them.
    """

    prompt_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    domains: tuple[str | None, ...]
    duplicate_groups: tuple[str | None, ...]
    buckets: NDArray[np.int64]
    source_names: tuple[str, ...]
    sources: tuple[Source, ...]
    input_tokens: NDArray[np.float64] | None = None
    latency_ms: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.prompts), len(self.models))
        for name in ("scores", "output_tokens", "cost_usd", "input_tokens", "latency_ms"):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise OutcomeError(f"{name} has shape {values.shape}, not {shape}")
        if len(set(self.models)) != len(self.models):
            raise OutcomeError("a model is named twice; give each model one column")

    @property
    def topics(self) -> tuple[str | None, ...]:
        """Topic of each prompt, "source/domain"; None where the source has no domains."""
        return tuple(
            None if domain is None else f"{source}/{domain}"
            for source, domain in zip(self.source_names, self.domains, strict=True)
        )

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Outcomes":
        """The prompts selected by ``keep`` (mask [n] or indices); buckets stay as they are."""
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep

        def pick(values: Sequence[T]) -> tuple[T, ...]:
            return tuple(values[i] for i in index)

        return Outcomes(
            prompt_ids=pick(self.prompt_ids),
            prompts=pick(self.prompts),
            models=self.models,
            scores=self.scores[index],
            output_tokens=self.output_tokens[index],
            cost_usd=self.cost_usd[index],
            domains=pick(self.domains),
            duplicate_groups=pick(self.duplicate_groups),
            buckets=self.buckets[index],
            source_names=pick(self.source_names),
            sources=self.sources,
            input_tokens=None if self.input_tokens is None else self.input_tokens[index],
            latency_ms=None if self.latency_ms is None else self.latency_ms[index],
        )


def read_outcomes(
    path: Path, *, name: str | None = None, licence: str | None = None, bad: BadRows | None = None
) -> Outcomes:
    """Read one parquet file, wide or long.

    The columns are those of ``long.read_long`` (the file has a column ``model``) or of
    ``wide.read_wide``. Other columns are not read; the split is always made here, from the
    question stem. Rows are counted from 0.

    Args:
        path: The file.
        name: Name of the source; default: that in the file's metadata, or else the file's name.
        licence: SPDX; default: that in the file's metadata, or else UNKNOWN_LICENCE.
        bad: Treats rows that do not fit; default: the first one is an error.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit; the message has file and row.
    """
    said = read_metadata(path)
    table = read_table(path)
    grid = _grid(table, path, said, bad or BadRows())
    return from_grid(
        grid,
        Source(
            name=name or said.get("name", path.stem),
            licence=licence or said.get("licence", UNKNOWN_LICENCE),
            rows=table.num_rows,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            costs=grid.cost_kind,
        ),
    )


def read_grid(path: Path, bad: BadRows) -> OutcomeGrid:
    """Read the file as ``read_outcomes`` does, without split and source.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit.
    """
    return _grid(read_table(path), path, read_metadata(path), bad)


def _grid(table: pa.Table, path: Path, said: Mapping[str, str], bad: BadRows) -> OutcomeGrid:
    columns = Columns(table, str(path), lambda row: f"{path}: row {row}", bad)
    if "model" in table.column_names:
        return read_long(columns, said.get("costs", "true"))
    return read_wide(columns)


def read_table(path: Path) -> pa.Table:
    """Read a parquet file; text columns of the long form stay dictionaries, because texts repeat.

    Raises:
        OutcomeError: it cannot be read.
    """
    try:
        schema = pq.read_schema(path)
        repeated = [n for n in (*TEXT_COLUMNS, "domain") if _is_string(schema, n)]
        return pq.read_table(path, read_dictionary=repeated if "model" in schema.names else None)
    except (OSError, pa.ArrowException) as error:
        raise OutcomeError(f"{path}: not a readable parquet file ({error})") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata that ``data convert`` wrote: name, licence, costs. They may be empty.

    Raises:
        OutcomeError: it cannot be read.
    """
    try:
        raw = (pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}")
        said = json.loads(raw)
    except (OSError, pa.ArrowException) as error:
        raise OutcomeError(f"{path}: not a readable parquet file ({error})") from error
    except ValueError as error:
        raise OutcomeError(f"{path}: its metadata {METADATA_KEY!r} are not JSON") from error
    return {str(key): str(value) for key, value in said.items()}


def from_grid(grid: OutcomeGrid, source: Source) -> Outcomes:
    """The outcomes of one source, with the split that is made from their questions."""
    groups = tuple(None if g is None else f"{source.name}:{g}" for g in grid.groups)
    return Outcomes(
        prompt_ids=grid.prompt_ids,
        prompts=grid.prompts,
        models=grid.models,
        scores=grid.scores,
        output_tokens=grid.output_tokens,
        cost_usd=grid.cost_usd,
        domains=grid.domains,
        duplicate_groups=groups,
        buckets=assign_buckets(grid.prompts, groups),
        source_names=(source.name,) * len(grid.prompts),
        sources=(source,),
        input_tokens=grid.input_tokens,
        latency_ms=grid.latency_ms,
    )


def merge_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """Join the prompts of ``parts``, with the union of their models in order of first appearance.

    The buckets are computed again over all prompts, so that a question has one bucket in all
    sources.
    """
    models = tuple(dict.fromkeys(model for part in parts for model in part.models))

    def spread(part: Outcomes, values: NDArray[np.float64] | None) -> NDArray[np.float64]:
        wide = np.full((len(part.prompts), len(models)), np.nan)
        if values is not None:
            wide[:, [models.index(model) for model in part.models]] = values
        return wide

    def stack(field: Callable[[Outcomes], NDArray[np.float64] | None]) -> NDArray[np.float64]:
        return np.concatenate([spread(part, field(part)) for part in parts])

    def optional(
        field: Callable[[Outcomes], NDArray[np.float64] | None],
    ) -> NDArray[np.float64] | None:
        return None if all(field(part) is None for part in parts) else stack(field)

    def chain(field: Callable[[Outcomes], Sequence[T]]) -> tuple[T, ...]:
        return tuple(value for part in parts for value in field(part))

    prompts = chain(lambda part: part.prompts)
    groups = chain(lambda part: part.duplicate_groups)
    return Outcomes(
        prompt_ids=chain(lambda part: part.prompt_ids),
        prompts=prompts,
        models=models,
        scores=stack(lambda part: part.scores),
        output_tokens=stack(lambda part: part.output_tokens),
        cost_usd=stack(lambda part: part.cost_usd),
        domains=chain(lambda part: part.domains),
        duplicate_groups=groups,
        buckets=assign_buckets(prompts, groups),
        source_names=chain(lambda part: part.source_names),
        sources=chain(lambda part: part.sources),
        input_tokens=optional(lambda part: part.input_tokens),
        latency_ms=optional(lambda part: part.latency_ms),
    )


def _is_string(schema: pa.Schema, name: str) -> bool:
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
