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
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

LOWEST, HIGHEST = 1.0 / 50.0, 50.0
"""The bounds of every factor."""
CUT = 8.0
"""A told figure counts as at most so many times the expected one. Of lengths that scatter by a
factor of e (lognormal), this leaves away 2 % of the mean; one absurd figure among a hundred moves a
ratio by less than a tenth."""
# The sums begin anew, with the weight of a few answers at the late ratio, when that is apart from
# the whole one by so many standard errors, and by so much that it matters.
_LATELY = 30.0
_STANDARD_ERRORS = 3.0
_APART = 1.25
_BEGUN_ANEW = 3.0
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
        late_squares: the sum of the squares of told minus expected figures, of the same.
    """

    answers: int = 0
    weight: float = 0.0
    predicted: float = 0.0
    told: float = 0.0
    late_predicted: float = 0.0
    late_told: float = 0.0
    late_squares: float = 0.0

    @classmethod
    def read(cls, values: Sequence[float]) -> Self:
        """Makes a ratio of plain values, in the order of the attributes.

        Raises:
            ValueError, TypeError: they are no sums.
        """
        answers, *sums = values
        if isinstance(answers, bool) or not isinstance(answers, int):
            raise TypeError("the number of answers is no whole number")
        if len(sums) != len(fields(cls)) - 1:
            raise ValueError("sums are missing")
        if not all(math.isfinite(one) and one >= 0.0 for one in values):
            raise ValueError("sums have to be finite and at least 0")
        return cls(answers, *map(float, sums))

    def factor(self, parent: float, assumed_answers: float) -> float:
        """Returns the factor for predicted figures, in [``LOWEST``, ``HIGHEST``].

        Args:
            parent: the factor where nothing was told yet.
            assumed_answers: the number of answers that are assumed to agree with ``parent``.
        """
        if self.predicted <= 0.0:
            return parent
        own = min(max(self.told / self.predicted, LOWEST), HIGHEST)
        share = self.weight / (self.weight + assumed_answers)
        mixed = math.exp(share * math.log(own) + (1.0 - share) * math.log(parent))
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
        expected = factor * predicted
        told = min(told, CUT * expected)
        keep, keep_late = 1.0 - weight / memory, 1.0 - weight / _LATELY
        added = Ratio(
            self.answers + 1,
            keep * self.weight + weight,
            keep * self.predicted + weight * predicted,
            keep * self.told + weight * told,
            keep_late * self.late_predicted + weight * predicted,
            keep_late * self.late_told + weight * told,
            keep_late * self.late_squares + weight * (told - expected) ** 2,
        )
        return added._begun_anew() if added._tells_something_else() else added

    def _tells_something_else(self) -> bool:
        """Whether the late ratio is apart from the whole one, and not by chance."""
        if self.weight < _SETTLED:
            return False
        whole, late = self.told / self.predicted, self.late_told / self.late_predicted
        # A mean whose weights fall off exponentially is as good as one of twice the memory.
        error = math.sqrt(self.late_squares / 2.0) / self.late_predicted
        return (
            not whole <= _APART * late <= _APART * _APART * whole
            and abs(late - whole) > _STANDARD_ERRORS * error
        )

    def _begun_anew(self) -> Ratio:
        predicted = _BEGUN_ANEW * self.predicted / self.weight
        told = predicted * self.late_told / self.late_predicted
        squares = self.late_squares * (predicted / self.late_predicted) ** 2
        return Ratio(self.answers, _BEGUN_ANEW, predicted, told, predicted, told, squares)
