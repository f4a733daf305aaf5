"""Ridge regression of many columns on common features, penalties by marginal likelihood.

The coefficients of block b of column j are a priori N(0, g[b] * s2[j]), with noise of variance
s2[j]; the ratios g are common to all columns and maximise the marginal likelihood of all of them
together (MacKay, "Bayesian interpolation", Neural Computation 1992). All that depends on the rows
are X'X, X'y and y'y of each set of columns with the same rows known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

FloatArray = NDArray[np.float64]

_START: Final = -4.0
_CENTRE, _WIDTH = -4.0, 4.0
"""Weak normal prior of each log ratio: with few rows the likelihood alone may have no maximum."""
_LEAST_NOISE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums over the rows of columns that are known on the same rows.

    Attributes:
        columns: The columns, int64 [c].
        gram: X'X, [p, p].
        cross: X'Y, [p, c].
        squares: y'y of each column, [c].
        rows: The number of rows.
    """

    columns: NDArray[np.int64]
    gram: FloatArray
    cross: FloatArray
    squares: FloatArray
    rows: int


@dataclass(frozen=True, slots=True)
class Ridge:
    """Posterior of the coefficients.

    Attributes:
        coefficients: Means, [p, m]; 0 for a column without rows.
        log_ratios: Logarithms of the prior variances in units of the noise, [blocks].
        noise: Variance of the noise of each column, [m].
        factors: Of each set of columns, the columns and F with covariance s2 * F'F, F [p, p].
    """

    coefficients: FloatArray
    log_ratios: FloatArray
    noise: FloatArray
    factors: tuple[tuple[NDArray[np.int64], FloatArray], ...]

    def variances(self, inputs: FloatArray) -> FloatArray:
        """Posterior variances of the predictions [q, m] for features [q, p]."""
        found = np.zeros((len(inputs), self.coefficients.shape[1]))
        for columns, factor in self.factors:
            spread = np.square(inputs @ factor.T).sum(axis=1)
            found[:, columns] = spread[:, None] * self.noise[columns]
        return found


def fit_ridge(
    features: FloatArray,
    targets: FloatArray,
    blocks: NDArray[np.int64],
    log_ratios: FloatArray | None = None,
) -> Ridge:
    """Fit the columns of ``targets``.

    Args:
        features: [n, p].
        targets: [n, m]; NaN = not known.
        blocks: The block of each feature, int64 [p], from 0 on.
        log_ratios: Use these instead of the likeliest, [blocks].
    """
    sums = _sums(features, targets)
    count = int(blocks.max(initial=-1)) + 1
    if log_ratios is None and not count:
        log_ratios = np.zeros(0)
    if log_ratios is None:
        found = minimize(  # type: ignore[call-overload]
            lambda ratios: _loss(sums, ratios, blocks),
            np.full(count, _START, np.float64),
            method="Nelder-Mead",
            options={"maxfev": 60 * count, "xatol": 0.05, "fatol": 0.02},
        )
        log_ratios = np.asarray(found.x, np.float64)
    return _posterior(sums, log_ratios, blocks, targets.shape[1])


def marginal_loss(
    features: FloatArray, targets: FloatArray, blocks: NDArray[np.int64], log_ratios: FloatArray
) -> float:
    """Negative logarithm of the marginal likelihood, noise profiled out, up to a constant."""
    return sum(_fit_one(one, log_ratios, blocks)[0] for one in _sums(features, targets))


def _sums(features: FloatArray, targets: FloatArray) -> list[Sums]:
    known = ~np.isnan(targets)
    patterns: dict[bytes, list[int]] = {}
    for column in range(targets.shape[1]):
        patterns.setdefault(np.packbits(known[:, column]).tobytes(), []).append(column)
    found = []
    for columns in patterns.values():
        rows = np.flatnonzero(known[:, columns[0]])
        if not rows.size:
            continue
        inputs, wanted = features[rows], targets[rows][:, columns]
        squares = np.square(wanted).sum(axis=0)
        found.append(
            Sums(np.array(columns), inputs.T @ inputs, inputs.T @ wanted, squares, len(rows))
        )
    return found


def _fit_one(
    sums: Sums, log_ratios: FloatArray, blocks: NDArray[np.int64]
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """The loss, L^-1 of A = I + S G S = L L', the whitened coefficients, and the noise."""
    scale = np.exp(0.5 * log_ratios)[blocks]
    inner = np.eye(len(scale)) + scale[:, None] * sums.gram * scale
    lower = np.asarray(np.linalg.cholesky(inner), np.float64)
    white: FloatArray = solve_triangular(lower, scale[:, None] * sums.cross, lower=True)
    left = np.maximum(sums.squares - np.square(white).sum(axis=0), 0.0)
    noise: FloatArray = np.maximum(left / sums.rows, _LEAST_NOISE)
    loss = 0.5 * sums.rows * float(np.log(noise).sum() + (left / sums.rows / noise).sum())
    return loss + len(noise) * float(np.log(np.diag(lower)).sum()), lower, white, noise


def _loss(sums: Sequence[Sums], log_ratios: FloatArray, blocks: NDArray[np.int64]) -> float:
    prior = 0.5 * float(np.square((log_ratios - _CENTRE) / _WIDTH).sum())
    if np.abs(log_ratios).max(initial=0.0) > 40.0:  # far off, where figures overflow
        return np.inf
    return prior + sum(_fit_one(one, log_ratios, blocks)[0] for one in sums)


def _posterior(
    sums: Sequence[Sums], log_ratios: FloatArray, blocks: NDArray[np.int64], columns: int
) -> Ridge:
    scale = np.exp(0.5 * log_ratios)[blocks]
    coefficients, variances = np.zeros((len(blocks), columns)), np.ones(columns)
    factors = []
    for one in sums:
        _, lower, white, noise = _fit_one(one, log_ratios, blocks)
        back = solve_triangular(lower, white, lower=True, trans="T")
        coefficients[:, one.columns] = scale[:, None] * back
        variances[one.columns] = noise
        factors.append((one.columns, solve_triangular(lower, np.diag(scale), lower=True)))
    return Ridge(coefficients, log_ratios, variances, tuple(factors))
