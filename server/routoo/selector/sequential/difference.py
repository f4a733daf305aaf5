"""A confidence sequence for the difference of two arms' means, by betting.

Each request goes to the candidate with a fixed chance ``share``. From its outcome ``x`` in [0, 1]
and a baseline ``b``, the mean outcome so far, comes an unbiased estimate of the difference:

    z = (x - b) / share    or    z = -(x - b) / (1 - share).

For every possible difference a gambler bets against it; what can still be true is where the wealth
has never reached 1 / alpha (Waudby-Smith and Ramdas, arXiv 2010.09686, with the stakes of aGRAPA).
The true difference is among these at all times at once with a chance of at least 1 - alpha, so the
interval may be looked at, and acted on, after every outcome. The state does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from routoo.selector.arrays import FloatArray

_HALF = 200
# Differences that are tested: close to each other near 0, where decisions are made.
DIFFERENCES = np.sign(np.arange(-_HALF, _HALF + 1)) * (np.arange(-_HALF, _HALF + 1) / _HALF) ** 2
# The largest stake, as a part of the one that could lose everything.
_MOST = 0.5


@dataclass(slots=True)
class DifferenceInterval:
    """What is known of the candidate's mean minus the control's. Not thread-safe.

    Attributes:
        alpha: the chance that the interval ever misses the true difference, in (0, 1).
        share: the chance that a request goes to the candidate, in (0, 1).
        count: outcomes so far.
    """

    alpha: float
    share: float
    count: int = 0
    _outcomes: float = 0.0
    _sum: float = 0.0
    _squares: float = 0.0
    _wealth: FloatArray = field(default_factory=lambda: np.zeros(len(DIFFERENCES)))  # logs

    @property
    def mean(self) -> float:
        """The mean estimate of the difference; 0 before the first outcome."""
        return self._sum / self.count if self.count else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest difference that is not refuted; (-1, 1) at first."""
        left = np.flatnonzero(np.isfinite(self._wealth))
        if not left.size:  # beyond any doubt, and by no more than alpha
            return self.mean, self.mean
        # The truth may lie between two tested differences.
        low, high = max(left[0] - 1, 0), min(left[-1] + 1, len(DIFFERENCES) - 1)
        return float(DIFFERENCES[low]), float(DIFFERENCES[high])

    def add(self, outcome: float, *, is_candidate: bool) -> None:
        """Takes one outcome in [0, 1]."""
        baseline = (self._outcomes + 0.5) / (self.count + 1.0)
        z = (outcome - baseline) * (1 / self.share if is_candidate else -1 / (1 - self.share))
        mean = self._sum / (self.count + 1.0)
        most = max(1.0 / self.share, 1.0 / (1.0 - self.share))
        variance = (self._squares + most) / (self.count + 1.0) - mean**2
        gap = mean - DIFFERENCES
        limit = _MOST / (most + 1.0)
        stakes = np.clip(gap / (variance + gap**2), -limit, limit)
        self._wealth += np.log1p(stakes * (z - DIFFERENCES))
        self._wealth[self._wealth >= -np.log(self.alpha)] = np.inf  # refuted for good
        self.count += 1
        self._outcomes += outcome
        self._sum += z
        self._squares += z * z

    def values(self) -> dict[str, Any]:
        """Returns the state as plain values, for ``restored``."""
        return {
            "alpha": self.alpha,
            "share": self.share,
            "count": self.count,
            "outcomes": self._outcomes,
            "sum": self._sum,
            "squares": self._squares,
            # JSON knows no infinity.
            "wealth": [one if np.isfinite(one) else None for one in self._wealth.tolist()],
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the interval again.

        Raises:
            ValueError: these are not the values of an interval.
        """
        try:
            logs = [np.inf if one is None else float(one) for one in values["wealth"]]
            found = cls(
                float(values["alpha"]),
                float(values["share"]),
                int(values["count"]),
                float(values["outcomes"]),
                float(values["sum"]),
                float(values["squares"]),
                np.array(logs),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no interval of a difference: {error}") from None
        if len(logs) != len(DIFFERENCES):
            raise ValueError("an interval with other differences")
        return found
