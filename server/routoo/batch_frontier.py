"""What every amount of money would buy for a batch; nothing is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.joint import cautious_scores
from routoo.selector.frontier import frontier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routoo.decision import Timing
    from routoo.estimates import Estimates
    from routoo.selector.frontier import Frontier


@dataclass(frozen=True, slots=True)
class BatchFrontier:
    """The curve over ``prompts`` prompts, and where the time went."""

    curve: Frontier
    prompts: int
    timing: Timing


def frontier_of(
    estimates: Estimates, mask: NDArray[np.bool_], points: int | None, score_std_weight: float
) -> Frontier:
    """Every vertex of the batch's cost-quality curve, or ``points`` of them.

    Args:
        estimates: of n prompts on m models.
        mask: bool [n, m], eligible cells; at least one per prompt.
        points: how many vertices at most; None: all.
        score_std_weight: how many standard deviations to take off each score.

    Raises:
        InvalidRequestError: standard deviations are asked for and not known.
    """
    scores = cautious_scores(estimates, score_std_weight)
    return frontier(scores, estimates.costs_usd, mask, points=points)
