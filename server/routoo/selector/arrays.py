"""The array types that the selector speaks, and how it names rows in messages."""

from decimal import ROUND_CEILING, Context

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

_ROWS_NAMED = 8


def name_rows(rows: IndexArray) -> str:
    """Say which rows are meant, the first few by index: ``row 3``, ``rows 1, 2, ... (40 rows)``."""
    shown = ", ".join(str(row) for row in rows[:_ROWS_NAMED])
    if rows.size == 1:
        return f"row {shown}"
    return f"rows {shown}" if rows.size <= _ROWS_NAMED else f"rows {shown}, ... ({rows.size} rows)"


# Six digits are read easily; rounded up, they still suffice when the caller copies them.
_ENOUGH = Context(prec=6, rounding=ROUND_CEILING)


def enough(amount: float) -> str:
    """Format with six digits, rounded up: a caller who moves a limit by this much is done."""
    return f"{_ENOUGH.create_decimal_from_float(amount).normalize():f}"
