"""The outcome sources of the registry, those of the shipped predictor, and its protocol."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import Columns
from routoo_export.outcomes.kinds import kind_code, map_kinds
from routoo_export.outcomes.model_names import canonical_name, read_canonical_names
from routoo_export.outcomes.outcomes import (
    Outcomes,
    Source,
    from_grid,
    merge_outcomes,
    read_outcomes,
    read_table,
)
from routoo_export.outcomes.registry import Registry, RowFilter, SourceEntry, registry
from routoo_export.outcomes.splits import assign_buckets, stem_group
from routoo_export.outcomes.wide import INPUT_TOKENS, LATENCY, SCORE, read_wide

PRICES_FILE: Final = "prices.csv"


@dataclass(frozen=True, slots=True)
class SourceOutcomes:
    """The outcomes of one source, with the kinds of task of its prompts.

    Attributes:
        outcomes: The outcomes of n prompts; models have their canonical names.
        kinds: Place of each prompt's kind in ``kinds.TASK_KINDS``, int64 [n]; NO_KIND = unknown.
        source: Its entry of the registry.
        notes: Sentences on what was left out, and why.
    """

    outcomes: Outcomes
    kinds: NDArray[np.int64]
    source: SourceEntry
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProtocolSpec:
    """The sources and models by which the shipped predictor is evaluated.

    Attributes:
        pair_source: The source of RouteLLM's pair, evaluated as a whole by cross-validation.
        weak: The weak model of the pair.
        strong: The strong model of the pair.
        pool_source: The source whose models form the pool.
        excluded: Models of that source that are not in the pool: they have too few outcomes.
        reference: The model of the pool to match.
    """

    pair_source: str
    weak: str
    strong: str
    pool_source: str
    excluded: tuple[str, ...]
    reference: str


TRAINING_SOURCES: Final = ("mmlu_pro", "mmlu_routellm")
"""Names of the sources that the shipped predictor is trained on."""
PROTOCOL: Final = ProtocolSpec(
    pair_source="mmlu_routellm",
    weak="mistralai/Mixtral-8x7B-Instruct-v0.1",
    strong="gpt-4-1106-preview",
    pool_source="mmlu_pro",
    excluded=("deepseek-ai/DeepSeek-Coder-V2",),
    reference="gpt-4o-2024-05-13",
)


def read_training_outcomes(data: Path) -> Outcomes:
    """Read and merge all TRAINING_SOURCES of ``data``; models keep the names of their files."""
    entries = [registry().named(name) for name in TRAINING_SOURCES]
    return merge_outcomes(
        [
            read_outcomes(data / entry.file_name, name=entry.name, licence=entry.licence)
            for entry in entries
        ]
    )


def training_sources() -> tuple[SourceEntry, ...]:
    """The sources of the registry that a predictor that ships may be trained on."""
    return registry().shipping()


def read_source(folder: Path, name: str, *, known: Registry | None = None) -> SourceOutcomes:
    """Read one source of the registry.

    Of its file only the rows, models, lengths and costs are read that the registry names. Rows
    without a prompt are left out. Models get their canonical names; of two columns with one
    canonical name only the first is read, because they may be two runs.

    Args:
        folder: The data folder, with the file and with models.csv.
        name: Name of the source.
        known: The registry; default: that of this package.

    Raises:
        OutcomeError: the registry has no such source, it has no prompts, a file or a column is
            missing, a model has no canonical name, or a row does not fit.
    """
    entry = (known or registry()).named(name)
    path = folder / entry.file_name
    if entry.prompt is None:
        raise OutcomeError(f"{path}: has no prompts, so it can be neither split nor trained on")
    table = read_table(path)
    _require(table, path, entry)
    rows, notes = _chosen_rows(table, entry)
    columns, repeated = _columns(table, entry, read_canonical_names(folder))
    chosen = pa.table({ours: table[theirs] for ours, theirs in columns.items()}).filter(
        pa.array(rows)
    )
    bad = BadRows()
    numbers = np.flatnonzero(rows)
    grid = read_wide(Columns(chosen, str(path), lambda row: f"{path}: row {numbers[row]}", bad))
    outcomes = from_grid(
        grid,
        Source(
            name=entry.name,
            licence=entry.licence,
            rows=table.num_rows,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            costs=grid.cost_kind,
        ),
    )
    if entry.wraps:
        groups = tuple(_question_group(prompt, entry.wraps) for prompt in outcomes.prompts)
        buckets = assign_buckets(outcomes.prompts, groups)
        outcomes = replace(outcomes, duplicate_groups=groups, buckets=buckets)
    kinds = _kinds(table.filter(pa.array(rows)), entry, outcomes.prompt_ids)
    return SourceOutcomes(outcomes, kinds, entry, (*notes, *repeated))


def split_together(parts: Sequence[SourceOutcomes]) -> tuple[SourceOutcomes, ...]:
    """The same sources with one split over all: a question is on the same side in each of them.

    A source that is read alone has the same split, except for questions that another source's
    duplicate groups join.
    """
    prompts = [prompt for part in parts for prompt in part.outcomes.prompts]
    groups = [group for part in parts for group in part.outcomes.duplicate_groups]
    ends = np.cumsum([len(part.outcomes.prompts) for part in parts])
    buckets = np.split(assign_buckets(prompts, groups), ends[:-1])
    return tuple(
        replace(part, outcomes=replace(part.outcomes, buckets=of_part))
        for part, of_part in zip(parts, buckets, strict=True)
    )


def read_prices(data: Path, models: Sequence[str]) -> NDArray[np.float64]:
    """Read prices in USD per million (input, output) tokens, float64 [m, 2].

    Raises:
        OutcomeError: the price list is missing, or lacks a model.
    """
    path = data / PRICES_FILE
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            listed = {
                row["model"]: (float(row["usd_per_1M_input"]), float(row["usd_per_1M_output"]))
                for row in csv.DictReader(lines)
            }
        return np.array([listed[model] for model in models], dtype=np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise OutcomeError(f"{path}: no usable price ({error})") from error


def _question_group(prompt: str, wraps: Sequence[str]) -> str:
    """The duplicate group of the question that is left when ``wraps`` are cut from the prompt."""
    question = prompt
    for pattern in wraps:
        question = re.sub(pattern, "", question, flags=re.DOTALL)
    return stem_group(question if question.strip() else prompt)


def _require(table: pa.Table, path: Path, entry: SourceEntry) -> None:
    """Refuse a table without a column that the registry names."""
    needed = {
        "prompt": entry.prompt,
        "rows.column": entry.rows and entry.rows.column,
        "kinds.column": entry.kinds and entry.kinds.column,
    }
    for key, column in needed.items():
        if column is not None and column not in table.column_names:
            raise OutcomeError(
                f"{path}: column {column!r} is missing, which the registry's source"
                f" {entry.name!r} names as {key}; correct one of the two"
            )


def _chosen_rows(table: pa.Table, entry: SourceEntry) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """The mask [rows] of the rows to read, and notes on those that have no prompt."""
    wanted = np.ones(table.num_rows, dtype=np.bool_)
    if entry.rows is not None:
        wanted = _matching(table, entry.rows)
    silent = wanted & table[entry.prompt].is_null().to_numpy()
    if not silent.any():
        return wanted, ()
    return wanted & ~silent, (f"{int(silent.sum())} rows without a prompt are left out",)


def _matching(table: pa.Table, rows: RowFilter) -> NDArray[np.bool_]:
    codes, labels = _labels(table, rows.column)
    # The last place is that of the code -1, a row without a label.
    return np.array([*map(rows.keeps, labels), rows.keeps(None)], dtype=np.bool_)[codes]


def _labels(table: pa.Table, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """The code of each row's label, int64 [rows], -1 = null; and the distinct labels."""
    encoded = pc.dictionary_encode(table[column].cast(pa.large_string())).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _columns(
    table: pa.Table, entry: SourceEntry, names: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The file's column of each column to read, and notes on models that occur twice."""
    present = set(table.column_names)
    columns = {"prompt_id": "prompt_id", "prompt": entry.prompt or ""}
    columns |= {name: name for name in ("domain", "eval_name", "dup_group") if name in present}
    prefixes = [f"{prefix}:" for prefix in (entry.lengths, entry.costs) if prefix != "none"]
    if entry.lengths == "out_tokens":
        prefixes += [INPUT_TOKENS, LATENCY]
    models = [n.removeprefix(SCORE) for n in table.column_names if n.startswith(SCORE)]
    kept = [model for model in models if entry.models is None or entry.models.keeps(model)]
    notes, first = [], dict[str, str]()
    for model in kept:
        canonical = canonical_name(names, entry.file_name, model)
        if canonical in first:
            notes.append(f"{model!r} is left out: it is {canonical}, as is {first[canonical]!r}")
            continue
        first[canonical] = model
        figures = {f"{p}{canonical}": f"{p}{model}" for p in (SCORE, *prefixes)}
        columns |= {ours: theirs for ours, theirs in figures.items() if theirs in present}
    return columns, tuple(notes)


def _kinds(table: pa.Table, entry: SourceEntry, prompt_ids: Sequence[str]) -> NDArray[np.int64]:
    """The kind of each prompt, int64 [n], by the first row that has its prompt_id."""
    if entry.kinds is None:
        return np.full(len(prompt_ids), kind_code(entry.kind), dtype=np.int64)
    ids = table["prompt_id"].cast(pa.large_string())
    rows = pc.index_in(pa.array(prompt_ids, pa.large_string()), ids).to_numpy()
    codes, labels = _labels(table, entry.kinds.column)
    kinds: NDArray[np.int64] = map_kinds([*labels, None], entry.kinds.map)[codes[rows]]
    return kinds
