"""Exploration of the decisions of a batch, as columns: what was drawn, and how probable it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class Explored:
    """The exploration of n decisions.

    Attributes:
        best: int [n], the columns that the policy chose; -1: none.
        reasons: int8 [n], its reasons, values of ``Reason``.
        drawn: bool [n], rows whose model was drawn in place of the policy's.
        propensity: float64 [n], probability of the choice; 1 where there was no other, NaN where a
            budget or a limit had no room for the first choice.
        share: share of requests that were explored, of those that could be.
        most_usd: float64 [n], what a model might cost beyond the best one.
    """

    best: IndexArray
    reasons: ReasonArray
    drawn: BoolArray
    propensity: FloatArray
    share: float
    most_usd: FloatArray

    def take(self, rows: IndexArray) -> Explored:
        """Returns the exploration of some rows, int [k]."""
        return Explored(
            self.best[rows],
            self.reasons[rows],
            self.drawn[rows],
            self.propensity[rows],
            self.share,
            self.most_usd[rows],
        )

    def instead(self) -> IndexArray | None:
        """Returns the columns to book where a drawn one is not paid for; None: none was drawn."""
        return self.best if self.drawn.any() else None
