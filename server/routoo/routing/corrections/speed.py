"""The time that a model needs, learned from what is reported of its answers.

An answer of n tokens is taken to need a time to the first token and n times a time per token. Their
ratio is learned from answers that came as a stream and tell when they began; how long answers take
altogether from all answers, so that what is learned of the one does not disturb the other. Times
are learned as logarithms, for a provider that is three times as slow is so for short answers and
long ones. Percentiles are those of told times beside what is expected of the *predicted* lengths:
the prediction's own errors are in them.

Where nothing is reported for a while, a model's times go back to what the hour of the day usually
is (``Hours``). The figures that the pool declares count as a few reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from routoo.request_fields import PERCENTILES
from routoo.routing.corrections.hours import Hours
from routoo.routing.corrections.spread import PRIOR_PERCENTILES, PRIOR_STD, Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL_TOKENS: Final = 256.0
"""The length of answer whose time is learned; times of other lengths follow from the ratio."""
_SHARES = tuple(one / 100.0 for one in PERCENTILES)
# A reply whose first byte comes later than this share of its time did not come as a stream: what it
# tells of the first token is the time to the last one.
_STREAMED = 0.95
_SHORTEST_MS, _LONGEST_MS = 1e-3, 31.6e9  # a microsecond, and a year
_CUT = math.log(8.0)
_LONGEST_RATIO = math.log(1e6)
_QUIET_S = 300.0


class Declared(NamedTuple):
    """The times that the pool declares of a model: to the first token, and for each token."""

    first_token_ms: float
    per_token_ms: float

    @property
    def log_ratio(self) -> float:
        """The logarithm of how many tokens take as long as the first one."""
        first, each = (max(one, _SHORTEST_MS) for one in self)
        return min(max(math.log(first / each), -_LONGEST_RATIO), _LONGEST_RATIO)

    @property
    def log_ms(self) -> float | None:
        """The logarithm of the time of an answer of ``USUAL_TOKENS``; None: nothing is declared."""
        total_ms = self.first_token_ms + USUAL_TOKENS * self.per_token_ms
        return math.log(total_ms) if total_ms > 0.0 else None


class LearningTerms(NamedTuple):
    """How times are learned.

    Attributes:
        memory: the number of reports after which an old one counts 1/e.
        prior_reports: how many reports the declared times count as.
        half_life_s: without reports, a deviation from the hour's usual time halves in this time.
    """

    memory: float
    prior_reports: float
    half_life_s: float


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """The times of one answer.

    Attributes:
        declared: the times that the pool declared of the model.
        expected_tokens: the length that was predicted, as corrected.
        tokens: output tokens as billed; None: not told.
        latency_ms: time to the last token, above 0.
        first_token_ms: time to the first token; None: not told.
        timed_out: whether nobody waited longer than ``latency_ms``; how long the answer would have
            taken is not known.
        time_s: when it was reported, in seconds since 1970.
    """

    declared: Declared
    expected_tokens: float
    tokens: float | None
    latency_ms: float
    first_token_ms: float | None
    timed_out: bool
    time_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """What an answer of a model needs now.

    Attributes:
        first_token_ms: mean time to the first token.
        per_token_ms: mean time for each token after.
        percentiles: by which the mean time to the last token is multiplied, for a ``PERCENTILES``
            each.
        reports: reports of a time to the last token.
        first_token_reports: reports of a time to the first token, too.
    """

    first_token_ms: float
    per_token_ms: float
    percentiles: tuple[float, ...]
    reports: int
    first_token_reports: int


@dataclass(frozen=True, slots=True)
class FirstTokenRatio:
    """The logarithm of the ratio of the time to the first token to the time per token.

    Attributes:
        reports: the number of reports ever.
        weight: the sum of their weights, the newest of weight 1.
        mean: their mean, each at most a factor of 8 from the one before.
    """

    reports: int = 0
    weight: float = 0.0
    mean: float = 0.0

    def log_ratio(self, declared: Declared, prior_reports: float) -> float:
        """Returns it with the declared one, which counts as some reports."""
        weight = self.weight + prior_reports
        if not weight:
            return declared.log_ratio
        return (self.weight * self.mean + prior_reports * declared.log_ratio) / weight

    def learned(self, log_ratio: float, expected: float, memory: float) -> FirstTokenRatio:
        """Returns it with one more report; ``expected`` is ``log_ratio()`` until now."""
        told = min(max(log_ratio, expected - _CUT), expected + _CUT)
        kept = (1.0 - 1.0 / memory) * self.weight
        mean = (kept * self.mean + told) / (kept + 1.0)
        return FirstTokenRatio(self.reports + 1, kept + 1.0, mean)


_NO_SPLIT, _NO_SPREAD, _NO_HOURS = FirstTokenRatio(), Spread(), Hours()


@dataclass(frozen=True, slots=True)
class Speed:
    """All that is known of a model's times; a value that is never changed.

    Attributes:
        split: of the first token to the others.
        total: logarithms of milliseconds to the last of ``USUAL_TOKENS``, by told lengths.
        ahead: the same by predicted lengths.
        hours: what is usual by the hour of the day.
        time_s: the time of the newest report, in seconds since 1970.
    """

    split: FirstTokenRatio = _NO_SPLIT
    total: Spread = _NO_SPREAD
    ahead: Spread = _NO_SPREAD
    hours: Hours = _NO_HOURS
    time_s: float = 0.0

    def learned(self, answer: TimedAnswer, terms: LearningTerms) -> Speed:
        """Returns the cell with one more answer."""
        now = self.at(answer.time_s, terms)
        declared, split = answer.declared, now.split
        ratio = split.log_ratio(declared, terms.prior_reports)
        latency_ms = min(max(answer.latency_ms, _SHORTEST_MS), _LONGEST_MS)
        tokens = answer.expected_tokens if answer.tokens is None else answer.tokens
        first_ms = answer.first_token_ms
        if first_ms is not None and first_ms < _STREAMED * latency_ms and not answer.timed_out:
            each_ms = (latency_ms - first_ms) / max(tokens - 1.0, 1.0)
            told = Declared(first_ms, each_ms).log_ratio
            split = split.learned(told, ratio, terms.memory)
            ratio = split.log_ratio(declared, terms.prior_reports)
        total = math.log(latency_ms) - _beside_usual(tokens, ratio)
        ahead = math.log(latency_ms) - _beside_usual(answer.expected_tokens, ratio)
        if answer.timed_out:
            total, ahead = now.total.above(total), now.ahead.above(ahead)
        added = now.total.add(total, terms.memory)
        return Speed(
            split=split,
            total=added,
            ahead=now.ahead.add(ahead, terms.memory),
            hours=now.hours.added(total, added.recent),
            time_s=answer.time_s,
        )

    def at(self, time_s: float, terms: LearningTerms) -> Speed:
        """Returns the cell as it is at a time: in its hour, and after a silence.

        Args:
            time_s: seconds since 1970; a time before that of the newest report counts as no
                silence.
            terms: how times are learned.
        """
        hours = self.hours.at(time_s)
        quiet_s = time_s - self.time_s - _QUIET_S
        if hours is self.hours and quiet_s <= 0.0:
            return self
        if not self.total.answers:
            return replace(self, hours=hours, time_s=time_s)
        level = self.total.median()
        wanted = level if hours is self.hours else hours.entered_at(level, self.hours)
        if quiet_s > 0.0:
            kept: float = 0.5 ** (quiet_s / terms.half_life_s)
            usual = hours.usual()
            wanted = wanted if usual is None else usual + kept * (wanted - usual)
        by = wanted - level
        return replace(
            self,
            total=self.total.shifted(by),
            ahead=self.ahead.shifted(by),
            hours=hours,
            time_s=max(self.time_s, time_s - _QUIET_S),
        )

    def times(self, declared: Declared, terms: LearningTerms) -> Times:
        """Returns what an answer needs; ``at`` says when.

        Args:
            declared: the times that the pool declares now.
            terms: how times are learned.
        """
        if not self.total.answers:
            return Times(*declared, PRIOR_PERCENTILES, 0, 0)
        percentiles, mean = self.ahead.quantiles(_SHARES), self.total.mean_factor()
        prior, weight = declared.log_ms, self.total.weight
        by = 0.0
        level = self.total.median()
        if prior is not None:
            # The pool declares means; what is learned here are medians.
            assumed = prior - 0.5 * PRIOR_STD**2
            share = terms.prior_reports / (weight + terms.prior_reports)
            by = share * (assumed - level)
        mean_ms = math.exp(level + by) * mean
        ratio = math.exp(self.split.log_ratio(declared, terms.prior_reports))
        ahead = self.ahead.median() - level - math.log(mean)
        return Times(
            first_token_ms=mean_ms * ratio / (ratio + USUAL_TOKENS),
            per_token_ms=mean_ms / (ratio + USUAL_TOKENS),
            percentiles=tuple(math.exp(one + ahead) for one in percentiles.tolist()),
            reports=self.total.answers,
            first_token_reports=self.split.reports,
        )

    def plain(self) -> list[Any]:
        """Returns the cell as plain values, which ``read`` takes."""
        split = self.split
        return [
            [split.reports, split.weight, split.mean],
            self.total.plain(),
            self.ahead.plain(),
            self.hours.plain(),
            self.time_s,
        ]

    @classmethod
    def read(cls, values: Sequence[Any]) -> Self:
        """Makes a cell of what ``plain`` returned.

        Raises:
            ValueError, TypeError: it is none.
        """
        (reports, weight, mean), total, ahead, hours, time_s = values
        if isinstance(reports, bool) or not isinstance(reports, int):
            raise TypeError("the number of reports is no whole number")
        told = (float(weight), float(mean), float(time_s))
        if not all(map(math.isfinite, told)) or min(reports, weight) < 0:
            raise ValueError("the figures of a speed have to be finite numbers")
        split = FirstTokenRatio(reports, *told[:2])
        return cls(split, Spread.read(total), Spread.read(ahead), Hours.read(hours), told[2])


def _beside_usual(tokens: float, log_ratio: float) -> float:
    """Returns the logarithm of the time of an answer by that of ``USUAL_TOKENS``."""
    ratio = math.exp(log_ratio)
    return math.log((ratio + max(tokens, 1.0)) / (ratio + USUAL_TOKENS))
