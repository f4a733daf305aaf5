"""The marginal likelihood of the measurements, and its gradient.

The measurements of the rows of one base model are jointly Gaussian and independent of all others,
so the likelihood is a sum over base models. Those are sorted by size and padded, which lets numpy
take many at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME_ROW, SAME_EFFORT, SAME_BASE = 0, 1, 2
_SIZES = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class PaddedGroups:
    """Base models with about as many measurements, padded to a common number n.

    Attributes:
        members: Places of the measurements, int64 [g, n]; 0 where padded.
        real: False where padded, bool [g, n].
        kinship: SAME_ROW, SAME_EFFORT or SAME_BASE for each pair, int8 [g, n, n].
        pair: The place of the pair's two tests in a flat [j, j] array, int64 [g, n, n].
        family: The family that the pair has in common within one row, int64 [g, n, n]; the number
            of families where they have none in common.
    """

    members: NDArray[np.int64]
    real: NDArray[np.bool_]
    kinship: NDArray[np.int8]
    pair: NDArray[np.int64]
    family: NDArray[np.int64]


def make_buckets(
    base: NDArray[np.int64],
    effort: NDArray[np.int64],
    row: NDArray[np.int64],
    test: NDArray[np.int64],
    family: NDArray[np.int64],
    *,
    tests: int,
    families: int,
) -> list[PaddedGroups]:
    """Sort the measurements into buckets.

    Args:
        base: The base model of each measurement, int64 [n].
        effort: Its effort level, counted over all base models, int64 [n].
        row: Its row of the catalogue, int64 [n].
        test: Its test, int64 [n].
        family: The family of its test, int64 [n].
        tests: Number of tests, those without a measurement included.
        families: Number of families, those without a measurement included.

    Returns:
        The buckets, by rising size.
    """
    order = np.argsort(base, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(base[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    bounds = np.array([*(size for size in _SIZES if size < lengths.max()), lengths.max()])
    bucket_of = np.searchsorted(bounds, lengths)
    buckets = []
    for which in np.unique(bucket_of):
        picked = np.flatnonzero(bucket_of == which)
        span = np.arange(bounds[which])
        real = span[None] < lengths[picked, None]
        members = order[np.where(real, starts[picked, None] + span[None], 0)]
        same_row = row[members][:, :, None] == row[members][:, None, :]
        same_effort = effort[members][:, :, None] == effort[members][:, None, :]
        same_family = family[members][:, :, None] == family[members][:, None, :]
        kinship = np.where(same_row, SAME_ROW, np.where(same_effort, SAME_EFFORT, SAME_BASE))
        buckets.append(
            PaddedGroups(
                members=members,
                real=real,
                kinship=kinship.astype(np.int8),
                pair=test[members][:, :, None] * tests + test[members][:, None, :],
                family=np.where(same_row & same_family, family[members][:, :, None], families),
            )
        )
    return buckets


@dataclass(frozen=True, slots=True)
class Terms:
    """The quantities of the likelihood, or the likelihood's derivatives by them.

    Attributes:
        residual: Measurement less its prior mean, float64 [n].
        slope: Slope of each measurement's test, float64 [n].
        noise: Variance of each measurement's own noise, float64 [n].
        covariance: Prior covariance of the abilities that the tests measure, float64 [j, j].
        share: Correlation by kinship, float64 [3]; the first is 1.
        family: Variance that tests of a family share within a row, float64 [families].
    """

    residual: NDArray[np.float64]
    slope: NDArray[np.float64]
    noise: NDArray[np.float64]
    covariance: NDArray[np.float64]
    share: NDArray[np.float64]
    family: NDArray[np.float64]


def measurement_covariance(bucket: PaddedGroups, terms: Terms) -> NDArray[np.float64]:
    """The prior covariance of the measurements, float64 [g, n, n]; the identity where padded."""
    slope = np.where(bucket.real, terms.slope[bucket.members], 0.0)
    covariance = terms.covariance.ravel()[bucket.pair] * terms.share[bucket.kinship]
    covariance *= slope[:, :, None] * slope[:, None, :]
    covariance += np.append(terms.family, 0.0)[bucket.family]
    covariance *= bucket.real[:, :, None] & bucket.real[:, None, :]
    places = np.arange(bucket.members.shape[1])
    covariance[:, places, places] += np.where(bucket.real, terms.noise[bucket.members], 1.0)
    return covariance


def log_likelihood(buckets: list[PaddedGroups], terms: Terms) -> tuple[float, Terms]:
    """The log of the measurements' marginal density, and its derivatives.

    Returns:
        The value, and the derivatives in the shape of ``terms``. Those by the residual are
        minus the weighted residuals.
    """
    total = 0.0
    by_residual = np.zeros_like(terms.residual)
    by_slope = np.zeros_like(terms.slope)
    by_noise = np.zeros_like(terms.noise)
    by_covariance = np.zeros(terms.covariance.size)
    by_share = np.zeros(3)
    by_family = np.zeros(len(terms.family) + 1)
    for bucket in buckets:
        real, members = bucket.real, bucket.members[bucket.real]
        covariance = measurement_covariance(bucket, terms)
        inverse = np.linalg.inv(covariance)
        residual = np.where(real, terms.residual[bucket.members], 0.0)
        weighted = np.einsum("gij,gj->gi", inverse, residual)
        total -= 0.5 * float(np.sum(weighted * residual) + np.linalg.slogdet(covariance)[1].sum())
        total -= 0.5 * len(members) * float(np.log(2.0 * np.pi))
        gradient = 0.5 * (weighted[:, :, None] * weighted[:, None, :] - inverse)
        gradient *= real[:, :, None] & real[:, None, :]
        slope = np.where(real, terms.slope[bucket.members], 0.0)
        by_residual[members] = -weighted[real]
        by_noise[members] = np.einsum("gii->gi", gradient)[real]
        by_family += np.bincount(bucket.family.ravel(), gradient.ravel(), len(by_family))
        prior = terms.covariance.ravel()[bucket.pair]
        share = terms.share[bucket.kinship]
        by_slope[members] = 2.0 * np.einsum("gij,gj->gi", gradient * prior * share, slope)[real]
        gradient *= slope[:, :, None] * slope[:, None, :]
        by_share += np.bincount(bucket.kinship.ravel(), (gradient * prior).ravel(), 3)
        by_covariance += np.bincount(
            bucket.pair.ravel(), (gradient * share).ravel(), len(by_covariance)
        )
    return total, Terms(
        residual=by_residual,
        slope=by_slope,
        noise=by_noise,
        covariance=by_covariance.reshape(terms.covariance.shape),
        share=by_share,
        family=by_family[:-1],
    )
