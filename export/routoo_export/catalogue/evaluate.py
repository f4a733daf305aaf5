"""The catalogue judged by sources that were left out of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from routoo_export.catalogue.estimator import FittedHierarchy, estimate
from routoo_export.catalogue.livebench import LIVEBENCH
from routoo_export.catalogue.measurements import Measurements
from routoo_export.catalogue.posterior import Abilities, abilities
from routoo_export.catalogue.scale_fit import fit_scale

FEWEST_OTHERS: Final = 3
HEADLINE_SOURCES: Final = 12
# Sources with the same prompts, or variants of one set, are left out together.
_SIBLINGS: Final = (
    ("shaberi_ja_panel3", "shaberi_ja_gpt41"),
    ("reasoning_gym_easy", "reasoning_gym_hard"),
    ("alpaca_eval_v1", "alpaca_eval_v2", "alpaca_eval_v2_lookahead"),
    ("zeroeval_gsm8k", "gsm8k_cascade"),
)
_STEPS: Final = 80
_HALF_WIDTH: Final = float(norm.ppf(0.95))


@dataclass(frozen=True, slots=True)
class LeftOutMeans:
    """Means over the HEADLINE_SOURCES sources with the most models.

    Attributes:
        sources: The sources.
        spearman: Mean rank correlation of predicted and true means.
        spearman_z: That of the mean z-score.
        spearman_shared: That of the prediction, for models that LiveBench has.
        spearman_livebench: That of LiveBench's mean z-score, for the same models.
        covered_known: Mean share inside the 90 % interval, given the scale of the test.
        covered_fitted: The same with the scale fitted to a third of the models.
    """

    sources: tuple[str, ...]
    spearman: float
    spearman_z: float
    spearman_shared: float
    spearman_livebench: float
    covered_known: float
    covered_fitted: float


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The prediction of one source from all others.

    Attributes:
        source: The source.
        models: Models of it with FEWEST_OTHERS other measurements or more.
        spearman: Rank correlation of predicted and true means.
        spearman_z: That of the mean z-score over the other tests, for the same models.
        shared: How many of the models LiveBench has.
        spearman_shared: Rank correlation of predicted and true means for those alone.
        spearman_livebench: That of LiveBench's mean z-score; NaN where it has fewer than three.
        covered_known: Share of the models whose true mean lies in the 90 % interval, given the
            scale of the test.
        covered_fitted: The same with the scale fitted to a third of the models, for the others.
        intervals: Number of intervals behind the latter.
    """

    source: str
    models: int
    spearman: float
    spearman_z: float
    shared: int
    spearman_shared: float
    spearman_livebench: float
    covered_known: float
    covered_fitted: float
    intervals: int


def leave_one_source_out(data: Measurements, whole: FittedHierarchy, source: str) -> LeftOut:
    """Predict the mean scores of a source's models from all other sources.

    Sources with the same prompts are left out too.

    Args:
        data: All measurements.
        whole: The estimate of all of them; gives the start and the known scale.
        source: The source that is left out.
    """
    of_source = np.array([one == source for one in data.test_source])
    out = of_source[data.test]
    rest, fitted = without_source(data, whole, source)
    known = abilities(rest, fitted)
    others = np.bincount(rest.row, minlength=len(data.names))
    rows = np.unique(data.row[out])
    rows = rows[others[rows] >= FEWEST_OTHERS]
    truth, weights = _source_means(data, out, rows)
    predicted = np.einsum("mt,mt->m", known.mean[rows], weights)
    plain = _mean_z(rest)[rows]
    livebench = np.array([one == LIVEBENCH for one in data.test_source])
    lively = _mean_z(rest.choose(livebench[rest.test]))[rows]
    shared = np.isfinite(lively)
    inside_known, inside_fitted = _coverage(data, whole, known, out, rows)
    return LeftOut(
        source=source,
        models=len(rows),
        spearman=spearman(predicted, truth),
        spearman_z=spearman(plain, truth),
        shared=int(shared.sum()),
        spearman_shared=spearman(predicted[shared], truth[shared]),
        spearman_livebench=spearman(lively[shared], truth[shared]),
        covered_known=_share(inside_known),
        covered_fitted=_share(inside_fitted),
        intervals=len(inside_fitted),
    )


