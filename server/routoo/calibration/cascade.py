"""Learning the corrections of ``routoo.selector.cascade`` from labelled prompts.

There is one logistic regression per kind of signal, model that answered and model that might be
asked: of the true score on the signal, with the predicted score's log-odds as offset, so that a
signal without information leaves the prediction as it is. Its two weights are found by Newton's
method with a ridge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from routoo.calibration.results import Mean
from routoo.errors import InfeasibleError
from routoo.selector.cascade import SIGNAL_KINDS, CascadePlan, Correction, judge, log_odds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.calibration.sample import PromptSample
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.cascade import SignalKind, Verdicts

LEAST_ROWS = 50
"""Labelled answers with a signal, below which nothing is learned from them."""
RIDGE = 1.0
"""Weight of the squared weights in the loss."""
FOLDS = 5
"""Parts of the cross-validation."""
_STEPS = 50
_SETTLED = 1e-10


@dataclass(frozen=True, slots=True)
class FittedCorrection:
    """One correction, and its result on prompts that it was not learned from.

    Attributes:
        kind: of the signal.
        kept: column of the model that answered.
        correction: learned from all rows.
        rows: number of labelled answers.
        held_out: by cross-validation, on the rows where the score of the next answer is known; None
            where there are none.
        plan: a plan that starts with two cheap models; None where none was asked for.
    """

    kind: SignalKind
    kept: int
    correction: Correction
    rows: int
    held_out: HeldOutResult | None
    plan: CascadePlan | None


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Means over held-out prompts, at one price.

    Attributes:
        price: score per USD.
        escalated: share of the prompts for which another model is asked.
        kept_score: true score when every answer is kept.
        score: true score after escalation.
        extra_usd: predicted cost of the escalations per prompt.
    """

    price: float
    escalated: Mean
    kept_score: Mean
    score: Mean
    extra_usd: Mean


def learn(sample: PromptSample, price: float, beside: int | None = None) -> list[FittedCorrection]:
    """Learns every correction that the sample has rows enough for.

    Args:
        sample: prompts with signals and true scores.
        price: score per USD at which the corrections are judged.
        beside: column of the cheap model that agreement is measured against; None: not known.

    Raises:
        InfeasibleError: nothing can be learned, or agreement with ``beside`` is not 1 or 0.
    """
    fitted = [
        _fit_correction(sample, kind, kept, rows, price, beside)
        for kind, kept, rows in _learnable(sample)
    ]
    if not fitted:
        raise InfeasibleError(
            f"{sample.file}: no signal to learn from; at least {LEAST_ROWS} lines need"
            ' "signals" and "scores" of the model that answered, and scores of another one'
        )
    return fitted


def _learnable(sample: PromptSample) -> Iterator[tuple[SignalKind, int, IndexArray]]:
    for kind in SIGNAL_KINDS:
        if kind not in sample.signals:
            continue
        features = sample.signals[kind]
        for kept in range(features.shape[1]):
            known = np.isfinite(features[:, kept]) & np.isfinite(sample.true_scores[:, kept])
            rows = np.flatnonzero(known)
            others = np.isfinite(sample.true_scores[rows]).sum(axis=0) >= LEAST_ROWS
            if len(rows) >= LEAST_ROWS and others.sum() > 1:
                yield kind, kept, rows


def _fit_correction(
    sample: PromptSample,
    kind: SignalKind,
    kept: int,
    rows: IndexArray,
    price: float,
    beside: int | None,
) -> FittedCorrection:
    scores, truth = sample.scores[rows], sample.true_scores[rows]
    feature = sample.signals[kind][rows, kept]
    correction = fit(scores, truth, feature)
    corrected = np.full(scores.shape, np.nan)
    # Each fold is corrected by what the other folds taught; the folds are the same in every run.
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    for one in range(FOLDS):
        held = fold == one
        taught = fit(scores[~held], truth[~held], feature[~held], known=correction)
        corrected[held] = taught.apply(scores[held], feature[held])
    answered = np.full(len(rows), kept)
    verdicts = judge(corrected, sample.costs_usd[rows], sample.mask[rows], answered, price)
    held_out = _held_out_result(verdicts, truth, kept, price)
    plan = None
    if beside is not None and beside != kept and kind == "agreement":
        chance = fit_chance(sample.file, scores[:, [kept, beside]], feature)
        plan = CascadePlan(kept, beside, correction, chance)
    return FittedCorrection(kind, kept, correction, len(rows), held_out, plan)


