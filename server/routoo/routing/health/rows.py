"""The columns that requests of a batch may go to, as far as the health of models is concerned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.health.breakers import Admitted
    from routoo.selector.arrays import BoolArray, IndexArray

HEALTH = "health"
"""The name of the constraint that leaves models that fail out."""


@dataclass(frozen=True, slots=True)
class HealthRows:
    """The health of m columns as n requests see it.

    Attributes:
        mask: bool [n, m], the columns that each may go to.
        probed: bool [m], the columns that are asked to see whether they answer again.
    """

    mask: BoolArray
    probed: BoolArray

    @classmethod
    def of(cls, admission: Admitted, model_of: IndexArray) -> Self:
        """Returns the rows of an admission of models.

        Args:
            admission: of k models.
            model_of: int [m], each column's model.
        """
        return cls(admission.mask[:, model_of], admission.probed[model_of])

    def take(self, rows: IndexArray) -> HealthRows:
        """Returns some of the rows, int [r]."""
        return HealthRows(self.mask[rows], self.probed)

    def at(self, columns: IndexArray) -> HealthRows:
        """Returns some of the columns, int [c]."""
        return HealthRows(self.mask[:, columns], self.probed[columns])

    def kept(self, eligible: BoolArray, named: Sequence[bool]) -> BoolArray:
        """Returns the cells that health leaves, bool [n, m].

        A row of which no cell would be left keeps all, and so does a row that names its model.

        Args:
            eligible: bool [n, m], the cells that all else leaves.
            named: [n], whether the request names its model.
        """
        none_left = ~(eligible & self.mask).any(axis=1)
        return self.mask | (none_left | np.array(named, np.bool_))[:, None]

    def is_ill(self, row: int, column: int) -> bool:
        """Returns whether a row goes to a column that it should not go to."""
        return not self.mask[row, column]

    def is_probe(self, row: int, column: int) -> bool:
        """Returns whether a row goes to a column to see whether that answers again."""
        return bool(self.mask[row, column] and self.probed[column])
