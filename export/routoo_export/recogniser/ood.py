"""The measure of unusual prompts: unlike the nearest prompts seen, or unlike any kind of task.

A prompt's hidden units are compared with prototypes, the centres of clusters of the training
prompts: the mean cosine to the five nearest is one measure (Sun et al., "Out-of-distribution
detection with deep nearest neighbors", ICML 2022), the logarithm of the summed exponentials of the
task logits the other (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020). Each
becomes a rank among prompts that were not trained on, and the larger rank is told.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

FloatArray = NDArray[np.float32]

NEAREST: Final = 5
KNOTS: Final = 24


@dataclass(frozen=True, slots=True)
class OodRanks:
    """Prototypes, and the ranks of the two measures.

    Attributes:
        prototypes: Unit vectors, [u, p].
        knots: Ends of the steps of each measure, rising, [2, k + 1]; a measure is larger where the
            prompt is more unusual.
    """

    prototypes: FloatArray
    knots: FloatArray

    def measures(self, hidden: FloatArray, logits: FloatArray) -> FloatArray:
        """Both measures [n, 2] of hidden units [n, u] and task logits [n, t]."""
        near = np.sort(unit_vectors(hidden) @ self.prototypes, axis=1)[:, -NEAREST:].mean(axis=1)
        top = logits.max(axis=1)
        energy = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        return np.stack([-near, -energy], axis=1)

    def ranks(self, measures: FloatArray) -> FloatArray:
        """The larger rank of each prompt, [n] in [0, 1]."""
        low, gaps = self.knots[:, :-1], np.diff(self.knots, axis=1)
        passed = np.clip((measures[:, :, None] - low) / gaps, 0.0, 1.0)
        ranks: FloatArray = passed.mean(axis=2).max(axis=1)
        return ranks

    @classmethod
    def fit(
        cls,
        trained: FloatArray,
        others: FloatArray,
        other_logits: FloatArray,
        *,
        prototypes: int = 128,
        seed: int = 0,
    ) -> "OodRanks":
        """Fit the ranks.

        Args:
            trained: Hidden units of prompts that were trained on, [n, u].
            others: Hidden units of ordinary prompts that were not, [k, u].
            other_logits: Their task logits, [k, t].
            prototypes: Clusters.
            seed: Seed of the clustering.
        """
        clusters = MiniBatchKMeans(
            min(prototypes, len(trained)), random_state=seed, n_init=1, batch_size=2048
        )
        centres = clusters.fit(unit_vectors(trained)).cluster_centers_
        found = np.ascontiguousarray(unit_vectors(centres.astype(np.float32)).T)
        measures = cls(found, np.zeros((2, 2), np.float32)).measures(others, other_logits)
        knots = np.quantile(measures, np.linspace(0.0, 1.0, KNOTS + 1), axis=0).T
        # Equal knots would leave a step without a width.
        knots = np.maximum.accumulate(knots + np.arange(KNOTS + 1) * 1e-5, axis=1)
        return cls(found, knots.astype(np.float32))


def unit_vectors(values: FloatArray) -> FloatArray:
    """Rows divided by their lengths."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: FloatArray = values / np.maximum(lengths, np.float32(1e-12))
    return unit
