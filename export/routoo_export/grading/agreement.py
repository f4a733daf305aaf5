"""Agreement of a judge with given labels, measured before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo_export.errors import GradingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEWEST_LABELS: Final = 30
LEAST_KAPPA: Final = 0.4
"""Agreement beyond chance below which a judge is not trusted (moderate: Landis and Koch, 1977)."""
RESAMPLES: Final = 2_000
CLASSES: Final = ("a", "b", "tie")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of verdicts with labels, over pairs of answers.

    Attributes:
        pairs: their number.
        accuracy: the share of equal verdicts.
        accuracy_low, accuracy_high: its interval of 95 % (Wilson).
        kappa: Cohen's kappa over a, b and tie.
        kappa_low, kappa_high: its interval of 95 % (bootstrap over pairs, seeded).
    """

    pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    kappa: float
    kappa_low: float
    kappa_high: float

    def require(self, least_kappa: float) -> None:
        """Refuse a judge that is not to be trusted.

        Raises:
            GradingError: the labels are too few, or agreement is below ``least_kappa``.
        """
        if self.pairs < FEWEST_LABELS:
            raise GradingError(
                f"the judge was compared with {self.pairs} labels, and {FEWEST_LABELS} are needed;"
                " give more with --judge-labels, or trust it unmeasured with --trust-judge"
            )
        if self.kappa < least_kappa:
            raise GradingError(
                f"the judge agrees with the labels by a kappa of {self.kappa:.2f}"
                f" ({self.kappa_low:.2f} to {self.kappa_high:.2f}; accuracy {self.accuracy:.2f}),"
                f" and {least_kappa:g} is needed; take another judge, or trust it all the same with"
                " --trust-judge"
            )


def agreement_of(verdicts: Sequence[str], labels: Sequence[str], seed: int = 0) -> Agreement:
    """Measures agreement; both name a class of ``CLASSES`` for each pair."""
    ours = np.array([CLASSES.index(one) for one in verdicts], np.int64)
    theirs = np.array([CLASSES.index(one) for one in labels], np.int64)
    n = len(ours)
    if not n:
        return Agreement(0, *(float("nan"),) * 6)
    accuracy = float((ours == theirs).mean())
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), RESAMPLES).astype(np.float64)
    kappas = cohens_kappa(ours, theirs, counts)
    low, high = np.nanquantile(kappas, [0.025, 0.975]) if np.isfinite(kappas).any() else (0.0, 0.0)
    kappa = float(cohens_kappa(ours, theirs, np.ones((1, n)))[0])
    return Agreement(n, accuracy, *wilson(accuracy, n), kappa, float(low), float(high))


def cohens_kappa(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns Cohen's kappa (1960) for weights [r, n] of the pairs, [r].

    Where all weight is on one class of both, agreement by chance is whole, and kappa is 1.
    """
    total = weights.sum(axis=1)
    seen = weights @ (ours == theirs) / total
    chance = np.zeros(len(weights))
    for one in range(len(CLASSES)):
        chance += (weights @ (ours == one)) * (weights @ (theirs == one)) / total**2
    same = chance >= 1.0 - 1e-12
    found: NDArray[np.float64] = np.where(
        same, 1.0, (seen - chance) / np.where(same, 1.0, 1.0 - chance)
    )
    return found


def wilson(share: float, n: int) -> tuple[float, float]:
    """Returns the interval of 95 % of a share of n (Wilson, 1927)."""
    z = 1.959963984540054
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # Rounding may leave a share of 0 or 1 outside.
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))