def without_source(
    data: Measurements, whole: FittedHierarchy, source: str
) -> tuple[Measurements, FittedHierarchy]:
    """All measurements but those of a source and of others with its prompts, and their estimate.

    Args:
        data: All measurements.
        whole: The estimate of all of them, from which the search starts.
        source: The source that is left out.
    """
    alike = next((some for some in _SIBLINGS if source in some), (source,))
    rest = data.choose(~np.isin(data.test_source, alike)[data.test])
    return rest, estimate(rest, start=whole, steps=_STEPS)


def evaluate_catalogue(data: Measurements) -> list[LeftOut]:
    """Leave out each source in turn but LiveBench, which has no prompts of its own."""
    whole = estimate(data)
    sources = [source for source in dict.fromkeys(data.test_source) if source != LIVEBENCH]
    return [leave_one_source_out(data, whole, source) for source in sources]


def summarise(results: Sequence[LeftOut]) -> LeftOutMeans:
    """The means over the sources with the most models; ties in the order of ``results``."""
    chosen = sorted(results, key=lambda one: -one.models)[:HEADLINE_SOURCES]

    def mean(name: str) -> float:
        return float(np.nanmean([getattr(one, name) for one in chosen]))

    return LeftOutMeans(
        sources=tuple(one.source for one in chosen),
        **{one.name: mean(one.name) for one in fields(LeftOutMeans) if one.name != "sources"},
    )


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation with mean ranks of ties; NaN for fewer than three values."""
    if len(one) < 3:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _share(inside: NDArray[np.bool_]) -> float:
    return float(inside.mean()) if len(inside) else float("nan")


def _source_means(
    data: Measurements, out: NDArray[np.bool_], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The true mean score of each row over the source's prompts, and the tasks' parts in it."""
    picked = data.choose(out)
    prompts = np.bincount(picked.row, picked.prompts, len(data.names))
    total = np.bincount(picked.row, picked.prompts * picked.score, len(data.names))
    weights = np.zeros((len(data.names), data.test_weights.shape[1]))
    np.add.at(weights, picked.row, picked.prompts[:, None] * data.test_weights[picked.test])
    return total[rows] / prompts[rows], weights[rows] / prompts[rows, None]


def _mean_z(data: Measurements) -> NDArray[np.float64]:
    """Each model's mean z-score over its tests, float64 [m]; NaN without any."""
    tests = len(data.test_name)
    count = np.maximum(np.bincount(data.test, minlength=tests), 1)
    mean = np.bincount(data.test, data.score, tests) / count
    deviation = data.score - mean[data.test]
    spread = np.sqrt(np.bincount(data.test, deviation**2, tests) / count) + 1e-9
    z = deviation / spread[data.test]
    rows = np.bincount(data.row, minlength=len(data.names))
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.bincount(data.row, z, len(data.names)) / rows
    return means


def _coverage(
    data: Measurements,
    whole: FittedHierarchy,
    known: Abilities,
    out: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each measurement lies in its interval: scale known, and fitted to a third."""
    inside_known, inside_fitted = [], []
    for test in np.unique(data.test[out]):
        picked = np.flatnonzero(out & (data.test == test) & np.isin(data.row, rows))
        mean, variance = known.measured(data.test_weights[test])
        mean, variance = mean[data.row[picked]], variance[data.row[picked]]
        logit, noise = data.logit[picked], data.variance[picked]
        scales = whole.scales
        centre = scales.intercept[test] + scales.slope[test] * mean
        spread = scales.slope[test] ** 2 * variance + noise + scales.misfit[test]
        spread += scales.family[data.test_family[test]]
        inside_known.append(np.abs(logit - centre) <= _HALF_WIDTH * np.sqrt(spread))
        third = np.arange(len(picked)) % 3 == 0
        if third.sum() < 2 or third.all():
            continue
        fitted = fit_scale(mean[third], variance[third], logit[third], noise[third])
        centre, spread = fitted.predict(mean[~third], variance[~third])
        spread = spread + noise[~third]
        inside_fitted.append(np.abs(logit[~third] - centre) <= _HALF_WIDTH * np.sqrt(spread))
    return np.concatenate(inside_known), np.concatenate([*inside_fitted, np.zeros(0, np.bool_)])
