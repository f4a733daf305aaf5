"""The decision to explore: which requests get another model than the best, and with what odds.

A share of the requests is drawn. Each of them gets one of the models that could stand in for the
best one: those that are eligible, are expected to score at least ``floor`` times what it scores,
and cost no more than it beyond what the budget for exploring has left. Which one is a draw of
Thompson's: the probability of each that it has the highest worth of them, where a worth is normal
about score minus price times cost, with the standard deviation of the score. As the best model is
none of them, its propensity is 1 minus the share wherever there is one, so that nothing has to be
integrated for the requests that are not drawn (as the challenger is drawn in Russo 2016, "Simple
Bayesian algorithms for best-arm identification", arXiv 1602.08448).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from routoo.selector.exploring.draws import draws, start_of
from routoo.selector.exploring.thompson import best_probabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.policies.base import Case

STD_DIGITS: Final = 4
"""Digits of a standard deviation that count, which are those in the decision log."""
LEAST_STD: Final = 1e-3
"""A smaller standard deviation counts as this: no score is known better."""
SHARE: Final = "share"
"""The use of the draws that choose the explored decisions."""
_MODEL: Final = "model"
_ROUNDING: Final = 1e-12  # a share of the floor: 0.8 times 0.5 is not above 0.4


@dataclass(frozen=True, slots=True)
class Exploration:
    """The rule for exploring.

    Attributes:
        floor: least predicted score of a model, as a share of the best one's, in [0, 1].
        seed: of the draws.
        unknown_times: requests that an unknown model could answer are explored so many times as
            often as others, at least 1.
        unknown_above: a model is unknown whose predicted score has a standard deviation above this,
        known_below: until reports have taken it to this.
    """

    floor: float
    seed: int
    unknown_times: float = 1.0
    unknown_above: float = inf
    known_below: float = 0.0

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the rule again from the values that ``logged`` returned."""
        return cls(float(values["floor"]), int(values["seed"]))

    def logged(self) -> dict[str, Any]:
        """Returns what draws follow from, as plain values, for the decision log.

        The share that came of the other attributes is in each decision.
        """
        return {"floor": self.floor, "seed": self.seed}

    def others(self, case: Case, best: IndexArray, stds: FloatArray, most: FloatArray) -> BoolArray:
        """Returns the models that could stand in for the best ones, bool [n, m].

        Args:
            case: the input of the choice.
            best: int [n], the choice; rows with -1 have no others.
            stds: float64 [n, m], standard deviations of the scores; NaN: not known.
            most: float64 [n], USD that a model may cost beyond the best one.
        """
        rows = np.arange(len(best))
        least = case.scores[rows, best] * (self.floor * (1.0 - _ROUNDING))
        found: BoolArray = case.scores >= least[:, None]
        found &= case.costs_usd - case.costs_usd[rows, best][:, None] <= most[:, None]
        found &= case.mask
        found &= ~np.isnan(stds)
        found[rows, best] = False
        found[best < 0] = False
        return found

    def has_other(self, case: Case, row: int, best: int, stds: FloatArray, most_usd: float) -> bool:
        """Returns whether ``others`` has any in a row, by numbers instead of arrays.

        Mostly one of the first columns is one.
        """
        if best < 0:
            return False
        score_of, cost_usd_of = case.scores.item, case.costs_usd.item
        least = score_of(row, best) * (self.floor * (1.0 - _ROUNDING))
        cost_usd = cost_usd_of(row, best)
        for column in range(case.scores.shape[1]):
            if (
                score_of(row, column) >= least
                and column != best
                and cost_usd_of(row, column) - cost_usd <= most_usd
                and case.mask.item(row, column)
                and not isnan(stds.item(row, column))
            ):
                return True
        return False

    def shares(
        self, others: BoolArray, stds: FloatArray, plain_stds: FloatArray | None, share: float
    ) -> FloatArray:
        """Returns the share of requests like each row that are explored, float64 [n].

        By the share of all requests, a model that nothing is known of would be found only after
        thousands of them.

        Args:
            others: bool [n, m], see ``others``.
            stds: float64 [n, m], standard deviations of the scores.
            plain_stds: float64 [n, m], the same as the predictor told them; None: they are equal.
            share: the share where no model is unknown.
        """
        told = stds if plain_stds is None else plain_stds
        unknown = others & (told > self.unknown_above) & (stds > self.known_below)
        return np.where(unknown.any(axis=1), share * self.unknown_times, share)

    def uniforms(
        self, prefixes: Sequence[str], tickets: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        """Returns the numbers that stand for chance: for the share, and for the model.

        Args:
            prefixes: [n], of the decisions' ids.
            tickets: int64 [n], the numbers in the ids.

        Returns:
            Two float64 [n], in [0, 1).
        """
        found = np.empty((2, len(tickets)))
        for prefix in dict.fromkeys(prefixes):
            rows = np.array([one == prefix for one in prefixes])
            for at, use in enumerate((SHARE, _MODEL)):
                found[at, rows] = draws(start_of(self.seed, use, prefix), tickets[rows])
        return found[0], found[1]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The result of drawing for n requests.

    Attributes:
        choice: int [n], the best model, or the one that was drawn.
        drawn: bool [n], rows with a drawn one.
        propensity: float64 [n], probability of the choice; 1 where there was no other.
    """

    choice: IndexArray
    drawn: BoolArray
    propensity: FloatArray


def drawn(
    case: Case,
    best: IndexArray,
    others: BoolArray,
    stds: FloatArray,
    share: FloatArray,
    uniforms: tuple[FloatArray, FloatArray],
) -> Drawn:
    """Draws the requests that are explored, and their models.

    Args:
        case: the input of the choice.
        best: int [n], the choice by the policy.
        others: bool [n, m], see ``Exploration.others``; rows without any are not explored.
        stds: float64 [n, m], standard deviations of the scores.
        share: float64 [n], share of requests that are explored.
        uniforms: see ``Exploration.uniforms``; below the share, the request is explored.
    """
    by_share, by_model = uniforms
    could = others.any(axis=1)
    is_drawn = could & (by_share < share)
    choice, propensity = best.copy(), np.where(could, 1.0 - share, 1.0)
    rows = np.flatnonzero(is_drawn)
    if rows.size:
        odds = probabilities(case, rows, others, stds)
        columns = _drawn_columns(odds, by_model[rows])
        choice[rows] = columns
        propensity[rows] = share[rows] * odds[np.arange(len(rows)), columns]
    return Drawn(choice, is_drawn, propensity)


def probabilities(case: Case, rows: IndexArray, others: BoolArray, stds: FloatArray) -> FloatArray:
    """Returns the probability of each model where a request is explored, float64 [k, m].

    Args:
        case: the input of the choice.
        rows: int [k], rows with at least one other model.
        others: bool [n, m].
        stds: float64 [n, m].
    """
    worth = case.scores[rows] - case.prices[rows, None] * case.costs_usd[rows]
    if case.charges is not None:
        worth -= case.charges[rows]
    spread = np.maximum(np.round(stds[rows], STD_DIGITS), LEAST_STD)
    return best_probabilities(worth, spread, others[rows])


def _drawn_columns(odds: FloatArray, uniforms: FloatArray) -> IndexArray:
    """Returns the column at each number in [0, 1), int [k], of odds float64 [k, m]."""
    ends = np.cumsum(odds, axis=1)
    found: IndexArray = (ends <= uniforms[:, None]).sum(axis=1)
    # A sum may end a rounding below 1: the last model that has odds takes what is beyond.
    last = odds.shape[1] - 1 - (odds[:, ::-1] > 0.0).argmax(axis=1)
    np.minimum(found, last, out=found)
    return found
