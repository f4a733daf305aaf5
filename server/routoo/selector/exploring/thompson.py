"""Probabilities with which Thompson sampling chooses each model, without sampling.

Thompson sampling draws a worth for each model and takes the best (Thompson 1933, Biometrika 25;
Russo et al. 2018, "A tutorial on Thompson sampling", arXiv 1707.02038). Of independent normal
worths, model i is the best with probability

    integral of phi_i(x) * product over j != i of Phi_j(x) dx,

which has no closed form for more than two models. It is integrated by Gauss and Legendre's rule on
panels between multiples of each model's standard deviation about its mean, so that a narrow one
beside wide ones is met as exactly; the error is below 1e-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray, FloatArray

MOST_MODELS: Final = 16
"""Models that are weighed in one row: those of the highest mean plus two standard deviations."""
_FAR: Final = 6.0  # standard deviations; beyond them lie 2e-9 of a normal
_PANELS: Final = np.array([-_FAR, -3.5, -1.75, 0.0, 1.75, 3.5, _FAR])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
_DENSITY: Final = 1.0 / np.sqrt(2.0 * np.pi)


def best_probabilities(means: FloatArray, stds: FloatArray, allowed: BoolArray) -> FloatArray:
    """Returns the probability that each model is the best of its row, float64 [n, m].

    The rows sum to 1, models that are not allowed have 0, and a row does not depend on the others.

    Args:
        means: float64 [n, m], finite where allowed.
        stds: float64 [n, m], above 0 and finite where allowed.
        allowed: bool [n, m], at least one in each row.
    """
    found = np.zeros(means.shape)
    # Rows have panels of their own, and hardly ever is there more than one to explore at a time.
    for row in range(len(means)):
        columns = np.flatnonzero(allowed[row])
        mean, std = means[row, columns], stds[row, columns]
        if len(columns) > MOST_MODELS:
            hope = np.argsort(-(mean + 2.0 * std), kind="stable")
            kept = np.sort(hope[:MOST_MODELS])
            columns, mean, std = columns[kept], mean[kept], std[kept]
        found[row, columns] = _probabilities(mean, std)
    return found


def _probabilities(mean: FloatArray, std: FloatArray) -> FloatArray:
    """Returns the probability of each of c models, float64 [c]."""
    if len(mean) == 1:
        return np.ones(1)
    # Below this some model is certain to be better, and above the other end none is.
    low, high = (mean - _FAR * std).max(), (mean + _FAR * std).max()
    ends = (mean[:, None] + std[:, None] * _PANELS).ravel()
    ends = np.append(ends[(ends > low) & (ends < high)], (low, high))
    ends.sort()
    half = 0.5 * (ends[1:] - ends[:-1])
    x = (ends[:-1] + half)[:, None] + half[:, None] * _NODES
    weights = (half[:, None] * _WEIGHTS).ravel()
    z = (x.ravel() - mean[:, None]) / std[:, None]
    below = ndtr(z)
    # The product over all but one: that of those before it times that of those after it.
    others = np.ones_like(below)
    np.cumprod(below[:-1], axis=0, out=others[1:])
    after = np.ones_like(below)
    np.cumprod(below[:0:-1], axis=0, out=after[-2::-1])
    others *= after
    others *= np.exp(-0.5 * z * z)
    others *= weights
    found: FloatArray = others.sum(axis=1) * (_DENSITY / std)
    found /= found.sum()
    return found
