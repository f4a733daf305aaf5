"""The array types of the selector, and the form of rows and amounts in its messages."""

from decimal import ROUND_CEILING, Context

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ReasonArray = npt.NDArray[np.int8]
"""Codes of ``Reason``."""
IndexArray = npt.NDArray[np.intp]

_ROWS_NAMED = 8


def name_rows(rows: IndexArray) -> str:
    """Name rows in a message, the first few by index: ``row 3``, ``rows 1, 2, ... (40 rows)``."""
    shown = ", ".join(str(row) for row in rows[:_ROWS_NAMED])
    if rows.size == 1:
        return f"row {shown}"
    return f"rows {shown}" if rows.size <= _ROWS_NAMED else f"rows {shown}, ... ({rows.size} rows)"


# Six digits are easy to read. They are rounded up, so that a caller who copies them moves a limit
# far enough.
_ENOUGH = Context(prec=6, rounding=ROUND_CEILING)


def enough(amount: float) -> str:
    """Format an amount with six digits, rounded up: to move a limit by this much is enough."""
    return f"{_ENOUGH.create_decimal_from_float(amount).normalize():f}"
