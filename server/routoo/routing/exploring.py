"""Exploration of the decisions of a batch, as columns: what was drawn, and how probable it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.selector.arrays import BoolArray, IndexArray, ReasonArray


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """The rows of n decisions whose models were drawn in place of the policy's.

    Attributes:
        rows: bool [n], those rows; at least one.
        best: int [n], the columns that the policy chose; -1: none.
        reasons: int8 [n], its reasons, values of ``Reason``.
    """

    rows: BoolArray
    best: IndexArray
    reasons: ReasonArray

    def only(self, rows: BoolArray) -> DrawnRows | None:
        """Returns it with some of the rows alone, bool [n]; None: with none."""
        kept = self.rows & rows
        return DrawnRows(kept, self.best, self.reasons) if kept.any() else None


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class Explored:
    """The exploration of n decisions.

    Attributes:
        propensity: [n], probability of the choice; 1 where there was no other, NaN where a budget
            or a limit had no room for the first choice.
        share: share of requests that were explored, of those that could be.
        most_usd: what a model might cost beyond the best one.
        drawn: the drawn rows; None: there are none.
    """

    propensity: Sequence[float]
    share: float
    most_usd: float
    drawn: DrawnRows | None = None

    @property
    def instead(self) -> IndexArray | None:
        """What to book where drawn models are not paid for, int [n]; None: none was drawn."""
        return None if self.drawn is None else self.drawn.best

    def take(self, rows: IndexArray) -> Explored:
        """Returns the exploration of some rows, int [k]."""
        drawn = self.drawn
        if drawn is not None:
            part = DrawnRows(drawn.rows[rows], drawn.best[rows], drawn.reasons[rows])
            drawn = part if part.rows.any() else None
        propensity = [self.propensity[row] for row in rows.tolist()]
        return Explored(propensity, self.share, self.most_usd, drawn)
