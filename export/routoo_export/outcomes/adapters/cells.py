"""Cells: the outcome of one model on one prompt, as every adapter delivers it."""

import math
from numbers import Real
from typing import Final, NamedTuple

import pyarrow as pa

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import CHARS_PER_TOKEN, Columns, OutcomeGrid
from routoo_export.outcomes.long import NUMBER_COLUMNS, read_long

_TRUTH: Final = {"true": 1.0, "false": 0.0}


class Where(NamedTuple):
    """The place of a row in an input.

    Attributes:
        name: Name of the input.
        row: Number of the row, counted from 0.
    """

    name: str
    row: int

    def __str__(self) -> str:
        return f"{self.name}: row {self.row}"


class Cell(NamedTuple):
    """One model's outcome on one prompt, as found in the input and not yet checked.

    Attributes:
        where: The row that it was found in.
        prompt_id: Identifier of the prompt.
        prompt: Text of the prompt.
        model: Name of the model.
        score: Score in [0, 1], or a boolean.
        domain: Domain of the prompt; None = none.
        cost_usd: Cost of the call in USD; None = not recorded.
        input_tokens: Input tokens; None = not recorded.
        output_tokens: Output tokens; None = not recorded.
        latency_ms: Latency in milliseconds; None = not recorded.
    """

    where: Where
    prompt_id: str
    prompt: object
    model: str
    score: object
    domain: str | None = None
    cost_usd: object = None
    input_tokens: object = None
    output_tokens: object = None
    latency_ms: object = None


class CellRows:
    """Collects cells and checks them as a file in long form."""

    def __init__(self, bad: BadRows) -> None:
        self.bad = bad
        self._where: list[Where] = []
        self._texts: dict[str, list[str | None]] = {
            name: [] for name in ("prompt_id", "prompt", "model", "domain")
        }
        self._numbers: dict[str, list[float | None]] = {
            name: [] for name in ("score", *NUMBER_COLUMNS)
        }

    def add(self, cell: Cell) -> None:
        """Add one cell; if a number in it is not a number, it is a bad row."""
        numbers: list[float | None] = []
        for name in self._numbers:
            value = getattr(cell, name)
            try:
                numbers.append(as_number(value))
            except ValueError:
                self.bad.add(str(cell.where), f"{name} is not a number", f" ({value!r})")
                return
        if not isinstance(cell.prompt, str | None):
            self.bad.add(str(cell.where), "prompt is not text", f" ({cell.prompt!r})")
            return
        self._where.append(cell.where)
        for column, number in zip(self._numbers.values(), numbers, strict=True):
            column.append(number)
        for name, text in (
            ("prompt_id", cell.prompt_id),
            ("prompt", cell.prompt),
            ("model", cell.model),
            ("domain", cell.domain),
        ):
            self._texts[name].append(text)

    def grid(self, name: str) -> OutcomeGrid:
        """All cells as a grid; ``name`` names the input in messages.

        Raises:
            OutcomeError: there is no cell, or one does not fit (see ``read_long``).
        """
        if not self._where:
            raise OutcomeError(f"{name}: holds no outcome in the format asked for")
        columns: dict[str, pa.Array] = {
            column: pa.array(values, type=pa.large_string()).dictionary_encode()
            for column, values in self._texts.items()
        }
        for column, numbers in self._numbers.items():
            columns[column] = pa.array(numbers, type=pa.float64())
        return read_long(
            Columns(pa.table(columns), name, lambda row: str(self._where[row]), self.bad)
        )


def as_number(value: object) -> float | None:
    """Convert a number, a boolean, or the text of one; None for None, NaN and blank text.

    Raises:
        ValueError: the value is something else.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if not text:
            return None
        number = _TRUTH[text] if text in _TRUTH else float(text)
    elif value is None:
        return None
    elif isinstance(value, Real) or type(value).__name__ in {"bool", "bool_"}:
        number = float(value)  # type: ignore[arg-type]
    else:
        raise ValueError(value)
    return None if math.isnan(number) else number


def is_missing(score: object) -> bool:
    """Returns whether a cell of a wide format is empty: neither an outcome nor an error."""
    try:
        return as_number(score) is None
    except ValueError:
        # It is refused later, with all other cells that are not numbers.
        return False


def tokens_of(response: object) -> float | None:
    """Output tokens of a response, at 4 characters each and at least 1; None without a response."""
    if not isinstance(response, str) or not response:
        return None
    return max(len(response) / CHARS_PER_TOKEN, 1.0)
