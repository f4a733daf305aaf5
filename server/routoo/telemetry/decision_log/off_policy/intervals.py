"""Confidence intervals of a mean of independent terms, most of which are small and few large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray

LEVEL: Final = 0.95
RESAMPLES: Final = 400
_ROWS_AT_ONCE: Final = 10_000
_FLAT: Final = 1e-12
# Poisson counts of mean 1 by 16 random bits, several times faster than drawing each one.
_COUNTS: Final = stats.poisson.ppf((np.arange(65_536) + 0.5) / 65_536, 1.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of an interval that covers the truth with probability ``LEVEL``."""

    low: float
    high: float

    def around(self, other: Interval) -> Interval:
        """Returns the least interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def widened(self, down: float, up: float) -> Interval:
        """Returns the interval with its ends moved outwards."""
        return Interval(self.low - down, self.high + up)


def studentised(terms: FloatArray) -> Interval:
    """Returns an interval of the mean of ``terms`` [n] that allows for few large terms.

    It holds two: Student's with the degrees of freedom that the fourth moment leaves to the
    variance (Satterthwaite, 1946: 2n / (kurtosis - 1)), and the same corrected for skewness by
    Hall's cubic transformation (Hall, 1992, J. R. Stat. Soc. B 54).
    """
    n, mean = len(terms), float(terms.mean())
    centred = terms - mean
    scale = float(np.abs(centred).max(initial=0.0))
    if n < 2 or scale <= _FLAT * max(abs(mean), 1.0):
        return Interval(mean, mean)
    unit = centred / scale
    square = float(np.square(unit).mean())
    kurtosis = float((unit**4).mean()) / square**2
    freedom = 2.0 * n / max(kurtosis - 1.0, 1e-9)
    t = float(stats.t.ppf(0.5 + LEVEL / 2.0, max(freedom, 1.0)))
    se = scale * float(np.sqrt(square / (n - 1)))
    plain = Interval(mean - t * se, mean + t * se)
    skew = float((unit**3).mean()) / (square * float(np.sqrt(square * n)))
    if abs(skew) < 1e-9:
        return plain

    def turned(quantile: float) -> float:
        root = float(np.cbrt(1.0 + skew * (quantile - skew / 6.0)))
        return (root - 1.0) * 3.0 / skew

    return plain.around(Interval(mean - turned(t) * se, mean - turned(-t) * se))


def bernstein(terms: FloatArray, span: float) -> Interval:
    """Returns an interval that holds for every n, from the empirical Bernstein inequality.

    Maurer and Pontil, arXiv 0907.3740, theorem 4, for both sides.

    Args:
        terms: float64 [n].
        span: the greatest difference that two terms can have.
    """
    n, mean = len(terms), float(terms.mean())
    if n < 2:
        return Interval(float("-inf"), float("inf"))
    log = float(np.log(4.0 / (1.0 - LEVEL)))
    variance = float(terms.var(ddof=1))
    reach = float(np.sqrt(2.0 * variance * log / n)) + 7.0 * span * log / (3.0 * (n - 1))
    return Interval(mean - reach, mean + reach)


def bootstrap(
    tops: FloatArray, bottoms: FloatArray | None = None, *, seed: int = 0, draws: int = RESAMPLES
) -> list[Interval]:
    """Returns the percentile intervals over resampled decisions (Efron and Tibshirani, 1993).

    Each decision is drawn as often as a Poisson variable of mean 1 says, for all k figures alike.

    Args:
        tops: float64 [n, k]; a figure is its sum over that of ``bottoms``.
        bottoms: float64 [n, k]; None: ones, so that the figures are means.
        seed: of the resamples.
        draws: their number.
    """
    rng = np.random.default_rng(seed)
    n, k = tops.shape
    pairs = np.concatenate([tops, np.ones((n, k)) if bottoms is None else bottoms], axis=1)
    sums = np.zeros((draws, 2 * k))
    for start in range(0, n, _ROWS_AT_ONCE):
        part = pairs[start : start + _ROWS_AT_ONCE]
        drawn = rng.integers(0, len(_COUNTS), (draws, len(part)), np.uint16)
        sums += _COUNTS[drawn] @ part
    found = []
    for top, bottom in zip(sums[:, :k].T, sums[:, k:].T, strict=True):
        kept = bottom > 0.0
        low, high = -np.inf, np.inf
        if kept.any():
            ends = [0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0]
            low, high = np.quantile(top[kept] / bottom[kept], ends)
        found.append(Interval(float(low), float(high)))
    return found
