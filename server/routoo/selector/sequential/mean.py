"""A confidence sequence for one arm's mean outcome, in closed form.

The empirical-Bernstein boundary by polynomial stitching of Howard, Ramdas, McAuliffe and Sekhon
2021 (theorem 4 and equation 10, arXiv 1810.08240): at all times at once, the running mean of the
conditional expectations of outcomes in [0, 1] is inside with a chance of at least 1 - alpha. The
outcomes need not be alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2, sqrt

_ETA = 2.0
_POWER = 1.4
_ZETA = 3.1055  # Riemann's zeta at _POWER, rounded up
_K1 = (_ETA**0.25 + _ETA**-0.25) / sqrt(2.0)
_K2 = (sqrt(_ETA) + 1.0) / 2.0


@dataclass(slots=True)
class MeanInterval:
    """The outcomes of one arm. Not thread-safe.

    Attributes:
        count: outcomes so far.
        total: their sum.
        variance: sum of their squared distances from the mean before each.
    """

    count: int = 0
    total: float = 0.0
    variance: float = 0.0

    @property
    def mean(self) -> float:
        """The mean outcome; 0 before the first."""
        return self.total / self.count if self.count else 0.0

    def add(self, outcome: float) -> None:
        """Takes one outcome in [0, 1]."""
        before = (self.total + 0.5) / (self.count + 1.0)
        self.variance += (outcome - before) ** 2
        self.count += 1
        self.total += outcome

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Returns the interval, within [0, 1], that is missed with a chance of at most alpha."""
        if not self.count:
            return 0.0, 1.0
        variance = max(self.variance, 1.0)
        # One half of alpha for either side.
        level = _POWER * log(log2(_ETA * variance)) + log(_ZETA * 2.0 / alpha)
        width = sqrt(_K1**2 * variance * level + _K2**2 * level**2) + _K2 * level
        width /= self.count
        return max(0.0, self.mean - width), min(1.0, self.mean + width)
