"""Evidence, by graded answers, that routing loses more quality to a reference than was promised.

A small share of the prompts is answered by the reference at random. For a graded answer with score
``s`` to a prompt where the policy prefers another model, predicted at ``p`` against the reference's
``r``, the estimate of the drop on that prompt is doubly robust (Robins, Rotnitzky and Zhao 1994):

    z = r - p + (s - r) / share          where the reference was drawn,
    z = r - p - (s - p) / (1 - share)    elsewhere;

its mean over the draw is the true drop, however wrong the predictions are. Where the policy takes
the reference by itself, ``z`` is 0. A gambler who stakes a fixed part of the wealth against "the
expected drop is at most ``max_drop``" has, as long as that is true, a wealth that is a
supermartingale (Waudby-Smith and Ramdas, arXiv 2010.09686). So is the mean over several stakes and
over gamblers that start later, which keeps the test quick when the drift comes late (Shiryaev's
mixture over the time of change). By Ville's inequality the chance that it ever reaches 1 / alpha is
at most alpha.

Assumed: whether an answer is graded depends neither on who gave it nor on how good it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from routoo.selector.arrays import BoolArray, FloatArray

# Stakes as parts of the largest one with which the wealth cannot become negative.
STAKES = np.geomspace(2.0**-8, 0.9, 17)
# The part of the start capital that is staked from the first answer on; the rest starts later, some
# of it at every fiftieth answer.
_AT_ONCE = 0.5
_START_EVERY = 50


def drops_of(
    scores: FloatArray,
    by_reference: BoolArray,
    predicted: FloatArray,
    predicted_reference: FloatArray,
    share: float,
) -> FloatArray:
    """Estimates the drop on prompts where the policy prefers another model than the reference.

    Args:
        scores: float64 [n], the grades, in [0, 1].
        by_reference: bool [n], answered by the reference, by the draw.
        predicted: float64 [n], in [0, 1], of the policy's model.
        predicted_reference: float64 [n], in [0, 1].
        share: the chance that the reference is drawn, in (0, 0.5].

    Returns:
        float64 [n], each at least ``-1 / share``.
    """
    drawn = (scores - predicted_reference) / share
    kept = (scores - predicted) / (1.0 - share)
    return np.asarray(predicted_reference - predicted + np.where(by_reference, drawn, -kept))


@dataclass(slots=True)
class DropEvidence:
    """The wealth of the gamblers against one promise. Not thread-safe.

    Attributes:
        max_drop: the drop in mean score that is promised not to be exceeded.
        share: the chance that the reference is drawn, in (0, 0.5].
        graded: graded answers so far.
        total: sum of their estimated drops.
        e_value: the wealth, 1 at the start; large values speak against the promise.
        highest: its highest value so far.
    """

    max_drop: float
    share: float
    graded: int = 0
    total: float = 0.0
    e_value: float = 1.0
    highest: float = 1.0
    _early: FloatArray = field(default_factory=lambda: np.full(len(STAKES), _AT_ONCE))
    _late: FloatArray = field(default_factory=lambda: np.zeros(len(STAKES)))

    @property
    def mean_drop(self) -> float:
        """The mean estimated drop; 0 before the first answer."""
        return self.total / self.graded if self.graded else 0.0

    def add(self, drop: float) -> None:
        """Takes one estimate of ``drops_of``; 0 where the policy took the reference by itself."""
        self.graded += 1
        self.total += drop
        stakes = STAKES / (self.max_drop + 1.0 / self.share)
        gain = 1.0 + stakes * (drop - self.max_drop)
        # The gamblers who start later have together, over all time, what is not staked at once.
        block, within = divmod(self.graded - 1, _START_EVERY)
        if not within:
            self._late += (1.0 - _AT_ONCE) / ((block + 1.0) * (block + 2.0))
        self._early *= gain
        self._late *= gain
        unspent = (1.0 - _AT_ONCE) / (block + 2.0)
        self.e_value = float((self._early + self._late).mean() + unspent)
        self.highest = max(self.highest, self.e_value)

    def is_broken(self, alpha: float) -> bool:
        """Returns whether the promise was ever refuted at level ``alpha``."""
        return self.highest * alpha >= 1.0

    def values(self) -> dict[str, Any]:
        """Returns the state as plain values, for ``restored``."""
        return {
            "max_drop": self.max_drop,
            "share": self.share,
            "graded": self.graded,
            "total": self.total,
            "e_value": self.e_value,
            "highest": self.highest,
            "early": self._early.tolist(),
            "late": self._late.tolist(),
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the evidence again.

        Raises:
            ValueError: these are not the values of an evidence.
        """
        try:
            early, late = (np.array(values[name], np.float64) for name in ("early", "late"))
            scalars = {
                name: float(values[name])
                for name in ("max_drop", "share", "total", "e_value", "highest")
            }
            found = cls(graded=int(values["graded"]), _early=early, _late=late, **scalars)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no evidence of a drop: {error}") from None
        if early.shape != STAKES.shape or late.shape != STAKES.shape:
            raise ValueError("evidence of a drop with other stakes")
        return found
