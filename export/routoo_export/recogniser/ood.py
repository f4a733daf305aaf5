"""The measure of unusual prompts: far from all prompts seen, or unlike any kind of task.

One measure is the distance to the nearest of many centres of the training prompts (Sun et al.,
"Out-of-distribution detection with deep nearest neighbors", ICML 2022), in directions in which
prompts of different origin differ most compared with prompts of one (Fisher's linear discriminant):
there, a new origin stands apart. The other is the logarithm of the summed exponentials of the task
logits (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020). Each becomes a rank
among prompts that were not trained on, and the larger is told; the second counts by its eighth
power, as it tells little but where it is extreme.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.cluster import MiniBatchKMeans

FloatArray = NDArray[np.float32]

KNOTS: Final = 24
DIRECTIONS: Final = 64
CENTRES: Final = 256
POWERS: Final = (1, 8)
"""The powers by which the ranks of the two measures count."""
_RIDGE: Final = 0.01
"""Part of the mean variance within an origin that is added to that of every direction."""
_FEWEST_OF_ORIGIN: Final = 8


@dataclass(frozen=True, slots=True)
class OodRanks:
    """Directions and centres, and the ranks of the two measures.

    Attributes:
        directions: Directions of pooled rows, in units of the spread within an origin, [f, d].
        offset: The mean of the training prompts in them, which is subtracted, [d].
        centres: Centres of the training prompts, [d, p].
        knots: Ends of the steps of each measure, rising, [2, k + 1]; a measure is larger where the
            prompt is more unusual.
    """

    directions: FloatArray
    offset: FloatArray
    centres: FloatArray
    knots: FloatArray

    def measures(self, pooled: FloatArray, logits: FloatArray) -> FloatArray:
        """Both measures [n, 2] of pooled rows [n, ...], f figures each, and task logits [n, t]."""
        at = pooled.reshape(len(pooled), -1) @ self.directions - self.offset
        apart = (self.centres**2).sum(axis=0) - 2.0 * (at @ self.centres)
        far = apart.min(axis=1) + (at**2).sum(axis=1)
        top = logits.max(axis=1)
        energy = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        return np.stack([far, -energy], axis=1)

    def ranks(self, measures: FloatArray) -> FloatArray:
        """The larger rank of each prompt, [n] in [0, 1]."""
        low, gaps = self.knots[:, :-1], np.diff(self.knots, axis=1)
        passed = np.clip((measures[:, :, None] - low) / gaps, 0.0, 1.0)
        ranks: FloatArray = (passed * self.steps).sum(axis=2).max(axis=1)
        return ranks

    @property
    def steps(self) -> FloatArray:
        """What each step of each measure adds to its rank, [2, k]."""
        share = np.linspace(0.0, 1.0, self.knots.shape[1])
        steps: FloatArray = np.diff(share ** np.array(POWERS)[:, None], axis=1).astype(np.float32)
        return steps

    def ranked_among(self, pooled: FloatArray, logits: FloatArray) -> "OodRanks":
        """The same with the ranks of ordinary prompts that were not trained on.

        Args:
            pooled: Their pooled rows, [n, ...].
            logits: Their task logits, [n, t].
        """
        measures = self.measures(pooled, logits)
        knots = np.quantile(measures, np.linspace(0.0, 1.0, KNOTS + 1), axis=0).T
        # Equal knots would leave a step without a width that float32 can tell.
        least = 1e-4 * np.maximum(np.abs(knots).max(axis=1, keepdims=True), 1.0)
        knots = np.maximum.accumulate(knots + np.arange(KNOTS + 1) * least, axis=1)
        return OodRanks(self.directions, self.offset, self.centres, knots.astype(np.float32))

    @classmethod
    def fit(
        cls,
        pooled: FloatArray,
        origins: Sequence[Hashable],
        *,
        directions: int = DIRECTIONS,
        centres: int = CENTRES,
        seed: int = 0,
    ) -> "OodRanks":
        """Fit directions and centres to the training prompts; ``ranked_among`` adds the ranks.

        Args:
            pooled: Pooled rows of prompts that were trained on, [n, ...].
            origins: Where each comes from, [n].
            directions: How many directions; at most the figures of a prompt.
            centres: How many centres; at most n.
            seed: Seed of the clustering.
        """
        rows = pooled.reshape(len(pooled), -1).astype(np.float64)
        centre = rows.mean(axis=0)
        rows -= centre
        within, between = _scatter(rows, origins)
        ridge = _RIDGE * np.trace(within) / len(within) + 1e-12
        _, vectors = eigh(between, within + ridge * np.eye(len(within)))
        found = vectors[:, -directions:]
        clusters = MiniBatchKMeans(
            min(centres, len(rows)), random_state=seed, n_init=1, batch_size=2048
        ).fit(rows @ found)
        return cls(
            directions=found.astype(np.float32),
            offset=(centre @ found).astype(np.float32),
            centres=np.ascontiguousarray(clusters.cluster_centers_.T, np.float32),
            knots=np.tile(np.arange(KNOTS + 1, dtype=np.float32), (2, 1)),
        )


def _scatter(
    rows: NDArray[np.float64], origins: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Covariances [f, f] within and between origins; rows [n, f] have the mean 0.

    Origins of few prompts say little of how prompts of one origin differ, so only the others count
    for that, or all of them where there are no others.
    """
    places: dict[Hashable, int] = {}
    of = np.array([places.setdefault(origin, len(places)) for origin in origins])
    count = np.bincount(of)
    means = np.zeros((len(places), rows.shape[1]))
    np.add.at(means, of, rows)
    means /= count[:, None]
    apart = rows - means[of]
    many = count[of] >= min(_FEWEST_OF_ORIGIN, count.max())
    within = apart[many].T @ apart[many] / many.sum()
    between = (means.T * (count / len(rows))) @ means
    return within, between
