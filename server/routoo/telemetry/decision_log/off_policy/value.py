"""The value of another policy, estimated from a decision log, or why the log cannot tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.telemetry.decision_log.off_policy.feedback import (
    LoggedFeedback,
    PolicyValue,
    dr_value,
    effective_sample_size,
    ips_value,
    mean_value,
    snips_value,
)
from routoo.telemetry.decision_log.off_policy.intervals import (
    Interval,
    bernstein,
    bootstrap,
    studentised,
)

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray, FloatArray
    from routoo.telemetry.decision_log.off_policy.grounds import ValueGrounds

MOST_WEIGHT: Final = 500.0
"""Weight above which a graded decision does not count, and the model alone does."""
FEWEST_TRIED: Final = 30.0
"""Effective number of graded decisions with the other policy's choice, below which they tell
nothing."""
MOST_UNSUPPORTED: Final = 0.05
"""Share of decisions in which the log never tries the other choice, above which it cannot tell."""
MOST_RARE: Final = 0.01
"""Share of decisions up to which the worst is assumed of choices that are too seldom tried."""
LIKELY: Final = 0.5
"""Propensity from which a choice was likely; others were explored."""
_CERTAIN: Final = 1.0 - 1e-12


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate with its intervals.

    Attributes:
        value: a mean per decision.
        interval: covers the truth in 95 of 100 logs, by the estimate's own errors.
        resampled: the same by the bootstrap over decisions.
        bounds: holds for every number of decisions, by the empirical Bernstein inequality; None:
            the figure has no bound, as costs have none.
    """

    value: float
    interval: Interval
    resampled: Interval
    bounds: Interval | None


@dataclass(frozen=True, slots=True)
class JudgedFigure:
    """A figure of another policy, mean per decision, by a log.

    Attributes:
        graded: the decisions whose figure was reported.
        logged: the figure of the logged policy.
        weighted: that of the other policy, by self-normalised importance; None: refused.
        robust: the same, doubly robust; None: refused.
        gain: the doubly robust figure less that of the logged policy; None: refused.
        ips_width: the width of the interval by plain importance, for comparison; None: refused.
        effective: Kish's effective sample size of the weights.
        tried: the effective number of graded decisions that make most of the estimate's error: of
            explored ones, where the other policy's choices are explored in this log.
        most_weight: the largest weight.
        switched: graded decisions that do not count, as their weight is too large.
        unsupported: the share of decisions in which the log cannot have chosen what the other
            policy chooses, or never saw a figure of that model.
        missing: the share of the other policy's choices that the weights do not account for; near
            0 where propensities are right.
        refusal: why the log cannot tell; empty: it can.
    """

    graded: int
    logged: Estimated | None
    weighted: Estimated | None
    robust: Estimated | None
    gain: Estimated | None
    ips_width: float | None
    effective: float
    tried: float
    most_weight: float
    switched: int
    unsupported: float
    missing: float
    refusal: str


