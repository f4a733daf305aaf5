"""The draws of a batch, as columns: what was explored, and how probable each choice was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.sessions.facts import Tie
from routoo.routing.sessions.rows import tied
from routoo.selector.policies.guarantee import Guarantee

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.routing.sessions.rows import SessionRows
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.selector.policies.base import Policy


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
        shares: [n], share of requests like it that were explored, of those that could be.
        most_usd: what a model might cost beyond the best one.
        drawn: the drawn rows; None: there are none.
    """

    propensity: Sequence[float]
    shares: Sequence[float]
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
        at = rows.tolist()
        propensity, shares = ([one[row] for row in at] for one in (self.propensity, self.shares))
        return Explored(propensity, shares, self.most_usd, drawn)


def drawing_of(policies: Mapping[str, Policy]) -> Guarantee | None:
    """Returns the policy that draws some of its choices itself; None: none of these does."""
    for policy in policies.values():
        if isinstance(policy, Guarantee) and policy.share:
            return policy
    return None


def drawn_odds(
    policy: Guarantee,
    choice: IndexArray,
    reasons: ReasonArray,
    mask: BoolArray,
    sessions: SessionRows | None,
) -> FloatArray:
    """Returns the chances that a policy's own draws had for the choices, float64 [n].

    A loop of tool calls stays with its model, whatever is drawn.

    Args:
        policy: draws the reference now and then.
        choice: int [n], of the policies, before anything turned it.
        reasons: int8 [n], its reasons.
        mask: bool [n, m], eligible cells.
        sessions: the sessions of the requests; None: no row has one.
    """
    odds = policy.odds(reasons, choice, mask)
    if sessions is not None:
        odds[tied(sessions, Tie.TOOL_LOOP) & (choice == sessions.current)] = 1.0
    return odds


def certain(odds: FloatArray | None, rows: BoolArray) -> FloatArray | None:
    """Returns chances with those of some rows, bool [n], at 1, as no draw made their choice."""
    return None if odds is None else np.where(rows, 1.0, odds)


def settled_odds(
    odds: FloatArray, moved: BoolArray, mask: BoolArray, unlimited: BoolArray | None
) -> list[float]:
    """Returns the chances of choices in the policies' own draws, as they came out in the end.

    Where a budget or a provider's limit had no room for what was chosen at first, the chance is not
    known, NaN: the second choice depends on what was drawn.

    Args:
        odds: float64 [n], the chances of the first choices.
        moved: bool [n], requests that the booking gave another model.
        mask: bool [n, m], eligible cells.
        unlimited: bool [n, m], those before limits closed some; None: they closed none.
    """
    if unlimited is not None:
        moved = moved | (unlimited != mask).any(axis=1)
    settled: list[float] = np.where(moved & (odds < 1.0), np.nan, odds).tolist()
    return settled
