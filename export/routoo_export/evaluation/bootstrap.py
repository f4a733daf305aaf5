"""The bootstrap over prompts: one set of resamples, shared by all figures, so that they pair.

A figure is a function of weights [r, n] on the prompts that gives r values, one per row. The first
row of ``Resamples`` is the data themselves; the others count how often a prompt was drawn (Efron
and
Tibshirani, An Introduction to the Bootstrap, chapters 6 and 13: standard error and percentile
interval).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Weights = NDArray[np.float32]
"""Weights on prompts, [r, n]; need not sum to anything."""

RESAMPLES: Final = 400
INTERVAL: Final = (2.5, 97.5)
_CELLS_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its standard error, and the percentile interval that covers 95 % of resamples."""

    value: float
    se: float
    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> "Estimate":
        """From values [r]: the first is on the data, the others are on resamples.

        Resamples on which the figure does not exist (NaN) are left out.
        """
        drawn = values[1:][np.isfinite(values[1:])]
        value = float(values[0])
        if len(drawn) < 2:
            return cls(value, float("nan"), float("nan"), float("nan"))
        low, high = np.percentile(drawn, INTERVAL)
        return cls(value, float(drawn.std(ddof=1)), float(low), float(high))

    def plain(self) -> dict[str, float]:
        """The four numbers by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Resamples:
    """weights float32 [1 + RESAMPLES, n]."""

    weights: Weights

    @classmethod
    def draw(cls, prompts: int, seed: int, count: int = RESAMPLES) -> "Resamples":
        """``count`` resamples of ``prompts`` prompts, besides the data themselves."""
        drawn = np.random.default_rng(seed).integers(0, prompts, (count, prompts))
        drawn += prompts * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=count * prompts).reshape(count, prompts)
        weights = np.ones((count + 1, prompts), dtype=np.float32)
        weights[1:] = counts
        return cls(weights)

    def of(self, keep: NDArray[np.bool_]) -> "Resamples":
        """The same resamples seen by the prompts in the mask ``keep`` [n]."""
        return Resamples(self.weights[:, keep])

    def values(self, figure: Callable[[Weights], FloatArray]) -> FloatArray:
        """``figure`` of all rows, in blocks that bound the memory it takes."""
        blocks = 1 + self.weights.size // _CELLS_AT_ONCE
        parts = np.array_split(self.weights, min(blocks, len(self.weights)))
        return np.concatenate([figure(part) for part in parts])

    def estimate(self, figure: Callable[[Weights], FloatArray]) -> Estimate:
        return Estimate.of(self.values(figure))
