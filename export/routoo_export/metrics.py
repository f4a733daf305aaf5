"""How good predictions are, each figure with its standard error.

APGR and CPT are RouteLLM's (arXiv 2406.18665, section 4). Rows are prompts, columns models; all
arrays float64; NaN in `truth` = missing. Standard errors come from a bootstrap over prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CALL_PERCENTAGES: Final = (20, 50, 80)
ECE_BINS: Final = 10
RESAMPLES: Final = 100
PROBABILITY_FLOOR: Final = 1.0e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its standard error."""

    value: float
    se: float


def bootstrap(rows: int, rng: np.random.Generator, figure: Callable[[IntArray], float]) -> Estimate:
    """`figure` of all row indices, and its deviation over RESAMPLES resamplings of the rows."""
    values = [figure(rng.integers(0, rows, rows)) for _ in range(RESAMPLES)]
    return Estimate(figure(np.arange(rows)), float(np.std(values, ddof=1)))


def auc(truth: FloatArray, score: FloatArray) -> float:
    """Area under the ROC curve of `score` [n] for `truth` [n] >= 0.5; ties count half.

    Raises:
        ValueError: only one outcome occurs.
    """
    positive = truth >= 0.5
    n_positive = int(positive.sum())
    n_negative = len(truth) - n_positive
    if n_positive == 0 or n_negative == 0:
        raise ValueError("AUC needs both outcomes")
    rank_sum = rankdata(score)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def log_loss(truth: FloatArray, score: FloatArray) -> float:
    """Mean negative log-likelihood in nats of `truth` [n] in [0, 1] under `score` [n]."""
    p = np.clip(score, PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
    return float(-np.mean(truth * np.log(p) + (1.0 - truth) * np.log1p(-p)))


def expected_calibration_error(truth: FloatArray, score: FloatArray) -> float:
    """ECE over ECE_BINS bins of equal width (Guo et al., arXiv 1706.04599)."""
    bins = np.minimum((score * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=truth - score, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(truth))


@dataclass(frozen=True, slots=True)
class PairCurve:
    """RouteLLM's figures for a weak and a strong model.

    apgr: mean share of the performance gap recovered over all shares of calls to the strong model
    (0 = always weak, 0.5 = at random). calls_for[p]: smallest share of strong calls that recovers p
    percent of the gap.
    """

    apgr: float
    calls_for: dict[int, float]


def pair_curve(preference: FloatArray, weak: FloatArray, strong: FloatArray) -> PairCurve:
    """Send prompts to the strong model in descending `preference` [n]; weak, strong: truth [n].

    Prompts of equal preference are sent together: their order adds nothing.
    """
    order = np.argsort(-preference, kind="stable")
    gains = (strong - weak)[order]
    last_of_tie = np.diff(preference[order], append=np.inf) != 0
    recovered = np.append(0.0, np.cumsum(gains)[last_of_tie]) / gains.sum()
    calls = np.append(0.0, np.flatnonzero(last_of_tie) + 1.0) / len(gains)
    return PairCurve(
        apgr=float(np.trapezoid(recovered, calls)),
        calls_for={p: first_crossing(calls, recovered, p / 100.0) for p in CALL_PERCENTAGES},
    )


def first_crossing(x: FloatArray, y: FloatArray, level: float) -> float:
    """Smallest x, linearly between the points, where the curve reaches `level`; NaN = never."""
    reached = np.flatnonzero(y >= level)
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    share = (level - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
