"""Outcome data: what each model really scored on each prompt.

Two parquet shapes are read: wide (one row per prompt, a column `score:<model>` per model) and long
(one row per prompt and model). A missing outcome stays missing (NaN); nothing is filled in.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.splits import assign_buckets

T = TypeVar("T")

CHARS_PER_TOKEN: Final = 4.0
"""Characters per output token where a source records only the length of the response."""

_LONG_COLUMNS: Final = ("prompt_id", "prompt", "model", "score")


@dataclass(frozen=True, slots=True)
class Source:
    """Where outcomes came from: name, licence (SPDX), rows in the file, sha256 of the file."""

    name: str
    licence: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """n prompts and what m models scored on them.

    scores float64 [n, m] in [0, 1]; output_tokens float64 [n, m] > 0; cost_usd float64 [n, m] >= 0;
    NaN = missing in all three. buckets int64 [n] are the split (see `splits`). domains and
    source_names have one entry per prompt; a domain of None means that the source has none.
    duplicate_groups: prompts with the same non-None entry are the same question.
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

    def __post_init__(self) -> None:
        shape = (len(self.prompts), len(self.models))
        for name in ("scores", "output_tokens", "cost_usd"):
            if getattr(self, name).shape != shape:
                raise OutcomeError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        if len(set(self.models)) != len(self.models):
            raise OutcomeError("a model is named twice; give each model one column")

    @property
    def topics(self) -> tuple[str | None, ...]:
        """Per prompt "source/domain"; None where the source has no domains."""
        return tuple(
            None if domain is None else f"{source}/{domain}"
            for source, domain in zip(self.source_names, self.domains, strict=True)
        )

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Outcomes":
        """The prompts selected by `keep` (mask [n] or indices); buckets stay as they are."""
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
        )


