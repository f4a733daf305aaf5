"""A model's ability beside the one that the predictor knows, learned from graded answers.

The logit of a model's score on a prompt of kind k is that of the predictor plus an offset a + b_k,
where a belongs to all kinds and b_k to the kind. Both have a normal prior around 0, so that without
reports the predictor is right. A graded answer is a Gaussian pseudo-observation of its offset: one
step of Newton's method on the Bernoulli likelihood (the extended Kalman filter of logistic
regression; McCormick, Raftery, Madigan and Burd 2012, Biometrics 68), whose precision is the
variance of the score at the present estimate. As the offsets of the kinds are independent given a,
two sums per kind hold all that was seen, and the posterior is exact in closed form.

Scores between 0 and 1 scatter less than right and wrong answers do. How much less is learned, too
(the dispersion of quasi-likelihood; Wedderburn 1974, Biometrika 61), and tells so much more of the
offset.

Older answers fade by exponential forgetting. A jump is found by a cumulative sum of
log-likelihood ratios on each side (Page 1954; by Lorden 1971 there are exp(threshold) reports or
more between false alarms): what was seen before it is dropped, and the predictor is believed less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from math import exp, log
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_VARIANCE, MOST_VARIANCE = 0.25, 4.0
"""Bounds of the prior variance of an offset, in squared logits."""
_LIMIT = 8.0  # logits; a model that is never right, or always, stays there
# The share of the told variance that is each kind's own; a jump is one of all kinds.
_OF_KIND = 0.5
# The least information that an answer has: near 0 and 1 the curve is flat.
_LEAST_INFORMATION = 0.02
# A jump that is looked for, in logits, and the evidence that there is one.
_JUMP = 1.5
_ALARM = 7.0
# The least dispersion, and the variance that is assumed to have been seen of right and wrong.
_LEAST_DISPERSION = 0.1
_ASSUMED_VARIANCE = 2.0
_BACK = 0.5  # logits; a model that fell is back when its offset is no further below 0
_CLOSEST = 1e-3  # a prediction is taken to be no nearer to 0 or 1


class GradedAnswer(NamedTuple):
    """A report of an answer's score, and what was predicted of it.

    Attributes:
        predictor: the version of the predictor.
        model: the model that answered.
        kind: the kind of task; empty: not known.
        tenant: whose answer it was.
        predicted: the predictor's score, in [0, 1], before anything learned.
        std: its standard deviation; None: the predictor does not tell it.
        score: the reported score, in [0, 1].
        confined: whether the caller that reported it may speak for this tenant alone.
    """

    predictor: str
    model: str
    kind: str
    tenant: str
    predicted: float
    std: float | None
    score: float
    confined: bool = False


class Offset(NamedTuple):
    """A posterior, in logits.

    Attributes:
        mean: of the offset.
        variance: of the offset.
    """

    mean: float
    variance: float


class Change(NamedTuple):
    """The answers that speak for a jump to one side, since it may have begun.

    Attributes:
        evidence: the logarithm of their likelihood ratio.
        information: the sum of theirs.
        moment: the sum of information times offset.
    """

    evidence: float
    information: float
    moment: float

    def after(self, evidence: float, information: float, moment: float) -> Change:
        """Returns it after an answer; empty where nothing speaks for a jump."""
        total = self.evidence + evidence
        if total <= 0.0:
            return _NO_CHANGE
        return Change(total, self.information + information, self.moment + moment)


_NO_CHANGE = Change(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Ability:
    """The posterior of one model's offsets; never changed.

    Attributes:
        told_variance: of a whole offset, as the predictor told it.
        prior_variance: the same, or more: after a jump the predictor is believed less.
        seen: by kind, the sums of the answers' information, and of information times offset.
        reports: the number of answers, none of them faded.
        jumps: the number of jumps that were found.
        falls: what speaks for a fall.
        rises: what speaks for a rise.
        at: the table's number of reports when it was last changed.
        fallen: whether it fell and has not come back.
        missed: the faded sum of squares by which scores missed their estimates.
        scatter: the same sum, if all answers were right or wrong.
    """

    told_variance: float
    prior_variance: float
    seen: Mapping[str, tuple[float, float]]
    reports: int = 0
    jumps: int = 0
    falls: Change = _NO_CHANGE
    rises: Change = _NO_CHANGE
    at: float = 0.0
    fallen: bool = False
    missed: float = 0.0
    scatter: float = 0.0

    @classmethod
    def before(cls, predicted: float, std: float | None) -> Self:
        """Returns what is known of a model before its first report.

        Args:
            predicted: a predicted score of it, in [0, 1].
            std: its standard deviation; None: not known, which is taken to be much.
        """
        variance = MOST_VARIANCE
        if std is not None:
            inside = min(max(predicted, 0.05), 0.95)
            variance = (std / (inside * (1.0 - inside))) ** 2
        variance = min(max(variance, LEAST_VARIANCE), MOST_VARIANCE)
        return cls(variance, variance, {})

    def offset(self, kind: str, centre: float = 0.0) -> Offset:
        """Returns the posterior for a kind; for one that was never seen that of all kinds.

        Args:
            kind: the kind of task.
            centre: the mean of the prior, in logits.
        """
        common = self.common(centre)
        own = _OF_KIND * self.told_variance
        information, moment = self.seen.get(kind, (0.0, 0.0))
        if information <= 0.0:
            return Offset(common.mean, common.variance + own)
        share = information * own / (1.0 + information * own)
        mean = (1.0 - share) * common.mean + share * moment / information
        variance = (1.0 - share) ** 2 * common.variance + own * (1.0 - share)
        return Offset(min(max(mean, -_LIMIT), _LIMIT), variance)

    def common(self, centre: float = 0.0) -> Offset:
        """Returns the posterior of what all kinds have in common; ``centre``: see ``offset``."""
        precision, moment = self.told()
        precision += 1.0 / self.common_variance
        mean = (moment + centre / self.common_variance) / precision
        return Offset(min(max(mean, -_LIMIT), _LIMIT), 1.0 / precision)

    @property
    def common_variance(self) -> float:
        """The prior variance of what all kinds have in common."""
        return self.prior_variance - _OF_KIND * self.told_variance

    def told(self) -> tuple[float, float]:
        """Returns what answers alone tell of it: the precision, and precision times mean."""
        own = _OF_KIND * self.told_variance
        precision = moment = 0.0
        for information, seen in self.seen.values():
            if information > 0.0:
                each = 1.0 / (1.0 / information + own)
                precision += each
                moment += each * seen / information
        return precision, moment

    def learned(self, answer: GradedAnswer, beside: float, weight: float, kept: float) -> Self:
        """Returns what is known after an answer.

        Args:
            answer: of this model.
            beside: what else is known to be added to the predictor's logit.
            weight: the part of an answer that it counts as, in (0, 1].
            kept: what earlier answers count afterwards, in (0, 1].
        """
        here = self.offset(answer.kind).mean
        p = chance(logit(answer.predicted) + beside + here)
        missed = kept * self.missed + weight * (answer.score - p) ** 2
        scatter = kept * self.scatter + weight * p * (1.0 - p)
        dispersion = (missed + _ASSUMED_VARIANCE) / (scatter + _ASSUMED_VARIANCE)
        counts = weight / min(max(dispersion, _LEAST_DISPERSION), 1.0)
        information = counts * max(p * (1.0 - p), _LEAST_INFORMATION)
        moment = information * here + counts * (answer.score - p)
        seen = {kind: (kept * one, kept * two) for kind, (one, two) in self.seen.items()}
        before = seen.get(answer.kind, (0.0, 0.0))
        seen[answer.kind] = (before[0] + information, before[1] + moment)
        falls, rises = self.falls, self.rises
        if not answer.confined:  # one tenant alone must not declare a jump
            fall, rise = (_evidence(p, answer.score, jump) for jump in (-_JUMP, _JUMP))
            falls = falls.after(weight * fall, information, moment)
            rises = rises.after(weight * rise, information, moment)
        jump = falls if falls.evidence > rises.evidence else rises
        if jump.evidence >= _ALARM:
            # What was seen since it began holds for all kinds, and nothing before.
            return replace(
                self,
                prior_variance=MOST_VARIANCE,
                seen={"": (jump.information, jump.moment)},
                reports=self.reports + 1,
                jumps=self.jumps + 1,
                falls=_NO_CHANGE,
                rises=_NO_CHANGE,
                fallen=jump is falls,
            )
        changed = replace(
            self,
            seen=seen,
            reports=self.reports + 1,
            falls=falls,
            rises=rises,
            missed=missed,
            scatter=scatter,
        )
        if self.fallen and changed.offset(answer.kind).mean > -_BACK:
            return replace(changed, fallen=False)
        return changed

    def faded(self, kept: float) -> Self:
        """Returns what is known when everything that was seen counts ``kept`` as much."""
        seen = {kind: (kept * one, kept * two) for kind, (one, two) in self.seen.items()}
        return replace(self, seen=seen)

    def plain(self) -> dict[str, Any]:
        """Returns it as values of JSON, for ``read``."""
        return {
            "told_variance": self.told_variance,
            "prior_variance": self.prior_variance,
            "seen": {kind: list(sums) for kind, sums in self.seen.items()},
            "reports": self.reports,
            "jumps": self.jumps,
            "falls": list(self.falls),
            "rises": list(self.rises),
            "at": self.at,
            "fallen": self.fallen,
            "missed": self.missed,
            "scatter": self.scatter,
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Reads what ``plain`` made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        seen = {str(kind): (float(one), float(two)) for kind, (one, two) in values["seen"].items()}
        falls, rises = (Change(*map(float, values[name])) for name in ("falls", "rises"))
        names = ("told_variance", "prior_variance", "at", "missed", "scatter")
        told, prior, at, missed, scatter = (float(values[name]) for name in names)
        figures = [told, prior, at, missed, scatter, *falls, *rises, *chain(*seen.values())]
        if not np.isfinite(figures).all():
            raise ValueError("a figure is not finite")
        reports, jumps, fallen = int(values["reports"]), int(values["jumps"]), values["fallen"]
        return cls(
            told, prior, seen, reports, jumps, falls, rises, at, bool(fallen), missed, scatter
        )


def logit(score: float) -> float:
    """Returns the logit of a score that is no nearer to 0 or 1 than a thousandth."""
    inside = min(max(score, _CLOSEST), 1.0 - _CLOSEST)
    return log(inside / (1.0 - inside))


def chance(at: float) -> float:
    """Returns the inverse of ``logit``."""
    return 1.0 / (1.0 + exp(-min(max(at, -30.0), 30.0)))


def _evidence(p: float, score: float, jump: float) -> float:
    """Returns the log-likelihood ratio of a score, for a jump of the logit against none."""
    after = chance(logit(p) + jump)
    inside = min(max(p, _CLOSEST), 1.0 - _CLOSEST)
    return score * log(after / inside) + (1.0 - score) * log((1.0 - after) / (1.0 - inside))
