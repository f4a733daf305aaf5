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
    """Returns the limit that meets the target best.

    Args:
        sample: n prompts.
        advantages: float64 [n], predicted, multiples of ``STEP``.
        ends: int [n] each, the model of a prompt whose advantage is above the limit, and of one
            whose advantage is not: the models of the pair, or their fallbacks where constraints
            remove them.
        target: the wanted result.
        least: the lowest limit that the policy allows.

    Raises:
        InfeasibleError: the target is out of reach; tells the reachable range.
    """
    rows = np.arange(len(advantages))
    order = np.argsort(-advantages, kind="stable")
    falling = advantages[order]

    def totals(figures: FloatArray) -> FloatArray:
        expensive, cheap = (figures[rows, choice] for choice in ends)
        # Entry i: the i largest advantages get the expensive model.
        steps = np.concatenate(([0.0], np.cumsum((expensive - cheap)[order])))
        return np.asarray((cheap.sum() + steps) / len(rows), np.float64)

    # A limit that equals an advantage takes all larger advantages, which excludes its ties.
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
