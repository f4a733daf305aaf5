"""Outcomes in long form: one row per prompt and model."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.columns import (
    Codes,
    Columns,
    OutcomeGrid,
    by_appearance,
    first_rows,
    same,
)

TEXT_COLUMNS: Final = ("prompt_id", "prompt", "model")
NUMBER_COLUMNS: Final = ("cost_usd", "input_tokens", "output_tokens", "latency_ms")
OPTIONAL_TEXT_COLUMNS: Final = ("domain", "dup_group")
ARM: Final = "arm"
"""The column of the arm by which the model was asked, such as an effort; empty: by none."""
LONG_COLUMNS: Final = (*TEXT_COLUMNS, "score", *NUMBER_COLUMNS, *OPTIONAL_TEXT_COLUMNS, ARM)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The columns of the long table.

    Attributes:
        ids: Column prompt_id.
        prompts: Column prompt.
        models: Column model, with the column arm as ``model@arm``.
        domains: Column domain.
        groups: Column dup_group.
        numbers: The columns of numbers by name, float64 [rows] each, including score.
    """

    ids: Codes
    prompts: Codes
    models: Codes
    domains: Codes
    groups: Codes
    numbers: dict[str, NDArray[np.float64]]

    def cell(self, row: int) -> str:
        return f"prompt_id {self.ids[row]!r} with model {self.models[row]!r}"


def read_long(columns: Columns, cost_kind: str = "true") -> OutcomeGrid:
    """Read the grid of a table with LONG_COLUMNS; those after ``score`` are optional.

    Prompts and models keep the order in which they first appear. A row that repeats another one in
    every value is dropped and counted. A row with the same prompt and model and another value
    contradicts it and does not fit; where bad rows are skipped, all rows of that prompt and model
    are, because none of them can be trusted. An arm makes a model of its own, ``model@arm``.

    Raises:
        OutcomeError: a column is missing, a row does not fit, or none is left.
    """
    columns.require((*TEXT_COLUMNS, "score"))
    ids, prompts, models = (columns.text(name) for name in TEXT_COLUMNS)
    models = _with_arms(columns, models)
    domains, groups = (columns.optional_text(name) for name in OPTIONAL_TEXT_COLUMNS)
    rows = _Rows(
        ids,
        prompts,
        models,
        domains,
        groups,
        numbers={
            "score": columns.numbers("score", 1.0),
            **{name: columns.numbers(name) for name in NUMBER_COLUMNS if name in columns.names},
        },
    )
    columns.drop(np.isnan(rows.numbers["score"]), "score is missing")
    _check_prompts(columns, rows)
    _check_duplicates(columns, rows)
    kept = np.flatnonzero(columns.good)
    if not kept.size:
        raise OutcomeError(f"{columns.name}: no row fits")
    return _spread(rows, kept, cost_kind)


def _with_arms(columns: Columns, models: Codes) -> Codes:
    """The models with their arms, ``model@arm``; refuses an arm of a model that names another."""
    arms = columns.optional_text(ARM)
    values = [value.strip() for value in arms.values]
    asked = np.array([*(bool(value) for value in values), False])[arms.codes]
    if not asked.any() or not models.values:
        return models
    # Texts by pairs of model and arm, of which there are few.
    width = len(values) + 1
    keys = models.codes * width + np.where(asked, arms.codes, width - 1)
    distinct, codes = np.unique(keys, return_inverse=True)
    names: list[str] = []
    clashes: list[bool] = []
    for key in distinct.tolist():
        model, arm = models.values[key // width], [*values, ""][key % width]
        named = model.partition("@")[2]
        clashes.append("@" in arm or bool(arm and named and named != arm))
        names.append(f"{model}@{arm}" if arm and not named else model)
    columns.drop(
        np.array(clashes)[codes],
        "arm is another than the one in the model's name",
        lambda row: f" ({models[row]!r}, {arms[row]!r})",
    )
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    found = np.array([places[name] for name in names], dtype=np.int64)[codes]
    return Codes(np.where(models.codes < 0, -1, found), tuple(places))


def _check_prompts(columns: Columns, rows: _Rows) -> None:
    """Drop rows whose prompt, domain or group differs from an earlier row of the same prompt_id."""
    good = np.flatnonzero(columns.good)
    first = np.arange(columns.rows)
    first[good] = good[first_rows(rows.ids.codes[good])]
    for name, codes in (
        ("prompt", rows.prompts.codes),
        ("domain", rows.domains.codes),
        ("dup_group", rows.groups.codes),
    ):
        columns.drop(
            codes != codes[first],
            f"{name} differs from that of an earlier row with the same prompt_id",
            lambda row: f" ({rows.ids[row]!r}, {columns.where(int(first[row]))})",
        )


def _check_duplicates(columns: Columns, rows: _Rows) -> None:
    """Drop rows that repeat or contradict the outcome of an earlier row."""
    good = np.flatnonzero(columns.good)
    keys = rows.ids.codes * len(rows.models.values) + rows.models.codes
    first = np.arange(columns.rows)
    first[good] = good[first_rows(keys[good])]
    repeats = first != np.arange(columns.rows)
    equal = np.ones(columns.rows, dtype=np.bool_)
    for values in rows.numbers.values():
        equal &= same(values, values[first])
    contradicting = repeats & ~equal
    if columns.bad.skip:
        # The row that is contradicted is dropped too.
        contradicting = np.isin(first, first[contradicting])
    columns.drop(
        contradicting,
        "the same prompt and model have another outcome in an earlier row",
        lambda row: (
            f" ({rows.cell(row)}: {_values(rows, row)} here,"
            f" {_values(rows, int(first[row]))} in {columns.where(int(first[row]))})"
        ),
    )
    identical = repeats & columns.good
    columns.bad.duplicates += int(identical.sum())
    columns.good &= ~identical


def _values(rows: _Rows, row: int) -> str:
    return ", ".join(f"{name} {values[row]:g}" for name, values in rows.numbers.items())


def _spread(rows: _Rows, kept: NDArray[np.int64], cost_kind: str) -> OutcomeGrid:
    firsts, i = by_appearance(rows.ids.codes[kept])
    model_firsts, j = by_appearance(rows.models.codes[kept])
    shape = (len(firsts), len(model_firsts))
    first_of_prompt = kept[firsts]

    def optional(name: str) -> NDArray[np.float64] | None:
        values = rows.numbers.get(name)
        if values is None or np.isnan(values[kept]).all():
            return None
        wide = np.full(shape, np.nan)
        wide[i, j] = values[kept]
        return wide

    def matrix(name: str) -> NDArray[np.float64]:
        wide = optional(name)
        return np.full(shape, np.nan) if wide is None else wide

    cost = optional("cost_usd")
    return OutcomeGrid(
        prompt_ids=tuple(str(v) for v in rows.ids.at(first_of_prompt)),
        prompts=tuple(str(v) for v in rows.prompts.at(first_of_prompt)),
        models=tuple(str(v) for v in rows.models.at(kept[model_firsts])),
        scores=matrix("score"),
        output_tokens=np.maximum(matrix("output_tokens"), 1.0),
        cost_usd=np.full(shape, np.nan) if cost is None else cost,
        input_tokens=optional("input_tokens"),
        latency_ms=optional("latency_ms"),
        domains=rows.domains.at(first_of_prompt),
        groups=rows.groups.at(first_of_prompt),
        cost_kind="none" if cost is None else cost_kind,
    )
