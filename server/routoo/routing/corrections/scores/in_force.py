"""The scores in force: what was learned of a pool's models, as arrays in the order of the pool.

A score of odds s / (1 - s) becomes one of odds r s / (1 - s), which adds log r to its logit.
Computed as r s / (1 + (r - 1) s), it takes no function whose last bits depend on the machine or on
the batch, so that replay is exact.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.policies.lp import round_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray

# Ratios are rounded to so many decimals, which is all that is used of them.
_DIGITS = 4
LEAST_RATIO, MOST_RATIO = 1e-3, 1e3
"""Bounds of a ratio of odds."""
# A ratio that has moved by no more, as a logarithm, stays as it is.
_WORTH_A_CHANGE = 0.01
_CLOSEST = 1e-3  # nearer to 0 and 1, odds could not be moved
_NOBODY: Mapping[str, FloatArray] = {}


@dataclass(frozen=True, eq=False)
class LearnedScores:
    """What changes the scores of m models on prompts of k kinds; never changed.

    Attributes:
        models: [m], names in the pool.
        kinds: [k], the kinds of task that the predictor tells apart.
        odds: float64 [k + 1, m], by which the odds of a score are multiplied; the last row is for
            prompts whose kind is not known.
        spread: float64 [k + 1, m], by which the standard deviation of its logit is.
        tenants: by tenant, float64 [m], by which the odds are multiplied besides.
    """

    models: tuple[str, ...]
    kinds: tuple[str, ...]
    odds: FloatArray = field(repr=False)
    spread: FloatArray = field(repr=False)
    tenants: Mapping[str, FloatArray] = field(default_factory=lambda: _NOBODY, repr=False)

    def __post_init__(self) -> None:
        rounded = {name: _ratios(one) for name, one in self.tenants.items()}
        object.__setattr__(self, "odds", _ratios(self.odds))
        object.__setattr__(self, "spread", np.round(self.spread, _DIGITS))
        object.__setattr__(self, "tenants", rounded)

    @classmethod
    def neutral(cls, models: Sequence[str], kinds: Sequence[str]) -> LearnedScores:
        """Returns what changes nothing."""
        ones = np.ones((len(kinds) + 1, len(models)))
        return cls(tuple(models), tuple(kinds), ones, ones)

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether every score stays as it is."""
        shared = (self.odds == 1.0).all() and (self.spread == 1.0).all()
        return bool(shared and all((one == 1.0).all() for one in self.tenants.values()))

    @cached_property
    def id(self) -> str:
        """Identifies the content, by 12 hexadecimal digits."""
        found = hashlib.sha256("\0".join((*self.models, "", *self.kinds)).encode())
        found.update(np.ascontiguousarray(self.odds).tobytes())
        found.update(np.ascontiguousarray(self.spread).tobytes())
        for name in sorted(self.tenants):
            found.update(name.encode() + b"\0" + self.tenants[name].tobytes())
        return found.hexdigest()[:12]

    def rows(
        self, tasks: NDArray[np.int64] | None, tenants: Sequence[str]
    ) -> tuple[FloatArray, FloatArray]:
        """Returns the ratios of odds, and of standard deviations, of n prompts, float64 [n, m].

        Args:
            tasks: int64 [n], positions in ``kinds``; None: the kinds are not known.
            tenants: [n], whose prompts they are.
        """
        at: Any = tasks
        if at is None:
            at = np.full(len(tenants), len(self.kinds), np.int64)
        odds = self.odds[at]
        if self.tenants:
            for row, name in enumerate(tenants):
                own = self.tenants.get(name)
                if own is not None:
                    odds[row] *= own
        return odds, self.spread[at]

    def is_near(self, other: LearnedScores) -> bool:
        """Returns whether no ratio has moved by so much that it is worth a new version.

        Args:
            other: of the same models and kinds.
        """
        if self.tenants.keys() != other.tenants.keys():
            return False
        pairs = [(self.odds, other.odds), (self.spread, other.spread)]
        pairs += [(one, other.tenants[name]) for name, one in self.tenants.items()]
        return all(
            float(np.abs(np.log(one / two)).max(initial=0.0)) <= _WORTH_A_CHANGE
            for one, two in pairs
        )


def learned_scores(plain: FloatArray, odds: FloatArray) -> FloatArray:
    """Returns scores with their odds multiplied, float64 [n, m], rounded to 1e-4.

    Args:
        plain: float64 [n, m], as predicted, rounded to 1e-4.
        odds: float64 [n, m], ratios; where one is 1, the score stays as it is.
    """
    inside = np.maximum(plain, _CLOSEST)
    np.minimum(inside, 1.0 - _CLOSEST, out=inside)
    below = (odds - 1.0) * inside
    below += 1.0
    inside *= odds
    inside /= below
    return round_scores(np.where(odds == 1.0, plain, inside))


def learned_std(
    std: FloatArray, plain: FloatArray, odds: FloatArray, spread: FloatArray
) -> FloatArray:
    """Returns the standard deviations of learned scores, by the delta method, float64 [n, m].

    Args:
        std: float64 [n, m], of the scores as predicted.
        plain: float64 [n, m], these scores.
        odds: float64 [n, m], ratios of odds.
        spread: float64 [n, m], ratios of standard deviations of the logit.
    """
    stretched = 1.0 + (odds - 1.0) * plain
    found: FloatArray = std * spread * (odds / (stretched * stretched))
    return found


def _ratios(values: FloatArray) -> FloatArray:
    inside = np.clip(np.asarray(values, np.float64), LEAST_RATIO, MOST_RATIO)
    rounded: FloatArray = np.round(inside, _DIGITS)
    rounded.setflags(write=False)
    return rounded
