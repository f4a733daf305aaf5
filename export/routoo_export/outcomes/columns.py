"""Columns of one table of outcomes, checked, as arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.bad_rows import BadRows

CHARS_PER_TOKEN: Final = 4.0
"""Characters per output token where a source records only the length of the response."""


@dataclass(frozen=True, slots=True)
class OutcomeGrid:
    """n prompts and the outcomes of m models on them, before the split is made.

    Arrays are float64 [n, m], NaN = missing.

    Attributes:
        prompt_ids: Identifier of each prompt.
        prompts: Text of each prompt.
        models: Names of the models.
        scores: Scores in [0, 1].
        output_tokens: Output tokens, >= 1.
        cost_usd: Costs in USD, >= 0.
        input_tokens: Input tokens, >= 0; None = not recorded.
        latency_ms: Latencies in milliseconds, >= 0; None = not recorded.
        domains: Domain of each prompt; None = the source has none.
        groups: Prompts with the same entry are the same question; None = no group.
        cost_kind: "true" = costs as billed, "estimated" = computed from prices, "none" = no costs.
    """

    prompt_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    input_tokens: NDArray[np.float64] | None
    latency_ms: NDArray[np.float64] | None
    domains: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    cost_kind: str


@dataclass(frozen=True, slots=True)
class Codes:
    """A text column in which each distinct text is stored once.

    Attributes:
        codes: Index into ``values`` of each row, int64 [rows]; -1 = null.
        values: The distinct texts.
    """

    codes: NDArray[np.int64]
    values: tuple[str, ...]

    def __getitem__(self, row: int) -> str | None:
        code = self.codes[row]
        return None if code < 0 else self.values[code]

    def at(self, rows: NDArray[np.int64]) -> tuple[str | None, ...]:
        """The texts of ``rows``."""
        return tuple(self[row] for row in rows)


class Columns:
    """A table whose cells are checked when they are read.

    Args:
        table: The table.
        name: Name of the table in messages.
        where: Names a row in messages.
        bad: Treats rows that do not fit; where it skips a row, ``good`` [rows] turns False.
    """

    def __init__(
        self, table: pa.Table, name: str, where: Callable[[int], str], bad: BadRows
    ) -> None:
        self.names: list[str] = table.column_names
        self.rows: int = table.num_rows
        self.name = name
        self.where = where
        self.bad = bad
        self._table = table
        if self.rows == 0:
            raise OutcomeError(f"{name}: no rows; outcomes need at least one")
        self.good: NDArray[np.bool_] = np.ones(self.rows, dtype=np.bool_)

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table that lacks one of the columns ``names``."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise OutcomeError(
                f"{self.name}: column {missing[0]!r} is missing; it has {self._some_names()}"
            )

    def drop(
        self, bad: NDArray[np.bool_], reason: str, detail: Callable[[int], str] = lambda _: ""
    ) -> None:
        """Refuse or skip those rows of the mask ``bad`` that are still good."""
        bad = bad & self.good
        self.bad.add_all(bad, self.where, reason, detail)
        self.good &= ~bad

    def text(self, name: str) -> Codes:
        """A column of non-empty text; whole numbers become text of their digits."""
        codes = self._encode(name)
        blank = np.array([not value.strip() for value in codes.values], dtype=np.bool_)
        absent = codes.codes < 0
        if blank.any():
            absent |= blank[codes.codes]
        self.drop(absent, f"{name} is empty", lambda row: f" ({codes[row]!r})")
        return codes

    def optional_text(self, name: str) -> Codes:
        """A column of text; null where a cell is null or the table lacks the column."""
        if name not in self.names:
            return Codes(np.full(self.rows, -1, dtype=np.int64), ())
        return self._encode(name)

    def numbers(
        self, name: str, high: float = np.inf, *, absent: float | None = None, drops: bool = True
    ) -> NDArray[np.float64]:
        """A column of numbers in [0, high]; NaN where they are missing.

        Args:
            name: Name of the column; all numbers are missing where the table lacks it.
            high: Largest number that fits.
            absent: A number that stands for a missing one.
            drops: Whether a number that does not fit drops its row; if not, it becomes NaN.
        """
        if name not in self.names:
            return np.full(self.rows, np.nan)
        try:
            column = self._table[name]
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            cells = column.cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise OutcomeError(f"{self.name}: column {name!r} is not numeric ({error})") from error
        values: NDArray[np.float64] = np.array(cells, dtype=np.float64)
        if absent is not None:
            values[values == absent] = np.nan
        outside = ~np.isnan(values) & ~((values >= 0.0) & (values <= high) & np.isfinite(values))
        limit = f"{high:g}]" if np.isfinite(high) else "inf)"

        def detail(row: int) -> str:
            return f" ({values[row]:g})"

        reason = f"{name} is outside [0, {limit}"
        if drops:
            self.drop(outside, reason, detail)
        else:
            self.bad.add_all(outside & self.good, self.where, reason, detail)
        values[outside] = np.nan
        return values

    def _encode(self, name: str) -> Codes:
        column = self._table[name]
        kind = column.type
        if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
            column = column.unify_dictionaries()
        elif _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
            # A million long prompts exceed the 2 GB that the offsets of a plain string can address.
            column = column.cast(pa.large_string()).dictionary_encode().unify_dictionaries()
        else:
            raise OutcomeError(f"{self.name}: column {name!r} is {kind}, not text")
        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0)
        codes: NDArray[np.int64] = array.indices.fill_null(-1).to_numpy().astype(np.int64)
        return Codes(codes, tuple(array.dictionary.to_pylist()))

    def _some_names(self, most: int = 6) -> str:
        shown = ", ".join(self.names[:most])
        return f"{shown}, ..." if len(self.names) > most else shown


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def first_rows(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, the first row with the same key; int64 [rows]."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    firsts: NDArray[np.int64] = first.astype(np.int64)[inverse]
    return firsts


def by_appearance(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct keys in the order of their first rows.

    Returns:
        The first row of each distinct key, in rising order, int64 [distinct]; and for each row the
        place of its key in that order, int64 [rows].
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    firsts: NDArray[np.int64] = first[order].astype(np.int64)
    return firsts, place[inverse]


def same(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns elementwise whether a and b are equal; missing values equal each other."""
    equal: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal
