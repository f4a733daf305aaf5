"""The bootstrap over prompts: one set of resamples, shared by all figures.

Because they share the resamples, differences of figures have paired errors. A figure is a function
of weights [r, n] on the prompts that gives r values, one per row. The first row of ``Resamples``
stands for the data themselves; the others count how often each prompt was drawn (Efron and
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
"""Weights on prompts, [r, n]; their sums are arbitrary."""

RESAMPLES: Final = 400
INTERVAL: Final = (2.5, 97.5)
_CELLS_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its standard error, and the percentile interval that covers 95 % of resamples.

    Attributes:
        value: The figure on the data.
        se: Its standard error.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    se: float
    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> "Estimate":
        """Estimate from values [r], the first on the data and the others on resamples.

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
    """The data and their resamples.

    Attributes:
        weights: Weight of each prompt in each of them, float32 [1 + RESAMPLES, n].
    """

    weights: Weights

    @classmethod
    def draw(cls, prompts: int, seed: int, count: int = RESAMPLES) -> "Resamples":
        """Draw ``count`` resamples of ``prompts`` prompts, after the row of the data themselves."""
        drawn = np.random.default_rng(seed).integers(0, prompts, (count, prompts))
        drawn += prompts * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=count * prompts).reshape(count, prompts)
        weights = np.ones((count + 1, prompts), dtype=np.float32)
        weights[1:] = counts
        return cls(weights)

    def of(self, keep: NDArray[np.bool_]) -> "Resamples":
        """The same resamples, of the prompts in the mask ``keep`` [n] alone."""
        return Resamples(self.weights[:, keep])

    def values(self, figure: Callable[[Weights], FloatArray]) -> FloatArray:
        """Compute ``figure`` of all rows, in blocks that bound its memory."""
        blocks = 1 + self.weights.size // _CELLS_AT_ONCE
        parts = np.array_split(self.weights, min(blocks, len(self.weights)))
        return np.concatenate([figure(part) for part in parts])

    def estimate(self, figure: Callable[[Weights], FloatArray]) -> Estimate:
        """Compute ``figure`` and its error."""
        return Estimate.of(self.values(figure))
