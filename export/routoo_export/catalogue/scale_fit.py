"""The scale of one test, found from models whose abilities are known already."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

_INTERCEPT_SD: Final = 3.0
_SLOPE_SD: Final = 0.3
_MISFIT: Final = (np.log(0.3), 0.5)


@dataclass(frozen=True, slots=True)
class FittedScale:
    """The scale of one test.

    Attributes:
        intercept: Logit of the mean score of a model of ability 0.
        slope: Logits per unit of ability.
        misfit: Variance in logits that neither ability nor sampling explains.
        uncertainty: Covariance of intercept and slope, float64 [2, 2].
    """

    intercept: float
    slope: float
    misfit: float
    uncertainty: NDArray[np.float64]

    def predict(
        self, mean: NDArray[np.float64], variance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of the logits of models with these abilities, sampling left out."""
        design = np.stack([np.ones_like(mean), mean], axis=-1)
        scale = np.einsum("mi,ij,mj->m", design, self.uncertainty, design)
        centre = self.intercept + self.slope * mean
        return centre, self.slope**2 * variance + self.misfit + scale


def fit_scale(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    logit: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> FittedScale:
    """Fit intercept, slope and misfit by maximum a posteriori likelihood.

    Args:
        mean: Posterior means of the ability that the test measures, float64 [m].
        variance: Posterior variances, float64 [m].
        logit: Logits of the models' mean scores, float64 [m].
        noise: Their variances by the choice of prompts, float64 [m].

    Returns:
        The scale; the priors are those of the estimator, so one model is enough.
    """

    def objective(values: NDArray[np.float64]) -> float:
        intercept, log_slope, log_misfit = values
        slope = np.exp(log_slope)
        spread = slope**2 * variance + noise + np.exp(2.0 * log_misfit)
        fit = np.sum(np.log(spread) + (logit - intercept - slope * mean) ** 2 / spread)
        distance = (
            (intercept / _INTERCEPT_SD) ** 2
            + (log_slope / _SLOPE_SD) ** 2
            + ((log_misfit - _MISFIT[0]) / _MISFIT[1]) ** 2
        )
        return float(0.5 * (fit + distance))

    start = np.array([float(np.mean(logit - mean)), 0.0, _MISFIT[0]])
    intercept, log_slope, log_misfit = minimize(objective, start, method="L-BFGS-B").x
    slope, misfit = float(np.exp(log_slope)), float(np.exp(2.0 * log_misfit))
    weights = 1.0 / (slope**2 * variance + noise + misfit)
    design = np.stack([np.ones_like(mean), mean], axis=-1)
    precision = (design * weights[:, None]).T @ design
    precision += np.diag([_INTERCEPT_SD**-2, (_SLOPE_SD * slope) ** -2])
    uncertainty = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    return FittedScale(float(intercept), slope, misfit, uncertainty)
