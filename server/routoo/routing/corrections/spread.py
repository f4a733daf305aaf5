"""A distribution of logarithms that is learned value by value, follows shifts, and tells quantiles.

The newest values stand in a window as they are; older ones are counted in bins, and count less the
older they are, so that a quantile needs no law of the values: tails may be as heavy as they like.
When the median of the window leaves that of the older values, and not by chance, the older ones are
moved after it and count little: the shape of a distribution outlives a change of its place. The
test is the median's, so that no single value, however absurd, can cause it (Huber 1964 on why: a
median breaks down only when half of the values are wrong).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from routoo.request_fields import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.selector.arrays import FloatArray

WIDTH: Final = 0.06
"""The width of a bin, in natural logarithms: what a quantile is told to."""
BINS: Final = 128
WINDOW: Final = 30
"""The newest values that are kept as they are."""
PRIOR_STD: Final = 0.5
"""The standard deviation of logarithms that is assumed until values tell another one."""
PRIOR_PERCENTILES: Final = tuple(
    math.exp(PRIOR_STD * NormalDist().inv_cdf(one / 100.0) - 0.5 * PRIOR_STD**2)
    for one in PERCENTILES
)
"""Their exponentials, by the mean of all, of a normal law of that deviation."""
PRIOR_WEIGHT: Final = 6.0
"""The number of values that are assumed to scatter so."""
_CUT = math.log(8.0)  # in a mean, a value counts at most so much above the median
_REACH = 0.5 * BINS * WIDTH
# The tests: of how many of the newest values, and by how many standard errors their median has to
# be apart; at least by a quarter, whatever the scatter.
_TESTS = ((12, 4.0), (WINDOW, 3.5))
_EVERY = 4
_LEAST_APART = math.log(1.25)
_DEVIATION = (0.1587, 0.8413)  # of a normal law, the shares below the mean minus and plus one
_OF_MEDIAN = 1.2533  # the standard error of a median by that of a mean, of a normal law
_LEAST_BINNED = 5.0
_MOVED_WEIGHT = 20.0
_HIGHEST_UNIT = 1e9
_MOST = 200.0
_DEVIATIONS = np.linspace(-6.0, 6.0, 601)
_NORMAL = np.array([NormalDist().cdf(one) for one in _DEVIATIONS.tolist()])


@dataclass(frozen=True, slots=True)
class Spread:
    """A learned distribution of logarithms; a value that is never changed.

    Attributes:
        answers: the number of values ever.
        origin: the lower end of the first bin.
        unit: what a value that enters the bins counts; it grows, instead of all others shrinking.
        counts: [BINS], the values in the bins, in ``unit``; empty: none are.
        window: the newest values, the oldest first.
    """

    answers: int = 0
    origin: float = 0.0
    unit: float = 1.0
    counts: tuple[float, ...] = ()
    window: tuple[float, ...] = ()

    @property
    def weight(self) -> float:
        """The number of values that the distribution rests on, older ones counted less."""
        return math.fsum(self.counts) / self.unit + len(self.window)

    @property
    def recent(self) -> float:
        """The median of the newest values; there has to be one."""
        return _median(self.window)

    def add(self, value: float, memory: float) -> Spread:
        """Returns the distribution with one more value.

        Args:
            value: a finite logarithm.
            memory: the number of values after which an old one counts 1/e.
        """
        answers, window = self.answers + 1, (*self.window, value)
        if len(window) > WINDOW:
            added = self._binned(answers, window, memory)
        else:
            added = Spread(answers, self.origin, self.unit, self.counts, window)
        return added._followed() if answers % _EVERY == 0 else added

    def above(self, bound: float) -> float:
        """Returns a value in place of one of which is known only that it is above ``bound``.

        It is the median of what the distribution has above the bound, as Efron (1967) shares such
        a value out among those; where it has next to nothing there, the bound and as much again as
        values scatter.
        """
        if not self.answers:
            return bound + PRIOR_STD
        centre, std = self.median(), self._std()
        edges, shares = self._cumulated()
        below = _at(bound, edges, shares)
        if below > 1.0 - 1.0 / max(self.weight, 2.0):
            return max(bound, centre) + std
        return max(bound, _at(0.5 * (1.0 + below), shares, edges))

    def shifted(self, by: float) -> Spread:
        """Returns the distribution moved by a logarithm."""
        window = tuple(value + by for value in self.window)
        return Spread(self.answers, self.origin + by, self.unit, self.counts, window)

    def median(self) -> float:
        """Returns the median; there has to be a value."""
        if not self.counts:
            return _median(self.window)
        edges, shares = self._cumulated()
        return _at(0.5, shares, edges)

    def quantiles(self, shares: Sequence[float]) -> FloatArray:
        """Returns quantiles minus the median, float64 [k], with the assumed values among them.

        Args:
            shares: [k], in (0, 1).
        """
        edges, mixed = self._with_assumed()
        return np.asarray(np.interp(shares, mixed, edges), np.float64)

    def mean_factor(self) -> float:
        """Returns the mean of the values' exponentials, by the exponential of the median."""
        edges, mixed = self._with_assumed()
        middles = 0.5 * (edges[1:] + edges[:-1])
        told = np.diff(mixed)
        mean: float = np.average(np.exp(np.minimum(middles, _CUT)), weights=told).item()
        return mean

    def plain(self) -> list[Any]:
        """Returns the distribution as plain values, which ``read`` takes."""
        filled = [at for at, count in enumerate(self.counts) if count]
        first, end = (filled[0], filled[-1] + 1) if filled else (0, 0)
        counts = list(self.counts[first:end])
        return [self.answers, self.origin, self.unit, first, counts, list(self.window)]

    @classmethod
    def read(cls, values: Sequence[Any]) -> Self:
        """Makes a distribution of what ``plain`` returned.

        Raises:
            ValueError, TypeError: it is none.
        """
        answers, origin, unit, first, counts, window = values
        if any(isinstance(one, bool) or not isinstance(one, int) for one in (answers, first)):
            raise TypeError("a number of values is no whole number")
        told = [float(origin), float(unit), *map(float, counts), *map(float, window)]
        if not all(map(math.isfinite, told)) or min(answers, first) < 0 or not unit >= 1.0:
            raise ValueError("the figures of a distribution have to be finite numbers")
        if first + len(counts) > BINS or len(window) > WINDOW or any(one < 0 for one in counts):
            raise ValueError("the counts of a distribution are not those of its bins")
        if answers and not (sum(counts) or window):
            raise ValueError("a distribution has values, and does not tell them")
        if any(abs(one) > _MOST for one in (origin, *window)):
            raise ValueError(f"a logarithm is beyond {_MOST:g}")
        whole: tuple[float, ...] = ()
        if counts:
            after = BINS - first - len(counts)
            whole = (*[0.0] * first, *map(float, counts), *[0.0] * after)
        return cls(answers, float(origin), float(unit), whole, tuple(map(float, window)))

    def _binned(self, answers: int, window: tuple[float, ...], memory: float) -> Spread:
        """Returns the distribution with a window whose oldest value has moved to the bins."""
        origin, counts = self.origin, list(self.counts)
        if not counts:
            counts, origin = [0.0] * BINS, _median(window) - _REACH
        counts[_bin(window[0], origin)] += self.unit
        unit = self.unit / (1.0 - 1.0 / memory)
        if unit > _HIGHEST_UNIT:
            counts, unit = [count / unit for count in counts], 1.0
        return Spread(answers, origin, unit, tuple(counts), window[1:])

    def _followed(self) -> Spread:
        """Moves the bins after the window, if that tells something else; keeps them centred."""
        binned = math.fsum(self.counts) / self.unit
        if binned < _LEAST_BINNED:
            return self
        edges, shares = _cumulated(np.array(self.counts), self.origin)
        low, high = (_at(one, shares, edges) for one in _DEVIATION)
        centre, std = _at(0.5, shares, edges), 0.5 * (high - low)
        for newest, errors in _TESTS:
            if len(self.window) < newest:
                continue
            apart = _median(self.window[-newest:]) - centre
            chance = errors * _OF_MEDIAN * std / math.sqrt(newest)
            if abs(apart) > max(_LEAST_APART, chance):
                return self._moved(apart, binned, newest)
        off = centre - self.origin - _REACH
        return self._centred(off) if abs(off) > 0.4 * _REACH else self

    def _moved(self, by: float, binned: float, newest: int) -> Spread:
        """Moves all but the newest values, and lets the bins count little."""
        # What is in the window from before the shift would otherwise stay where it was.
        window = self.window[-newest:]
        less = min(1.0, _MOVED_WEIGHT / binned)
        counts = tuple(count * less for count in self.counts)
        return Spread(self.answers, self.origin + by, self.unit, counts, window)

    def _centred(self, off: float) -> Spread:
        """Moves the bins' origin by whole bins, so that the median is in the middle again."""
        bins = round(off / WIDTH)
        counts = [0.0] * BINS
        for at, count in enumerate(self.counts):
            counts[min(max(at - bins, 0), BINS - 1)] += count
        origin = self.origin + bins * WIDTH
        return Spread(self.answers, origin, self.unit, tuple(counts), self.window)

    def _std(self) -> float:
        low, high = self.quantiles(_DEVIATION).tolist()
        std: float = 0.5 * (high - low)
        return max(std, WIDTH)

    def _cumulated(self) -> tuple[FloatArray, FloatArray]:
        origin = self.origin if self.counts else _median(self.window) - _REACH
        counts = np.array(self.counts or (0.0,) * BINS) / self.unit
        for value in self.window:
            counts[_bin(value, origin)] += 1.0
        return _cumulated(counts, origin)

    def _with_assumed(self) -> tuple[FloatArray, FloatArray]:
        """Returns edges minus the median, and the shares below them with the assumed values."""
        if not self.answers:
            edges = _edges(-_REACH)
            return edges, _normal(edges)
        edges, shares = self._cumulated()
        edges = edges - _at(0.5, shares, edges)
        weight = self.weight
        mixed = (weight * shares + PRIOR_WEIGHT * _normal(edges)) / (weight + PRIOR_WEIGHT)
        return edges, mixed


def _median(values: Sequence[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])


def _bin(value: float, origin: float) -> int:
    at = (value - origin) / WIDTH
    return int(min(max(at, 0.0), BINS - 1.0))


def _cumulated(counts: FloatArray, origin: float) -> tuple[FloatArray, FloatArray]:
    """Returns the edges of bins, float64 [BINS + 1], and the shares of the values below them."""
    shares: FloatArray = np.concatenate(([0.0], np.cumsum(counts)))
    return _edges(origin), shares / shares[-1]


def _edges(origin: float) -> FloatArray:
    return origin + WIDTH * np.arange(BINS + 1, dtype=np.float64)


def _at(where: float, from_: FloatArray, to: FloatArray) -> float:
    """Returns what stands at a place between ascending places, interpolated."""
    found: float = np.interp(where, from_, to).item()
    return found


def _normal(edges: FloatArray) -> FloatArray:
    return np.asarray(np.interp(edges / PRIOR_STD, _DEVIATIONS, _NORMAL), np.float64)