@dataclass(frozen=True, slots=True)
class OffPolicyValue:
    """The value of another policy by a log.

    Attributes:
        instead: describes the other policy, for people.
        decisions: the decisions that count.
        same: those in which both choose the same model.
        explored: those whose propensity is below a half.
        without: decisions left out, as one of the two ways found no model.
        odd: decisions left out, as their propensity is not known, or outside (0, 1].
        quality: mean scores in [0, 1].
        cost_usd: mean costs.
    """

    instead: str
    decisions: int
    same: int
    explored: int
    without: int
    odd: int
    quality: JudgedFigure
    cost_usd: JudgedFigure


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a log has to say of one figure; see ``JudgedFigure``.

    ``certain``: every propensity is 1. ``gap``: the least share that the weights miss.
    """

    decisions: int
    graded: int
    certain: bool
    unsupported: float
    gap: float
    tried: float


def judge_policy(
    grounds: ValueGrounds, instead: str, *, most_weight: float = MOST_WEIGHT, seed: int = 0
) -> OffPolicyValue:
    """Judges another policy by the grounds that a log gives.

    Args:
        grounds: the decisions; at least one.
        instead: describes the other policy, for people.
        most_weight: the weight above which a decision does not count.
        seed: of the bootstrap.
    """
    quality = _judged(
        grounds,
        (grounds.scores, grounds.predicted_scores, grounds.expected_scores),
        "score",
        1.0,
        most_weight,
        seed,
    )
    cost = _judged(
        grounds,
        (grounds.costs_usd, grounds.predicted_costs_usd, grounds.expected_costs_usd),
        "cost",
        None,
        most_weight,
        seed,
    )
    return OffPolicyValue(
        instead=instead,
        decisions=len(grounds),
        same=int(np.count_nonzero(grounds.matched)),
        explored=int(np.count_nonzero(grounds.propensities < LIKELY)),
        without=grounds.without,
        odd=grounds.odd,
        quality=quality,
        cost_usd=cost,
    )


def _judged(
    grounds: ValueGrounds,
    figures: tuple[FloatArray, FloatArray, FloatArray],
    name: str,
    top: float | None,
    most_weight: float,
    seed: int,
) -> JudgedFigure:
    """Judges one figure: rewards, predictions of the logged choices, and of the other ones.

    ``top``: the greatest figure, where the least is 0; None: there is none.
    """
    rewards, predicted, expected = figures
    known = np.isfinite(rewards)
    seen, unseen = _seen(grounds, known)
    log = LoggedFeedback(
        rewards, grounds.propensities * seen, grounds.matched.astype(np.float64), most_weight
    )
    weights = log.weights
    likely = grounds.propensities >= LIKELY
    never = (~grounds.matched & (grounds.propensities >= _CERTAIN)) | unseen
    # Where the log chose another model that was likely, the other policy's choice was not.
    rare = ~grounds.matched & likely & ~never
    tried = effective_sample_size(np.square(weights))
    if rare.any():
        tried = min(tried, effective_sample_size(weights[~likely]))
    if tried < FEWEST_TRIED and rare.sum() <= MOST_RARE * len(rare):
        never, tried = never | rare, effective_sample_size(np.square(weights[likely]))
    # Where the other policy's choices had a chance, the weights have a mean of 1.
    accounted = np.where(never, 1.0, weights) if len(weights) else np.ones(1)
    evidence = _Evidence(
        decisions=len(grounds),
        graded=int(known.sum()),
        certain=not (grounds.propensities < _CERTAIN).any(),
        unsupported=float(never.mean()) if len(never) else 0.0,
        gap=1.0 - studentised(accounted).high,
        tried=tried,
    )
    refusal = _refusal(name, evidence)
    on_policy = LoggedFeedback(rewards, seen, np.ones(len(rewards)))
    logged = weighted = robust = gain = ips_width = None
    if evidence.graded > 1:
        now = dr_value(on_policy, predicted, predicted)
        if refusal:
            (drawn,) = bootstrap(now.terms[:, None], seed=seed)
        else:
            better, ratio = dr_value(log, expected, predicted), snips_value(log)
            change = mean_value(better.terms - now.terms)
            earned = weights * log.residuals(np.zeros(len(weights)))
            ones = np.ones(len(weights))
            drawn, *others = bootstrap(
                np.column_stack([now.terms, better.terms, change.terms, earned]),
                np.column_stack([ones, ones, ones, weights]),
                seed=seed,
            )
            worst = _worst(expected, never, top)
            reach = None if top is None else _span(log, top)
            robust = _estimated(better, others[0], reach, (0.0, top), worst)
            twice = None if reach is None else 2.0 * reach
            gain = _estimated(change, others[1], twice, (None if top is None else -top, top), worst)
            weighted = _estimated(ratio, others[2])
            of_ips = studentised(ips_value(log).terms)
            ips_width = of_ips.high - of_ips.low
        own = None if top is None else _span(on_policy, top)
        logged = _estimated(now, drawn, own, (0.0, top))
    return JudgedFigure(
        graded=evidence.graded,
        logged=logged,
        weighted=weighted,
        robust=robust,
        gain=gain,
        ips_width=ips_width,
        effective=effective_sample_size(weights),
        tried=tried,
        most_weight=float(weights.max(initial=0.0)),
        switched=int(np.count_nonzero(log.ratios > most_weight)),
        unsupported=evidence.unsupported,
        missing=1.0 - float(accounted.mean()),
        refusal=refusal,
    )


def _seen(grounds: ValueGrounds, known: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Returns the shares of graded decisions, of the logged model [n], and who has none.

    Who grades may prefer a model; within a model, the graded decisions are taken as any others.

    Returns:
        The share of the logged model's decisions, float64 [n], 1 where it has none; and whether
        the other policy's model has no graded decision, bool [n].
    """
    names, at = np.unique(np.array([*grounds.models, *grounds.others]), return_inverse=True)
    models, others = at[: len(known)], at[len(known) :]
    all_of = np.bincount(models, minlength=len(names))
    known_of = np.bincount(models, weights=known, minlength=len(names))
    shares = np.where(known_of > 0.0, known_of / np.maximum(all_of, 1), 1.0)
    return shares[models], known_of[others] == 0.0


