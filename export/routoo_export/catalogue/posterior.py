"""The posterior of the abilities, given scales and prior: Gaussian conditioning."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.estimator import (
    FittedHierarchy,
    measurement_buckets,
    measurement_terms,
)
from routoo_export.catalogue.likelihood import measurement_covariance
from routoo_export.catalogue.measurements import Measurements


@dataclass(frozen=True, slots=True)
class Abilities:
    """Gaussian posteriors of the abilities of m models on t tasks.

    Attributes:
        mean: Means, float64 [m, t].
        covariance: Covariances over the tasks, float64 [m, t, t].
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def measured(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Mean and variance of ``weights @ ability``, float64 [m] each; weights float64 [t]."""
        return self.mean @ weights, np.einsum("mtu,t,u->m", self.covariance, weights, weights)


def abilities(data: Measurements, fitted: FittedHierarchy) -> Abilities:
    """Condition each base model's abilities on its measurements.

    Args:
        data: The measurements; a model without any, of itself or a variant, keeps its prior.
        fitted: Scales and prior.

    Returns:
        The posteriors of all models of ``data``.
    """
    terms = measurement_terms(data, fitted.scales, fitted.prior)
    prior = fitted.prior.covariance()
    weighted = data.test_weights @ prior
    mean = fitted.prior.mean(data.regressors)
    covariance = np.broadcast_to(prior, (len(mean), *prior.shape)).copy()
    for bucket in measurement_buckets(data):
        # Padded places are independent of everything: a unit variance and no covariance.
        inverse = np.linalg.inv(measurement_covariance(bucket, terms))
        for place, members in enumerate(bucket.members):
            seen = members[bucket.real[place]]
            known = inverse[place][: len(seen), : len(seen)]
            cross = terms.slope[seen, None] * weighted[data.test[seen]]
            (variants,) = np.nonzero(data.base == data.base[data.row[seen[0]]])
            for row in variants:
                kin = np.where(data.effort[data.row[seen]] == data.effort[row], 1, 2)
                share = terms.share[np.where(data.row[seen] == row, 0, kin)]
                gain = (cross * share[:, None]).T @ known
                mean[row] += gain @ terms.residual[seen]
                covariance[row] -= gain @ (cross * share[:, None])
    return Abilities(mean, covariance)
