"""Search for the cheapest price that is proven to keep quality near a reference model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.calibration.prices import price_grid
from routoo.calibration.sample import require_labels
from routoo.errors import InfeasibleError
from routoo.selector.guarantee import labels_needed, last_proven, p_values
from routoo.selector.policies.lp import decide

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.routing.money.operating_point import PricedSample
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import FloatArray, IndexArray
    from routoo.selector.guarantee import Promise

# Prices that are tested, from the safest to the cheapest.
GRID = 40
# Betting tests need the prompts in random order, and a file may be sorted.
_SHUFFLE_SEED = 0


@dataclass(frozen=True, slots=True)
class Proven:
    """A price that is proven to keep a promise.

    Attributes:
        price: score per USD.
        p_value: p-value of the hypothesis that more than the drop is lost.
        choice: int [n], the models of the labelled prompts at this price.
        differences: float64 [n], the true scores of these models minus the reference's.
        cost_share: predicted cost over that of sending everything to the reference.
    """

    price: float
    p_value: float
    choice: IndexArray
    differences: FloatArray
    cost_share: float


def prove(
    sample: PromptSample, pool: Pool, priced: PricedSample, reference: int, promise: Promise
) -> Proven:
    """Finds the cheapest price that the labels prove to keep a promise.

    Args:
        sample: n labelled prompts that stand for the traffic to come, independent of each other
            and of what the predictor was trained on.
        pool: m models; every prompt has a true score of each.
        priced: the predictor's calibration sample, from which the grid of prices is made.
        reference: column of the model that quality is compared with.
        promise: the drop that is allowed, and the chance that the proof is wrong.

    Raises:
        PromptsFileError: a label is missing.
        InfeasibleError: not even a price of 0 is proven; tells how many labels it would take.
    """
    require_labels(sample, np.arange(len(pool.names)), pool)
    prices = price_grid(priced, GRID)
    rows = np.arange(len(sample))
    choices = [decide(sample.scores, sample.costs_usd, sample.mask, one) for one in prices.tolist()]
    against = sample.true_scores[:, reference]
    differences = np.stack([sample.true_scores[rows, one] - against for one in choices], axis=1)
    shuffled = np.random.default_rng(_SHUFFLE_SEED).permutation(differences)
    p = p_values(shuffled, promise)
    best = int(last_proven(p, promise.alpha))
    if best < 0:
        raise InfeasibleError(_refusal(shuffled[:, 0], promise, pool.names[reference]))
    choice = choices[best]
    cost = sample.costs_usd[rows, choice].mean() / sample.costs_usd[:, reference].mean()
    return Proven(float(prices[best]), float(p[best]), choice, differences[:, best], float(cost))


def _refusal(differences: FloatArray, promise: Promise, reference: str) -> str:
    n = len(differences)
    drop = -float(differences.mean())
    said = (
        f"{n:,} labels do not prove a drop of at most {promise.max_drop:g} against {reference} at"
        f" confidence {1.0 - promise.alpha:g}: routing for the most quality shows a drop of"
        f" {drop:.4f}"
    )
    needed = labels_needed(differences, promise)
    if needed is None:
        return f"{said}, so more labels would not help; allow a larger max_drop"
    # The proof failed on n labels, so an estimate of n or fewer is too low.
    more = max(needed - n, n // 10, 1)
    return f"{said}; about {more:,} more labels would, or allow a larger max_drop"
