"""The ratio of told to predicted figures, learned answer by answer.

A ratio of sums, not a mean of ratios or of their logarithms: the predicted figures times the ratio
have the mean of the told ones, so that a mean cost is right however the lengths scatter. Three
things make it steady. A told figure counts at most ``CUT`` times what was expected (winsorising, as
of Huber 1964, at the upper end alone, for at the lower end nothing is far away). A few answers are
assumed that agree with the parent's ratio (shrinkage, Efron and Morris 1975). And older answers
count less and less; when the last ones tell something else entirely, the old ones are forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOWEST, HIGHEST = 1.0 / 50.0, 50.0
"""The bounds of every factor."""
CUT = 8.0
"""A told figure counts as at most so many times the expected one. Of lengths that scatter by a
factor of e (lognormal), this leaves away 2 % of the mean; one absurd figure among a hundred moves a
ratio by less than a tenth."""
# The answers that "lately" remembers, and how far its ratio has to be from the whole one until
# the whole one begins anew, with the weight of so many answers at the late ratio.
_LATELY = 30.0
_APART = 2.0
_BEGUN_ANEW = 6.0
_SETTLED = 2.0 * _LATELY


@dataclass(frozen=True, slots=True)
class Ratio:
    """Sums over answers, the newest of weight 1.

    Attributes:
        answers: the number of answers ever.
        weight: the sum of the weights.
        predicted: the sum of the predicted figures.
        told: the sum of the told figures, cut.
        late_predicted: the sum of the predicted figures, of the last 30 answers or so.
        late_told: the sum of the told figures, of the same.
    """

    answers: int = 0
    weight: float = 0.0
    predicted: float = 0.0
    told: float = 0.0
    late_predicted: float = 0.0
    late_told: float = 0.0

    def __post_init__(self) -> None:
        figures = (self.weight, self.predicted, self.told, self.late_predicted, self.late_told)
        if not all(math.isfinite(one) and one >= 0.0 for one in (self.answers, *figures)):
            raise ValueError("sums have to be finite and at least 0")

    def factor(self, parent: float, assumed_answers: float) -> float:
        """Returns the factor for predicted figures, in [``LOWEST``, ``HIGHEST``].

        Args:
            parent: the factor where nothing was told yet.
            assumed_answers: the number of answers that are assumed to agree with ``parent``.
        """
        if self.predicted <= 0.0:
            return parent
        own = self.told / self.predicted
        mixed = (self.weight * own + assumed_answers * parent) / (self.weight + assumed_answers)
        return min(max(mixed, LOWEST), HIGHEST)

    def add(
        self, predicted: float, told: float, factor: float, *, memory: float, weight: float = 1.0
    ) -> Ratio:
        """Returns the sums with one more answer.

        Args:
            predicted: the predicted figure, above 0, before any correction.
            told: the figure that was told, at least 0.
            factor: the factor until now, ``factor()``.
            memory: the number of answers after which an old one counts 1/e.
            weight: the answer's weight, in (0, 1].
        """
        told = min(told, CUT * factor * predicted)
        keep, keep_late = 1.0 - weight / memory, 1.0 - weight / _LATELY
        late_predicted = keep_late * self.late_predicted + weight * predicted
        late_told = keep_late * self.late_told + weight * told
        whole = keep * self.weight + weight
        sum_predicted = keep * self.predicted + weight * predicted
        sum_told = keep * self.told + weight * told
        if whole >= _SETTLED and not (
            late_predicted * sum_told
            <= _APART * late_told * sum_predicted
            <= _APART * _APART * late_predicted * sum_told
        ):
            scale = _BEGUN_ANEW * (sum_predicted / whole) / late_predicted
            late_predicted, late_told = scale * late_predicted, scale * late_told
            whole, sum_predicted, sum_told = _BEGUN_ANEW, late_predicted, late_told
        return Ratio(self.answers + 1, whole, sum_predicted, sum_told, late_predicted, late_told)
