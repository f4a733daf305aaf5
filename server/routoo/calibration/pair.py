"""Thresholds and tolerances of the policies over two models, from a sample.

Both policies take the expensive model where its predicted advantage exceeds a limit. One sort of
the advantages covers every limit that makes a difference on the sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.calibration.target import Positions

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.calibration.target import Target
    from routoo.selector.arrays import FloatArray, IndexArray

STEP = 1e-4
"""Advantages are multiples of this."""


def find_limit(
    sample: PromptSample,
    advantages: FloatArray,
    ends: tuple[IndexArray, IndexArray],
    target: Target,
    least: float,
) -> float:
    """The limit that meets the target best.

    Args:
        sample: n prompts.
        advantages: float64 [n], predicted, multiples of ``STEP``.
        ends: int [n] each, what a prompt gets above its limit and below: the pair's
            models, or what stands in for them where constraints remove them.
        target: what is wanted.
        least: the lowest limit that the policy allows.

    Raises:
        InfeasibleError: out of reach; says the reachable range.
    """
    rows = np.arange(len(advantages))
    order = np.argsort(-advantages, kind="stable")
    falling = advantages[order]

    def totals(figures: FloatArray) -> FloatArray:
        expensive, cheap = (figures[rows, choice] for choice in ends)
        # Entry i: the i largest advantages get the expensive model.
        steps = np.concatenate(([0.0], np.cumsum((expensive - cheap)[order])))
        return np.asarray((cheap.sum() + steps) / len(rows), np.float64)

    # A limit at one advantage takes all that are larger: i of them, where the i-th ends a tie.
    limits = np.append(falling, falling[-1] - STEP)
    taken = np.append(np.searchsorted(-falling, -falling, side="left"), len(rows))
    keep = limits >= least - STEP / 2
    if not keep.all():
        limits = np.append(limits[keep], least)
        taken = np.append(taken[keep], int((advantages > least).sum()))
    positions = Positions(
        shares=taken / len(rows),
        costs_usd=totals(sample.costs_usd)[taken],
        scores=totals(sample.scores)[taken],
    )
    best = float(limits[positions.best_for(target)])
    return max(round(best / STEP) * STEP, least)
