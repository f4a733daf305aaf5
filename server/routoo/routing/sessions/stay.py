"""The choice within sessions: a model stays where leaving it gains too little, and the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.sessions.costs import moved_usd, turn_costs_usd, weighed_usd
from routoo.routing.sessions.facts import Tie
from routoo.routing.sessions.rows import tied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.routing.sessions.rows import SessionRows
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.selector.policies.base import Case, Policy


class Stay(IntEnum):
    """The reason for which the model of the turn before stays; the API has a value for each."""

    NONE = 0
    """It does not: there is none, or another model was chosen."""
    TOOL_LOOP = 1
    """The request answers its tool call."""
    TIED = 2
    """The request holds what only it, or its provider, can read, and no other of theirs is left."""
    CACHE = 3
    """Another model would have been chosen, if what is cached did not count."""
    MIN_GAIN = 4
    """Another model is better by less than ``sessions.min_gain``."""
    BEST = 5
    """It would have been chosen without the session, too."""

    @property
    def label(self) -> str:
        """The reason as a header's value."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class SessionTurns:
    """The turns of n requests, as the policies see them.

    Attributes:
        rows: the sessions.
        keys: by row, the key under which the session is kept; empty: it is not kept.
        alone: the input of policies that weigh no turns: costs as without a session.
        weighed: the input of policies that weigh the turns ahead.
        moved_usd: float64 [n, m], what leaving the current model costs in this turn.
        rival: int [n], the choice as without a session; -1: none, or no policy chose yet.
        gained: bool [n], rows that stay only because leaving gains too little.
    """

    rows: SessionRows
    keys: Sequence[bytes]
    alone: Case
    weighed: Case
    moved_usd: FloatArray
    rival: IndexArray
    gained: BoolArray

    def chosen_by(self, policy: Policy) -> tuple[IndexArray, ReasonArray, SessionTurns]:
        """Lets a policy choose, and models stay where leaving them gains too little.

        Models stay by the gain under policies that weigh turns. The others choose as without a
        session, among the models that its ties leave.

        Returns:
            The choice, int [n], its reasons, int8 [n] of ``Reason``, and the turns with what would
            have been chosen without a session.
        """
        rival = policy.choose(self.alone)
        case, choice, gained = self.alone, rival, self.gained
        if policy.weighs_turns:
            case, choice = self.weighed, policy.choose(self.weighed)
            gained = self._gains_too_little(choice)
            choice = np.where(gained, self.rows.current, choice)
        loops = tied(self.rows, Tie.TOOL_LOOP)
        if loops.any():  # of the model's arms the one that made the call, if it is eligible
            current = np.maximum(self.rows.current, 0)
            loops &= case.mask[np.arange(len(choice)), current]
            choice = np.where(loops, current, choice)
        codes = policy.explain(case, choice)
        return choice, codes, replace(self, rival=rival, gained=gained)

    def _gains_too_little(self, choice: IndexArray) -> BoolArray:
        case, current = self.weighed, self.rows.current
        row = np.arange(len(choice))
        can_stay = (current >= 0) & (choice >= 0) & (choice != current) & case.mask[row, current]
        gain = case.scores[row, choice] - case.scores[row, current]
        gain -= case.prices * (case.costs_usd[row, choice] - case.costs_usd[row, current])
        if case.charges is not None:
            gain -= case.charges[row, choice] - case.charges[row, current]
        gained: BoolArray = can_stay & (gain < self.rows.min_gain)
        return gained

    def merged(self, other: SessionTurns, rows: BoolArray) -> SessionTurns:
        """Returns these turns with what ``other`` tells of some rows, bool [n]."""
        return replace(
            self,
            rival=np.where(rows, other.rival, self.rival),
            gained=np.where(rows, other.gained, self.gained),
        )

    def stays(self, choice: IndexArray) -> ReasonArray:
        """Returns the reason for which each row's model stays, int8 [n] of ``Stay``."""
        rows = self.rows
        stays = (rows.current >= 0) & (choice == rows.current)
        alike = (self.rival == rows.current) | (self.rival < 0)
        codes = np.where(alike, np.int8(Stay.BEST), np.int8(Stay.CACHE))
        codes[self.gained] = Stay.MIN_GAIN
        held = tied(rows, Tie.PROVIDER | Tie.MODEL) & (self.alone.mask.sum(axis=1) == 1)
        codes[held] = Stay.TIED
        codes[tied(rows, Tie.TOOL_LOOP)] = Stay.TOOL_LOOP
        return np.where(stays, codes, np.int8(Stay.NONE))

    def decided(self, choice: IndexArray) -> DecidedTurns:
        """Returns the turns with the final choice, int [n]."""
        return DecidedTurns(
            self.rows,
            self.keys,
            self.stays(choice).tolist(),
            self.switch_costs_usd(choice).tolist(),
        )

    def switch_costs_usd(self, choice: IndexArray) -> FloatArray:
        """Returns what the switch costs in this turn, in USD, float64 [n].

        Where the model stays, it is that of the model that would have been chosen otherwise; 0
        where there is none.
        """
        row = np.arange(len(choice))
        stays = choice == self.rows.current
        target = np.where(stays, self.rival, choice)
        return np.where(target >= 0, self.moved_usd[row, target], 0.0)


@dataclass(frozen=True, slots=True)
class DecidedTurns:
    """The turns of sessions in a decided batch, as columns of n rows.

    Attributes:
        rows: the sessions before this turn.
        keys: by row, the key under which the session is kept; empty: it is not kept.
        stays: values of ``Stay``.
        switch_costs_usd: see ``SessionTurns.switch_costs_usd``.
    """

    rows: SessionRows
    keys: Sequence[bytes]
    stays: list[int]
    switch_costs_usd: list[float]

    def part(self, start: int, end: int) -> DecidedTurns:
        """Returns the turns of some rows, in memory of their own."""
        return DecidedTurns(
            self.rows.take(np.arange(start, end)),
            self.keys[start:end],
            self.stays[start:end],
            self.switch_costs_usd[start:end],
        )


def turns_of(
    rows: SessionRows,
    keys: Sequence[bytes],
    case: Case,
    alone_usd: FloatArray,
    estimates: Estimates,
    pool: Pool,
) -> SessionTurns:
    """Prepares the turns of n requests for their policies.

    Args:
        rows: the sessions.
        keys: by row, the key under which the session is kept; empty: it is not kept.
        case: the input of the policies, with what this turn costs.
        alone_usd: float64 [n, m], the costs as without a session.
        estimates: the predictions.
        pool: the m models.
    """
    figures = (estimates.input_tokens, estimates.output_tokens, estimates.priced_s)
    weighed = weighed_usd(rows, pool, case.costs_usd, *figures)
    return SessionTurns(
        rows=rows,
        keys=keys,
        alone=replace(case, costs_usd=alone_usd),
        weighed=replace(case, costs_usd=weighed),
        moved_usd=moved_usd(rows, pool, case.costs_usd, *figures),
        rival=np.full(len(rows), -1, np.intp),
        gained=np.zeros(len(rows), np.bool_),
    )


def in_turn(rows: SessionRows, estimates: Estimates, pool: Pool) -> Estimates:
    """Returns the estimates with what the turns of sessions cost."""
    figures = (estimates.input_tokens, estimates.output_tokens, estimates.priced_s)
    return replace(estimates, costs_usd=turn_costs_usd(rows, pool, *figures))