def read_outcomes(path: Path, *, name: str, licence: str) -> Outcomes:
    """Read one parquet file, wide or long.

    Long columns: prompt_id, prompt, model, score in [0, 1]; optional cost_usd, output_tokens,
    domain. Wide columns: prompt_id, prompt, `score:<model>`; optional domain, dup_group,
    `cost_est:<model>` USD, `out_tokens:<model>`, `resp_chars:<model>` (-1 = none; read as
    characters / 4 tokens). Other columns are not read; the split is always made here, from the
    question stem.

    Raises:
        OutcomeError: the file cannot be read, or a row does not fit; the message has file and row.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise OutcomeError(f"{path}: not a readable parquet file ({error})") from error
    source = Source(name, licence, table.num_rows, hashlib.sha256(path.read_bytes()).hexdigest())
    reader = _read_long if "model" in table.column_names else _read_wide
    return reader(_Columns(path, table), source)


def merge_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """All prompts of `parts` under the union of their models, in the order of first appearance.

    The buckets are made anew over all prompts, so that one question has one bucket across sources.
    """
    models = tuple(dict.fromkeys(model for part in parts for model in part.models))

    def spread(part: Outcomes, values: NDArray[np.float64]) -> NDArray[np.float64]:
        wide = np.full((len(part.prompts), len(models)), np.nan)
        wide[:, [models.index(model) for model in part.models]] = values
        return wide

    def chain(field: Callable[[Outcomes], Sequence[T]]) -> tuple[T, ...]:
        return tuple(value for part in parts for value in field(part))

    prompts = chain(lambda part: part.prompts)
    groups = chain(lambda part: part.duplicate_groups)
    return Outcomes(
        prompt_ids=chain(lambda part: part.prompt_ids),
        prompts=prompts,
        models=models,
        scores=np.concatenate([spread(part, part.scores) for part in parts]),
        output_tokens=np.concatenate([spread(part, part.output_tokens) for part in parts]),
        cost_usd=np.concatenate([spread(part, part.cost_usd) for part in parts]),
        domains=chain(lambda part: part.domains),
        duplicate_groups=groups,
        buckets=assign_buckets(prompts, groups),
        source_names=chain(lambda part: part.source_names),
        sources=chain(lambda part: part.sources),
    )


class _Columns:
    """Columns of one table, checked; a complaint names the file and the row (counted from 0)."""

    def __init__(self, path: Path, table: pa.Table) -> None:
        self.names: list[str] = table.column_names
        self.rows: int = table.num_rows
        self._path = path
        self._table = table
        if self.rows == 0:
            raise OutcomeError(f"{path}: no rows; outcomes need at least one")

    def require(self, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in self.names]
        if missing:
            raise OutcomeError(f"{self._path}: column {missing[0]!r} is missing")

    def refuse(self, row: int, reason: str) -> OutcomeError:
        return OutcomeError(f"{self._path}: row {row}: {reason}")

    def refuse_first(self, bad: NDArray[np.bool_], reason: str) -> None:
        if bad.any():
            raise self.refuse(int(np.argmax(bad)), reason)

    def text(self, name: str) -> list[str]:
        """A column of non-empty strings."""
        values: list[Any] = self._table[name].to_pylist()
        for row, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self.refuse(row, f"{name} is {value!r}; it must be non-empty text")
        return values

    def optional_text(self, name: str) -> list[str | None]:
        """A column as text, None where it is null or the table lacks it."""
        if name not in self.names:
            return [None] * self.rows
        return [None if v is None else str(v) for v in self._table[name].to_pylist()]

    def numbers(
        self, name: str, low: float, high: float = np.inf, *, absent: float | None = None
    ) -> NDArray[np.float64]:
        """Numbers in [low, high], NaN where null, equal to `absent`, or without the column."""
        if name not in self.names:
            return np.full(self.rows, np.nan)
        try:
            cells = self._table[name].cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise OutcomeError(f"{self._path}: column {name!r} is not numeric ({error})") from error
        values: NDArray[np.float64] = np.array(cells, dtype=np.float64)
        if absent is not None:
            values[values == absent] = np.nan
        self.refuse_first((values < low) | (values > high), f"{name} is outside [{low}, {high}]")
        self.refuse_first(np.isinf(values), f"{name} is not finite")
        return values


def _read_wide(columns: _Columns, source: Source) -> Outcomes:
    columns.require(("prompt_id", "prompt"))
    models = tuple(n.removeprefix("score:") for n in columns.names if n.startswith("score:"))
    if not models:
        columns.require(("score:<model>",))
    prompt_ids = columns.text("prompt_id")
    seen: set[str] = set()
    for row, prompt_id in enumerate(prompt_ids):
        if prompt_id in seen:
            raise columns.refuse(row, f"prompt_id {prompt_id!r} occurs twice")
        seen.add(prompt_id)

    def output_tokens(model: str) -> NDArray[np.float64]:
        if f"out_tokens:{model}" in columns.names:
            return columns.numbers(f"out_tokens:{model}", 0.0)
        chars = columns.numbers(f"resp_chars:{model}", 0.0, absent=-1.0)
        return np.maximum(chars / CHARS_PER_TOKEN, 1.0)

    prompts = columns.text("prompt")
    groups = columns.optional_text("dup_group")
    named = tuple(None if g is None else f"{source.name}:{g}" for g in groups)
    return Outcomes(
        prompt_ids=tuple(prompt_ids),
        prompts=tuple(prompts),
        models=models,
        scores=np.stack([columns.numbers(f"score:{m}", 0.0, 1.0) for m in models], axis=1),
        output_tokens=np.stack([output_tokens(m) for m in models], axis=1),
        cost_usd=np.stack([columns.numbers(f"cost_est:{m}", 0.0) for m in models], axis=1),
        domains=tuple(columns.optional_text("domain")),
        duplicate_groups=named,
        buckets=assign_buckets(prompts, named),
        source_names=(source.name,) * columns.rows,
        sources=(source,),
    )


def _read_long(columns: _Columns, source: Source) -> Outcomes:
    columns.require(_LONG_COLUMNS)
    row_ids, row_prompts, row_models = (columns.text(n) for n in _LONG_COLUMNS[:3])
    values = {
        "score": columns.numbers("score", 0.0, 1.0),
        "output_tokens": columns.numbers("output_tokens", 0.0),
        "cost_usd": columns.numbers("cost_usd", 0.0),
    }
    columns.refuse_first(np.isnan(values["score"]), "score is missing")
    row_domains = columns.optional_text("domain")
    models = tuple(dict.fromkeys(row_models))
    first_row: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for row, (prompt_id, model) in enumerate(zip(row_ids, row_models, strict=True)):
        if (prompt_id, model) in seen:
            raise columns.refuse(row, f"prompt_id {prompt_id!r} has model {model!r} twice")
        seen.add((prompt_id, model))
        first = first_row.setdefault(prompt_id, row)
        if (row_prompts[row], row_domains[row]) != (row_prompts[first], row_domains[first]):
            raise columns.refuse(row, f"prompt or domain differs from that of row {first}")
    prompt_index = {prompt_id: i for i, prompt_id in enumerate(first_row)}
    model_index = {model: j for j, model in enumerate(models)}
    cell = ([prompt_index[p] for p in row_ids], [model_index[m] for m in row_models])

    def matrix(name: str) -> NDArray[np.float64]:
        wide = np.full((len(prompt_index), len(models)), np.nan)
        wide[cell] = values[name]
        return wide

    prompts = tuple(row_prompts[row] for row in first_row.values())
    none = (None,) * len(prompts)
    return Outcomes(
        prompt_ids=tuple(first_row),
        prompts=prompts,
        models=models,
        scores=matrix("score"),
        output_tokens=np.maximum(matrix("output_tokens"), 1.0),
        cost_usd=matrix("cost_usd"),
        domains=tuple(row_domains[row] for row in first_row.values()),
        duplicate_groups=none,
        buckets=assign_buckets(prompts, none),
        source_names=(source.name,) * len(prompts),
        sources=(source,),
    )
