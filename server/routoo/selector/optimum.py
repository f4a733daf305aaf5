"""What every engine of the selector returns."""

from dataclasses import dataclass

from routoo.selector.arrays import FloatArray, IndexArray


@dataclass(frozen=True, slots=True)
class Optimum:
    """A choice of whole prompts, and the linear program's optimum beside it.

    Attributes:
        choice: int [n], index of each prompt's model; keeps all limits.
        prices: float64 [K], dual price of each coupling row.
        relaxed_value: value of the best fractional choice.
        bound: dual value at the prices; no choice is better.
    """

    choice: IndexArray
    prices: FloatArray
    relaxed_value: float
    bound: float
