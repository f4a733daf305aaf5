"""Tests that prove, by labelled prompts, that a setting loses little quality to a reference model.

Learn then test (Angelopoulos et al., arXiv 2110.01052) with the promise of SMART (Jo et al., arXiv
2403.13835): of settings ordered from the safest to the cheapest, the last one of an unbroken run
whose p-values for "loses more than ``max_drop``" are small. Fixed-sequence testing makes the chance
that the chosen setting breaks the promise at most alpha, however many settings there are.

All bounds hold for every number of labels, not only for large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, betaincinv, logsumexp, ndtri

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    import numpy.typing as npt

    from routoo.selector.arrays import BoolArray, FloatArray

# The part of alpha that is spent on the rate of prompts where policy and reference differ.
RATE_SHARE = 0.1
# Wagers as shares of the largest one with which the wealth cannot become negative; the e-value is
# the mean over them.
WAGERS = np.geomspace(2.0**-9, 0.9, 25)
# Chance that the labels called for will suffice.
POWER = 0.8
MOST_LABELS = 10_000_000


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise that mean quality is at least the reference's minus ``max_drop``.

    Attributes:
        max_drop: the drop in mean score that is allowed.
        alpha: chance, over the choice of the labels, that the promise is given and does not hold.

    Raises:
        InvalidRequestError: a drop outside (0, 1) or an alpha outside (0, 0.5).
    """

    max_drop: float
    alpha: float

    def __post_init__(self) -> None:
        if not 0.0 < self.max_drop < 1.0:
            raise InvalidRequestError(f"max_drop is {self.max_drop}; it has to be in (0, 1)")
        if not 0.0 < self.alpha < 0.5:
            raise InvalidRequestError(
                f"confidence is {1.0 - self.alpha:g}; it has to be in (0.5, 1)"
            )


def p_values(differences: FloatArray, promise: Promise) -> FloatArray:
    """Test "the policy loses more than ``max_drop``" for k settings on the same n prompts.

    Exact where every score is 0 or 1, see ``binary_p_values``; otherwise by ``betting_p_values``.

    Args:
        differences: float64 [n, k], the policy's score minus the reference's, in [-1, 1]; the rows
            are independent prompts in random order.
        promise: the promise that is tested; the p-values are meant for its alpha.

    Returns:
        P-values, float64 [k].

    Raises:
        InvalidRequestError: no rows, or a difference that is not in [-1, 1].
    """
    if not len(differences):
        raise InvalidRequestError("there are no labelled prompts")
    if not (np.abs(differences) <= 1.0).all():  # NaN is refused, too
        raise InvalidRequestError("differences of scores have to lie in [-1, 1]")
    if is_binary(differences):
        worse, better = (differences < 0).sum(axis=0), (differences > 0).sum(axis=0)
        return binary_p_values(worse, better, len(differences), promise)
    return betting_p_values(differences, promise.max_drop)


def is_binary(differences: FloatArray) -> bool:
    """Return whether all differences are -1, 0 or 1."""
    return bool((differences == np.rint(differences)).all())


def binary_p_values(
    worse: npt.NDArray[np.integer], better: npt.NDArray[np.integer], n: int, promise: Promise
) -> FloatArray:
    """Compute exact p-values from counts, for scores that are 0 or 1.

    With w and b the rates of prompts where the policy is worse and better, the promise is broken
    when w - b > max_drop. Given that d = worse + better prompts differ, worse is binomial with the
    share w / (w + b) = (1 + (w - b) / (w + b)) / 2 (McNemar's test): under the null at least
    (1 + max_drop / r) / 2, with r = w + b. That falls as r grows, so r is replaced by its exact
    upper bound (Clopper and Pearson) at a tenth of alpha, which is added to the p-value (Berger and
    Boos, 1994). The bound depends on d alone, hence the conditional test stays valid.

    Args:
        worse: int, any shape: prompts where the policy scores 0 and the reference 1.
        better: int, the same shape: the reverse.
        n: prompts.
        promise: the promise that is tested.

    Returns:
        float64 of that shape.
    """
    spent = promise.alpha * RATE_SHARE
    differ = worse + better
    agree = n - differ
    rate = np.where(agree > 0, betaincinv(differ + 1, np.maximum(agree, 1), 1.0 - spent), 1.0)
    # The drop is at most the rate at which the two differ.
    at_most = rate <= promise.max_drop
    share = (1.0 + promise.max_drop / np.maximum(rate, promise.max_drop)) / 2.0
    tail = np.where(at_most, 0.0, bdtr(worse, differ, np.minimum(share, 1.0)))
    return np.asarray(np.minimum(1.0, spent + tail), np.float64)