def fit_chance(file: str, scores: FloatArray, agrees: FloatArray) -> tuple[float, float, float]:
    """Learns the weights of ``CascadePlan.chance``, the chance of agreement.

    Args:
        file: name of the labels' file, for the message.
        scores: float64 [n, 2], predicted, of the model that answered and of the other one.
        agrees: float64 [n], 1 or 0.

    Raises:
        InfeasibleError: an agreement that is neither 0 nor 1.
    """
    if not np.isin(agrees, (0.0, 1.0)).all():
        raise InfeasibleError(
            f"{file}: agreement with one other model is 1 or 0, and here it is something between;"
            " leave --beside out"
        )
    X = np.stack([np.ones(len(agrees)), *log_odds(scores).T])
    weights = _newton(np.zeros(len(agrees)), X, agrees)
    return float(weights[0]), float(weights[1]), float(weights[2])


def _held_out_result(
    verdicts: Verdicts, truth: FloatArray, kept: int, price: float
) -> HeldOutResult | None:
    after = truth[np.arange(len(truth)), verdicts.choice]
    # Rows in which the true score of the next answer is not known are left out.
    known = np.isfinite(after)
    escalated = Mean.of((verdicts.choice != kept).astype(np.float64)[known])
    kept_score, score = Mean.of(truth[known, kept]), Mean.of(after[known])
    extra_usd = Mean.of(verdicts.extra_usd[known])
    if escalated is None or kept_score is None or score is None or extra_usd is None:
        return None
    return HeldOutResult(price, escalated, kept_score, score, extra_usd)


def fit(
    scores: FloatArray,
    truth: FloatArray,
    feature: FloatArray,
    known: Correction | None = None,
) -> Correction:
    """Learns one correction.

    Args:
        scores: float64 [n, m], predicted.
        truth: float64 [n, m], true scores in [0, 1]; NaN where not known.
        feature: float64 [n], of the signal.
        known: gives centre and models; None: they are taken from the rows.
    """
    centre = float(feature.mean()) if known is None else known.centre
    intercepts, slopes = np.full((2, scores.shape[1]), np.nan)
    offsets = log_odds(scores)
    for j in range(scores.shape[1]):
        rows: BoolArray = np.isfinite(truth[:, j])
        wanted = rows.sum() >= LEAST_ROWS if known is None else np.isfinite(known.slopes[j])
        if wanted:
            centred = feature[rows] - centre
            scale = float(centred.std()) or 1.0
            X = np.stack([np.ones(len(centred)), centred / scale])
            intercepts[j], slope = _newton(offsets[rows, j], X, truth[rows, j])
            slopes[j] = slope / scale
    return Correction(centre, intercepts, slopes)


def _newton(offset: FloatArray, X: FloatArray, truth: FloatArray) -> FloatArray:
    """Returns the weights, float64 [k], of the most likely logistic curve, shrunk by a ridge.

    Args:
        offset: float64 [n], added to the log-odds.
        X: float64 [k, n], features.
        truth: float64 [n], in [0, 1].
    """
    ridge = np.full(len(X), RIDGE)
    weights = np.zeros(len(X))

    def loss(at: FloatArray) -> float:
        u = offset + at @ X
        return float(np.logaddexp(0.0, u).sum() - truth @ u + 0.5 * ridge @ at**2)

    for _ in range(_STEPS):
        p = expit(offset + weights @ X)
        gradient = X @ (p - truth) + ridge * weights
        hessian = (X * (p * (1.0 - p))) @ X.T + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        # Far from the optimum Newton's step may overshoot; it is halved while it does.
        size = 1.0
        while loss(weights - size * step) > loss(weights) + _SETTLED and size > 1e-6:
            size /= 2.0
        weights = weights - size * step
        if np.abs(size * step).max() < _SETTLED:
            break
    return weights