def _worst(expected: FloatArray, never: BoolArray, top: float | None) -> tuple[float, float]:
    """How far the truth can lie below and above, where the log has no support for the model."""
    if top is None or not never.any():
        return 0.0, 0.0
    share = len(expected)
    return (
        float(expected[never].sum()) / share,
        float((top - expected[never]).sum()) / share,
    )


def _span(log: LoggedFeedback, top: float) -> float:
    """The greatest difference of two terms of a doubly robust estimate of figures from 0 to top."""
    reach = float((1.0 / log.propensities[log.known]).max(initial=1.0))
    return top * (1.0 + 2.0 * min(reach, log.most_weight))


def _estimated(
    found: PolicyValue,
    resampled: Interval,
    span: float | None = None,
    ends: tuple[float | None, float | None] = (None, None),
    worst: tuple[float, float] = (0.0, 0.0),
) -> Estimated:
    """Puts the intervals to an estimate.

    Args:
        found: the estimate.
        resampled: its interval by the bootstrap.
        span: the greatest difference of two terms; None: it has no bound.
        ends: the least and the greatest figure there can be; None: no end.
        worst: widens the intervals, as the model alone speaks for some decisions.
    """
    bounds = None
    if span is not None:
        wide = bernstein(found.terms, span).widened(*worst)
        low, high = ends
        bounds = Interval(
            wide.low if low is None else max(wide.low, low),
            wide.high if high is None else min(wide.high, high),
        )
    return Estimated(
        found.value,
        studentised(found.terms).widened(*worst),
        resampled.widened(*worst),
        bounds,
    )


def _refusal(name: str, judged: _Evidence) -> str:
    """Says why the log cannot tell, and what to do; empty: it can."""
    remedy = "let policy.explore try them"
    never, gap, few = f"{judged.unsupported:.1%}", f"{judged.gap:.1%}", judged.tried
    more = FEWEST_TRIED / max(few, 1.0)
    reports = "report outcomes with ReportOutcome or `routoo report`"
    reasons = {
        "no decision has a model in both ways": not judged.decisions,
        f"no decision has a reported {name}; {reports}": judged.graded < 2,
        "the log explored nothing: every choice has propensity 1, and"
        f" {never} of the choices would be others; {remedy}": judged.certain
        and judged.unsupported > MOST_UNSUPPORTED,
        f"in {never} of the decisions the log never tries what would be chosen instead, or has"
        f" no {name} of that model; {remedy}, and have answers graded": judged.unsupported
        > MOST_UNSUPPORTED,
        f"at least {gap} of the choices instead had no chance in the log (its weights sum to less"
        f" than its decisions); {remedy}": judged.gap > MOST_UNSUPPORTED,
        f"only {few:.0f} graded decisions (effective) tried what would be chosen instead, and"
        f" {FEWEST_TRIED:.0f} are needed; log {more:.1f} times as many, or explore more": few
        < FEWEST_TRIED,
    }
    return next((text for text, holds in reasons.items() if holds), "")