def betting_p_values(differences: FloatArray, max_drop: float) -> FloatArray:
    """Compute p-values for differences of any size in [-1, 1], by betting against the null.

    Under the null the wealth of a gambler who stakes a fixed share on each prompt is a
    supermartingale; so is the mean over a grid of shares, and 1 over its highest value is a p-value
    by Ville's inequality (Waudby-Smith and Ramdas, arXiv 2010.09686). It adapts to the variance,
    which is small where policy and reference mostly agree; Hoeffding's and Bentkus' bounds do not.

    Args:
        differences: float64 [n, k], in random order.
        max_drop: the drop that the null exceeds.

    Returns:
        float64 [k].
    """
    most = log_wealth(differences, max_drop).max(axis=0)
    return np.asarray(np.exp(-np.maximum(most, 0.0)), np.float64)


def log_wealth(differences: FloatArray, max_drop: float) -> FloatArray:
    """Return the log of the mean wealth over the wagers after each prompt, float64 [n, k]."""
    gains = (differences + max_drop) / (1.0 - max_drop)  # at least -1
    # One setting at a time: an array [n, k, wagers] would take gigabytes.
    return np.stack(
        [
            logsumexp(np.cumsum(np.log1p(np.outer(column, WAGERS)), axis=0), axis=1)
            - np.log(len(WAGERS))
            for column in gains.T
        ],
        axis=1,
    )


def last_proven(p: FloatArray, alpha: float) -> npt.NDArray[np.intp]:
    """Find the last setting of the unbroken run of small p-values (fixed-sequence testing).

    Args:
        p: float64 [..., k], in an order that was fixed before the labels were seen.
        alpha: the chance of any false proof.

    Returns:
        int [...]; -1 where not even the first is proven.
    """
    proven: BoolArray = np.logical_and.accumulate(p <= alpha, axis=-1)
    return np.asarray(proven.sum(axis=-1) - 1, np.intp)


def labels_needed(differences: FloatArray, promise: Promise) -> int | None:
    """Estimate how many labels prove a setting with a chance of ``POWER``.

    The observed figures are taken for the true ones.

    Args:
        differences: float64 [n], the setting's scores minus the reference's, on the labels at hand.
        promise: the promise to be proven.

    Returns:
        The number in all, or None where the observed drop is not below ``max_drop``, so that more
        labels of this kind would not help.
    """
    n = len(differences)
    mean = float(differences.mean())
    if mean <= -promise.max_drop:
        return None
    if not is_binary(differences):
        return betting_labels_needed(differences, promise)
    z = float(ndtri(POWER))
    worse = float((differences < 0).mean())
    better = float((differences > 0).mean())

    def proves(count: int) -> bool:
        # An unlucky draw of labels: their balance is on the wrong side by the quantile of POWER.
        unlucky = z * np.sqrt(count * max(worse + better - mean**2, 1.0 / n)) / 2.0
        counts = np.ceil([count * worse + unlucky, max(count * better - unlucky, 0.0)])
        w, b = counts.astype(np.int64)
        return bool(w + b <= count) and bool(
            binary_p_values(np.array(w), np.array(b), count, promise) <= promise.alpha
        )

    high = 1
    while not proves(high):
        high *= 2
        if high > MOST_LABELS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def betting_labels_needed(differences: FloatArray, promise: Promise) -> int | None:
    """Estimate how many labels prove a setting by ``betting_p_values`` with a chance of ``POWER``.

    That is the number until the wealth of the best wager, in an unlucky draw, exceeds 1 / alpha.

    Args:
        differences: float64 [n], the setting's scores minus the reference's, on the labels at hand.
        promise: the promise to be proven.

    Returns:
        The number in all, or None where the best wager does not gain.
    """
    z = float(ndtri(POWER))
    gains = (differences + promise.max_drop) / (1.0 - promise.max_drop)
    logs = np.log1p(np.outer(gains, WAGERS))
    wager = int(logs.mean(axis=0).argmax())
    growth, spread = float(logs[:, wager].mean()), float(logs[:, wager].std())
    if growth <= 0.0:
        return None
    # The mean wealth over the wagers is below that of the best ones.
    goal = np.log(len(WAGERS)) / 2.0 - np.log(promise.alpha)
    root = (z * spread + np.sqrt((z * spread) ** 2 + 4.0 * growth * goal)) / (2.0 * growth)
    return min(int(np.ceil(root**2)), MOST_LABELS)
