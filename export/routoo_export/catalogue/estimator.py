"""Empirical-Bayes estimation of abilities, tests and prior by maximum marginal likelihood.

A measurement is ``logit(mean score) = a[j] + b[j] * w[j] @ theta[m] + u[m, family(j)] + noise``.
The abilities theta and the deviations u are integrated out; everything else is found by L-BFGS on
the marginal likelihood with weak priors (maximum a posteriori, type II). It is linear equating with
random examinees; the covariance over tasks is that of a confirmatory factor analysis.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from routoo_export.catalogue.ability import FACTOR_NAMES, AbilityPrior, factor_loadings
from routoo_export.catalogue.likelihood import PaddedGroups, Terms, log_likelihood, make_buckets
from routoo_export.catalogue.measurements import Measurements

# Centre and spread of the priors of the logarithms of what is estimated.
_SLOPE: Final = (0.0, 0.3)
_MISFIT: Final = (np.log(0.3), 0.5)
_FAMILY: Final = (np.log(0.3), 0.5)
_FACTOR: Final = (np.log(0.5), 0.5)
_TASK: Final = (np.log(0.25), 0.5)
# Of the logit of the effort levels' correlation, and of how much closer hosts are.
_EFFORT: Final = (1.5, 1.0)
_HOST: Final = (3.0, 1.0)
_INTERCEPT_SD: Final = 3.0
_COEFFICIENT_SD: Final = 0.5
# Bounds, in spreads of the priors, keep a step of the optimiser from overflowing.
_FARTHEST: Final = 6.0
_STEPS: Final = 200


@dataclass(frozen=True, slots=True)
class Scales:
    """The scale of each test.

    Attributes:
        intercept: Logit of the mean score of a model of ability 0, float64 [j].
        slope: Logits per unit of ability, float64 [j].
        misfit: Variance in logits that neither ability nor sampling explains, float64 [j].
        family: Variance in logits that tests of one family share, float64 [families].
    """

    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    misfit: NDArray[np.float64]
    family: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedHierarchy:
    """Scales of the tests and prior of the abilities, fitted together.

    Attributes:
        scales: The scales of the tests.
        prior: The prior of the abilities.
        log_likelihood: The marginal log-likelihood that was reached.
        steps: Steps of the optimiser.
    """

    scales: Scales
    prior: AbilityPrior
    log_likelihood: float
    steps: int


class _Layout:
    """The places of the parameters in one flat vector."""

    def __init__(self, tests: int, families: int, regressors: int) -> None:
        sizes = {
            "intercept": tests,
            "slope": tests,
            "misfit": tests,
            "family": families,
            "factor": len(FACTOR_NAMES),
            "task": 1,
            "effort": 1,
            "host": 1,
            "coefficients": regressors * len(FACTOR_NAMES),
        }
        ends = np.cumsum(list(sizes.values()))
        self.size = int(ends[-1])
        self.places = {
            name: slice(int(end) - size, int(end))
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        self.centre = np.zeros(self.size)
        self.spread = np.ones(self.size)
        for name, (centre, spread) in {
            "intercept": (0.0, _INTERCEPT_SD),
            "slope": _SLOPE,
            "misfit": _MISFIT,
            "family": _FAMILY,
            "factor": _FACTOR,
            "task": _TASK,
            "effort": _EFFORT,
            "host": _HOST,
            "coefficients": (0.0, _COEFFICIENT_SD),
        }.items():
            self.centre[self.places[name]] = centre
            self.spread[self.places[name]] = spread
        self.step = np.minimum(self.spread, 0.3)
        for name in ("intercept", "slope", "factor", "coefficients"):
            self.step[self.places[name]] = 0.1

    def unpack(self, values: NDArray[np.float64]) -> tuple[Scales, AbilityPrior]:
        """Turn a flat vector into scales and prior."""
        at = {name: values[place] for name, place in self.places.items()}
        effort = float(_sigmoid(at["effort"])[0])
        host = effort + (1.0 - effort) * float(_sigmoid(at["host"])[0])
        scales = Scales(
            intercept=at["intercept"].copy(),
            slope=np.exp(at["slope"]),
            misfit=np.exp(2.0 * at["misfit"]),
            family=np.exp(2.0 * at["family"]),
        )
        prior = AbilityPrior(
            factor_sd=np.exp(at["factor"]),
            task_sd=float(np.exp(at["task"])[0]),
            effort_share=effort,
            host_share=host,
            coefficients=at["coefficients"].reshape(-1, len(FACTOR_NAMES)).copy(),
        )
        return scales, prior


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-values))
    return result


def measurement_buckets(data: Measurements) -> list[PaddedGroups]:
    """Sort the measurements for the likelihood."""
    return make_buckets(
        base=data.base[data.row],
        effort=data.effort[data.row],
        row=data.row,
        test=data.test,
        family=data.test_family[data.test],
        tests=len(data.test_name),
        families=int(data.test_family.max()) + 1,
    )


def measurement_terms(data: Measurements, scales: Scales, prior: AbilityPrior) -> Terms:
    """The terms of the likelihood of measurements, given scales and prior."""
    mean = (prior.mean(data.regressors) @ data.test_weights.T)[data.row, data.test]
    slope = scales.slope[data.test]
    return Terms(
        residual=data.logit - scales.intercept[data.test] - slope * mean,
        slope=slope,
        noise=data.variance + scales.misfit[data.test],
        covariance=data.test_weights @ prior.covariance() @ data.test_weights.T,
        share=np.array([1.0, prior.host_share, prior.effort_share]),
        family=scales.family,
    )


def estimate(
    data: Measurements, start: FittedHierarchy | None = None, steps: int = _STEPS
) -> FittedHierarchy:
    """Fit scales and prior to measurements.

    Args:
        data: The measurements; each test needs one at least.
        start: An estimate for the same tests to start from, which only saves time.
        steps: Most steps of the optimiser.

    Returns:
        The estimate. It depends on nothing but the arguments.
    """
    layout = _Layout(len(data.test_name), int(data.test_family.max()) + 1, data.regressors.shape[1])
    loadings = data.test_weights @ factor_loadings()
    own = np.einsum("jt,it->ji", data.test_weights, data.test_weights)
    buckets = measurement_buckets(data)
    tests = len(data.test_name)

    def objective(distance: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # About one standard error of each parameter, so that steps are comparable.
        scales, prior = layout.unpack(layout.centre + layout.step * distance)
        terms = measurement_terms(data, scales, prior)
        value, by = log_likelihood(buckets, terms)
        mean = (prior.mean(data.regressors) @ data.test_weights.T)[data.row, data.test]
        gradient = np.zeros(layout.size)
        at = layout.places
        gradient[at["intercept"]] = np.bincount(data.test, -by.residual, tests)
        by_slope = by.slope - by.residual * mean
        gradient[at["slope"]] = np.bincount(data.test, by_slope, tests) * scales.slope
        gradient[at["misfit"]] = 2.0 * np.bincount(data.test, by.noise, tests) * scales.misfit
        gradient[at["family"]] = 2.0 * by.family * scales.family
        by_factor = np.einsum("jk,ji,ik->k", loadings, by.covariance, loadings)
        gradient[at["factor"]] = 2.0 * by_factor * prior.factor_sd**2
        gradient[at["task"]] = 2.0 * np.sum(by.covariance * own) * prior.task_sd**2
        effort, host = prior.effort_share, (prior.host_share - prior.effort_share)
        host /= 1.0 - effort
        by_effort = by.share[2] + by.share[1] * (1.0 - host)
        gradient[at["effort"]] = by_effort * effort * (1.0 - effort)
        gradient[at["host"]] = by.share[1] * (1.0 - effort) * host * (1.0 - host)
        by_mean = np.zeros((len(data.regressors), tests))
        np.add.at(by_mean, (data.row, data.test), -by.residual * scales.slope[data.test])
        gradient[at["coefficients"]] = (data.regressors.T @ by_mean @ loadings).ravel()
        from_prior = distance * layout.step / layout.spread
        loss = 0.5 * float(from_prior @ from_prior) - value
        return loss, layout.step * (from_prior / layout.spread - gradient)

    if start is None:
        values = layout.centre.copy()
        weights = np.maximum(np.bincount(data.test, minlength=tests), 1)
        values[layout.places["intercept"]] = np.bincount(data.test, data.logit, tests) / weights
    else:
        values = _pack(layout, start)
    farthest = _FARTHEST * layout.spread / layout.step
    found = minimize(
        objective,
        np.clip((values - layout.centre) / layout.step, -farthest, farthest),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-farthest, farthest),
        options={"maxiter": steps, "maxcor": 20},
    )
    scales, prior = layout.unpack(layout.centre + layout.step * found.x)
    from_prior = found.x * layout.step / layout.spread
    reached = 0.5 * float(from_prior @ from_prior) - float(found.fun)
    return FittedHierarchy(scales, prior, reached, int(found.nit))


def _pack(layout: _Layout, start: FittedHierarchy) -> NDArray[np.float64]:
    values = np.empty(layout.size)
    scales, prior = start.scales, start.prior
    host = (prior.host_share - prior.effort_share) / (1.0 - prior.effort_share)
    for name, value in {
        "intercept": scales.intercept,
        "slope": np.log(scales.slope),
        "misfit": 0.5 * np.log(scales.misfit),
        "family": 0.5 * np.log(scales.family),
        "factor": np.log(prior.factor_sd),
        "task": np.log(prior.task_sd),
        "effort": np.log(prior.effort_share / (1.0 - prior.effort_share)),
        "host": np.log(host / (1.0 - host)),
        "coefficients": prior.coefficients.ravel(),
    }.items():
        values[layout.places[name]] = value
    return values
